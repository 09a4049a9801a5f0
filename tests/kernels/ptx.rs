//! The committed PTX against its source and the table.

use std::path::{Path, PathBuf};

use lpips::eval::cuda::signature::{Arg, ENTRIES, Entry, MODULES};
use sha2::{Digest, Sha256};

fn kernels() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

fn stems(extension: &str) -> Vec<String> {
    let paths = fs_err::read_dir(kernels()).unwrap().map(|entry| entry.unwrap().path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let mut stems: Vec<String> =
        wanted.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    stems.sort();
    stems
}

/// As scripts/build_kernels: the source, then every header in the order of their names.
fn source_hash(module: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(fs_err::read(kernels().join(format!("{module}.cu"))).unwrap());
    for header in stems("cuh") {
        digest.update(fs_err::read(kernels().join(format!("{header}.cuh"))).unwrap());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ptx(module: &str) -> String {
    fs_err::read_to_string(kernels().join(format!("{module}.ptx"))).unwrap()
}

/// What PTX says of an entry: types of its parameters and threads of a block.
#[derive(PartialEq, Eq, Debug)]
struct Declared {
    name: String,
    parameters: Vec<String>,
    threads: u32,
}

fn declared_in(ptx: &str) -> Vec<Declared> {
    let entries = ptx.split(".entry ").skip(1).map(|text| {
        let (name, rest) = text.split_once('(').unwrap();
        let (parameters, rest) = rest.split_once(')').unwrap();
        let parameters = parameters.split(',').filter(|one| !one.trim().is_empty());
        let of = |one: &str| {
            let mut words = one.split_whitespace().skip_while(|word| *word != ".param");
            words.nth(1).unwrap().to_owned()
        };
        let bounds = rest.split_once(".maxntid ").unwrap().1;
        let threads = bounds.split_once(',').unwrap().0.trim().parse().unwrap();
        Declared { name: name.to_owned(), parameters: parameters.map(of).collect(), threads }
    });
    let mut entries: Vec<Declared> = entries.collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

fn expected_of(entry: &Entry) -> Declared {
    let parameter = |(_, kind): &(&str, Arg)| {
        let text = match kind {
            Arg::U32 => ".u32",
            Arg::F32 => ".f32",
            Arg::In(_) | Arg::Out(_) | Arg::OutOrNull(_) | Arg::InOut(_) => ".u64",
        };
        text.to_owned()
    };
    Declared {
        name: entry.name.to_owned(),
        parameters: entry.args.iter().map(parameter).collect(),
        threads: entry.threads,
    }
}

fn expected_in(module: &str) -> Vec<Declared> {
    let mut entries: Vec<Declared> =
        ENTRIES.iter().filter(|entry| entry.module == module).map(expected_of).collect();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

#[test]
fn every_source_has_its_ptx_and_its_place_in_the_table() {
    let mut modules = MODULES.map(str::to_owned);
    modules.sort();
    assert_eq!(stems("cu"), modules);
    assert_eq!(stems("ptx"), modules);
}

#[test]
fn committed_ptx_is_fresh() {
    for module in MODULES {
        let stamp = format!("// source-sha256: {}", source_hash(module));
        assert!(
            ptx(module).lines().take(4).any(|line| line == stamp),
            "kernels/{module}.ptx is stale: run scripts/build_kernels and commit what it writes"
        );
    }
}

#[test]
fn ptx_loads_on_every_supported_driver_and_gpu() {
    for module in MODULES {
        let ptx = ptx(module);
        assert!(ptx.lines().any(|line| line == ".version 8.0"), "{module}: drivers of CUDA 12.0");
        assert!(ptx.lines().any(|line| line == ".target sm_70"), "{module}: GPUs from Volta on");
    }
}

#[test]
fn ptx_has_the_signatures_of_the_table() {
    for module in MODULES {
        assert_eq!(declared_in(&ptx(module)), expected_in(module), "kernels/{module}.ptx");
    }
}

#[test]
fn a_changed_signature_is_seen() {
    let text = ptx("finish");
    for (from, to) in [
        (".param .u32 finish_param_4,", ".param .u64 finish_param_4,"),
        (".param .u32 finish_param_4,\n", ""),
        (".entry finish(", ".entry finished("),
        (".maxntid 256,", ".maxntid 512,"),
    ] {
        assert!(text.contains(from), "{from}");
        assert_ne!(declared_in(&text.replace(from, to)), expected_in("finish"), "{from}");
    }
}
