//! What the options make of the columns.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::cli::{Cli, Command};

fn resolve(options: &[&str]) -> Config {
    let start = ["lpips", "eval", "m.csv", "-o", "run"];
    let Command::Eval(args) =
        Cli::parse_from(start.into_iter().chain(options.iter().copied())).command
    else {
        panic!("not eval")
    };
    Config::resolve(*args).unwrap()
}

fn signatures(options: &[&str]) -> Vec<String> {
    let columns = resolve(options).job.columns;
    columns.iter().map(|column| column.fingerprint.signature()).collect()
}

#[test]
fn the_signature_is_the_documented_line() {
    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "lpips|net:alex|v:0.1|mode:lin|range:0..1|eps:1e-10|pix:pil|alpha:drop|crop:0|size:error|\
         prec:fp32|weights:9f97fd31+f0570923|lpips:{version}"
    );
    assert_eq!(signatures(&[]), [expected]);
}

/// Options that change a number, with a value that does.
const CHANGING: &[(&str, &[&str])] = &[
    ("net", &["--net", "squeeze", "--trunk", "random:1"]),
    ("preset", &["--preset", "torchmetrics"]),
    ("preset", &["--preset", "lpips+"]),
    ("preset", &["--preset", "3dgs", "--net", "alex"]),
    ("lpips_version", &["--lpips-version", "0.0"]),
    ("baseline", &["--baseline"]),
    ("semantic_layer", &["--semantic-layer", "0"]),
    ("semantic_layer", &["--semantic-layer", "1"]),
    ("trunk", &["--trunk", "random:1"]),
    ("trunk", &["--trunk", "random:2"]),
    ("lin", &["--lin", "random:1"]),
    ("range", &["--range", "-1..1"]),
    ("alpha", &["--alpha", "white"]),
    ("alpha", &["--alpha", "black"]),
    ("crop_border", &["--crop-border", "4"]),
    ("size_policy", &["--size-policy", "modcrop:4"]),
    ("precision", &["--precision", "tf32"]),
    ("precision", &["--precision", "fp16"]),
];

/// Options that change no number of a column: what is scored, where it is computed, what is written
/// and what is reported. (A mask adds a column; which pairs can be scored at all, and weights that
/// are verified by their hash, change no number either.)
const NOT_CHANGING: &[&str] = &[
    "manifest",
    "reference",
    "distorted",
    "ref_suffix",
    "dist_suffix",
    "intersect",
    "all_pairs",
    "pair",
    "output",
    "mask",
    "weights_dir",
    "memory",
    "per_layer",
    "csv_safe",
    "spatial",
    "spatial_worst",
    "group_by",
    "max_pixels",
    "device",
    "conv",
    "cuda_libs",
    "batch",
    "threads",
    "shard",
    "verify_inputs",
    "allow_mixed_numerics",
    "on_error",
    "fail_if",
    "progress",
    "quiet",
    "verbose",
    "help",
];

#[test]
fn each_option_that_changes_a_number_changes_the_signature() {
    let mut all: BTreeSet<String> = signatures(&[]).into_iter().collect();
    for (_, options) in CHANGING {
        let [signature] = &signatures(options)[..] else { panic!("{options:?}") };
        assert!(all.insert(signature.clone()), "{options:?}: {signature}");
    }
}

/// A new option fails this test until it is in one of the two lists.
#[test]
fn every_option_is_known_to_change_numbers_or_not() {
    let mut command = Cli::command();
    command.build();
    let eval = command.find_subcommand("eval").unwrap();
    let options: BTreeSet<&str> =
        eval.get_arguments().map(|option| option.get_id().as_str()).collect();
    let changing = CHANGING.iter().map(|(id, _)| *id);
    let known: BTreeSet<&str> = changing.chain(NOT_CHANGING.iter().copied()).collect();
    assert_eq!(options, known);
}

#[test]
fn a_mask_adds_a_column_of_its_own_signature() {
    let folder = tempfile::tempdir().unwrap();
    let found = signatures(&["--mask", folder.path().to_str().unwrap()]);
    assert_eq!(found[0], signatures(&[])[0]);
    assert!(found[1].contains("|mode:lin|reduction:masked|"), "{}", found[1]);
}

#[test]
fn presets_of_equal_numbers_have_equal_signatures() {
    assert_eq!(signatures(&["--preset", "pyiqa"]), signatures(&[]));
    assert_eq!(signatures(&["--preset", "lpips+"]), signatures(&["--semantic-layer", "2"]));
}

#[test]
fn another_net_changes_nothing_for_the_first() {
    let trunks = ["--trunk", "random:1"];
    let one = signatures(&trunks);
    let both = signatures(&[&trunks[..], &["--net", "alex,squeeze"]].concat());
    assert_eq!((both.len(), &both[0]), (2, &one[0]));
}
