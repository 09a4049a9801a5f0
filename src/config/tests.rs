//! What the options make of the columns.

use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::cli::{Cli, Command};

fn resolve(options: &[&str]) -> Config {
    try_resolve(options).unwrap()
}

fn try_resolve(options: &[&str]) -> anyhow::Result<Config> {
    let start = ["lpips", "eval", "m.csv", "-o", "run"];
    let Command::Eval(args) =
        Cli::parse_from(start.into_iter().chain(options.iter().copied())).command
    else {
        panic!("not eval")
    };
    Config::resolve(*args)
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
    ("metrics", &["--metrics", "psnr_y"]),
    ("metrics", &["--metrics", "psnr_rgb"]),
    ("metrics", &["--metrics", "ssim_y"]),
    ("metrics", &["--metrics", "ssim_rgb"]),
    ("preset", &["--preset", "basicsr:3", "--metrics", "psnr_y"]),
    ("preset", &["--preset", "basicsr:2", "--metrics", "ssim_y"]),
    ("preset", &["--preset", "ntire-x4", "--metrics", "psnr_y"]),
    ("preset", &["--preset", "kair:4", "--metrics", "psnr_y_rounded"]),
    ("preset", &["--preset", "kair:4", "--metrics", "ssim_y_rounded"]),
    ("preset", &["--preset", "sr-diffusion", "--metrics", "psnr_y"]),
    ("preset", &["--preset", "sr-diffusion", "--metrics", "ssim_y_rounded_clamped"]),
    ("preset", &["--preset", "pyiqa-default", "--metrics", "psnr_rgb"]),
    ("preset", &["--preset", "pyiqa-default", "--metrics", "psnr_yiq"]),
    ("crop_border", &["--metrics", "psnr_y", "--crop-border", "psnr:5"]),
    ("range", &["--metrics", "psnr_y", "--range", "-1..1"]),
    ("alpha", &["--metrics", "psnr_y", "--alpha", "white"]),
    ("size_policy", &["--metrics", "psnr_y", "--size-policy", "modcrop:4"]),
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
    "reuse",
    "join",
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
fn the_signature_of_pixels_is_the_documented_line() {
    let version = env!("CARGO_PKG_VERSION");
    let options = ["--metrics", "psnr-y,ssim_rgb", "--crop-border", "psnr:4"];
    let expected = [
        "psnr_y|luma:bt601|round:no|peak:255|pix:pil|alpha:drop|crop:4|size:error",
        "ssim_rgb|window:gauss11|peak:255|pix:pil|alpha:drop|crop:0|size:error",
    ];
    let expected = expected.map(|line| format!("{line}|lpips:{version}"));
    assert_eq!(signatures(&options), expected);
    let options = ["--metrics", "psnr_y", "--crop-border", "4"];
    assert_eq!(signatures(&options), expected[..1]);
}

fn names(options: &[&str]) -> String {
    let columns = resolve(options).job.columns;
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn columns_have_the_order_of_the_metrics_that_are_asked_for() {
    assert_eq!(names(&["--metrics", "ssim_y,lpips,psnr_rgb,ssim_y"]), "ssim_y lpips_alex psnr_rgb");
    assert_eq!(names(&["--metrics", "psnr_rgb"]), "psnr_rgb");
    assert!(resolve(&["--metrics", "psnr_rgb"]).job.models.is_empty());
    assert_eq!(names(&["--preset", "kair:2"]), "psnr_y_rounded ssim_y_rounded");
    // DISTS of this preset needs the weights of VGG16, which not every machine has.
    let without_dists = ["--metrics", "psnr_y,ssim_y_rounded_clamped,lpips"];
    let columns = names(&[&["--preset", "sr-diffusion"], &without_dists[..]].concat());
    assert_eq!(columns, "psnr_y ssim_y_rounded_clamped lpips_alex");
    assert_eq!(names(&["--preset", "pyiqa-default", "--metrics", "lpips"]), "lpips_alex");
}

/// The border is that of the columns that are named, and of no other.
#[test]
fn a_border_is_cut_for_all_columns_or_for_some() {
    let crops = |options: &[&str]| -> String {
        let options = [&["--metrics", "psnr_y,ssim_y,ssim_rgb,lpips"], options].concat();
        let columns = resolve(&options).job.columns;
        columns.iter().map(|column| column.fingerprint.get("crop").unwrap()).collect()
    };
    assert_eq!(crops(&["--crop-border", "3"]), "3333");
    assert_eq!(crops(&["--crop-border", "psnr,ssim:3"]), "3330");
    assert_eq!(crops(&["--crop-border", "ssim-y:3"]), "0300");
    let some = resolve(&["--metrics", "psnr_y", "--crop-border", "psnr:3"]);
    assert_eq!(some.job.rules.crop_border, 0);
}

#[test]
fn contradictory_metrics_are_refused_with_what_is_meant() {
    let cases: [(&[&str], &str, &str); 12] = [
        (&["--metrics", "pnsr_y"], "unknown metric `pnsr_y`", "did you mean `psnr_y`?"),
        (&["--metrics", "psnr_y", "--net", "vgg"], "`--net` is an option of LPIPS", "add `lpips`"),
        (
            &["--metrics", "psnr_y", "--spatial"],
            "`--spatial` is an option",
            "leave `--spatial` out",
        ),
        (&["--metrics", "psnr_y", "--per-layer"], "`--per-layer` is an option", "add `lpips`"),
        (&["--metrics", "psnr_y", "--semantic-layer", "2"], "`--semantic-layer` is", "add `lpips`"),
        (&["--metrics", "psnr_y", "--preset", "torchmetrics"], "`--preset torchmetrics` is", ""),
        (&["--preset", "basicsr:4", "--mask", "."], "`--mask` is an option of LPIPS", ""),
        (&["--preset", "basicsr:4", "--crop-border", "2"], "`--preset basicsr:4` and", "leave one"),
        (
            &["--preset", "ntire-x4", "--size-policy", "modcrop:2"],
            "`--preset ntire-x4` and `--size-policy` contradict",
            "leave one",
        ),
        (&["--preset", "sr-diffusion", "--net", "vgg"], "`--preset sr-diffusion` and `--net`", ""),
        (
            &["--preset", "kair:4", "--metrics", "psnr_y"],
            "`psnr_y` is no column of `--preset kair:4`",
            "did you mean `psnr_y_rounded`?",
        ),
        (&["--crop-border", "psnr:4"], "`--crop-border` names `psnr`, which is no", "lpips"),
    ];
    for (options, text, hint) in cases {
        let error = try_resolve(options).unwrap_err();
        let refusal = error.downcast_ref::<Refusal>().unwrap();
        let shown = format!("{refusal:?}");
        assert!(refusal.to_string().contains(text), "{options:?}: {shown}");
        assert!(shown.contains(hint), "{options:?}: {shown}");
    }
    assert!(try_resolve(&["--preset", "basicsr:4", "--size-policy", "modcrop:4"]).is_ok());
    assert!(try_resolve(&["--preset", "ntire-x4", "--size-policy", "modcrop:4"]).is_ok());
}

#[test]
fn another_net_changes_nothing_for_the_first() {
    let trunks = ["--trunk", "random:1"];
    let one = signatures(&trunks);
    let both = signatures(&[&trunks[..], &["--net", "alex,squeeze"]].concat());
    assert_eq!((both.len(), &both[0]), (2, &one[0]));
}
