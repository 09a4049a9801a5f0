//! The functions that the program asks NVIDIA's libraries for, that the stand-ins have, and that
//! jobs call are the same ones; and the stand-ins take their arguments as cudarc declares them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use lpips::eval::cuda::probe::symbols;

use crate::job::Job;
use crate::machine::{Machine, is_simulated};
use crate::support::write_squeeze;

/// A stand-in's file, what is asked of it, its sources here, and cudarc's module.
const LIBRARIES: [(&str, &[&[&str]], &str, &str); 3] = [
    ("libcuda.so.1", &[symbols::DRIVER], "driver.cpp", "driver"),
    ("libcublas.so.12", &[symbols::CUBLAS], "cublas.cpp", "cublas"),
    ("libcudnn.so.9", &[symbols::CUDNN, &[symbols::CUDNN_IF_PRESENT]], "cudnn.cpp", "cudnn"),
];

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(String::from).collect()
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn stand_ins_export_what_is_asked_for_and_nothing_else() {
    if !is_simulated() {
        return;
    }
    let machine = Machine::new();
    for (file, asked, ..) in LIBRARIES {
        let library = machine.libraries().join(file);
        let table = said(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
        let names = table.lines().filter_map(|line| line.split(' ').nth(2));
        // Names of C++ are what the stand-ins share among themselves.
        assert_eq!(set(names.filter(|name| name.starts_with("cu"))), set(asked.concat()));
    }
}

#[test]
fn all_that_is_asked_for_is_called() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let trunk = write_squeeze(job.folder());
    let squeeze = ["--net", "squeeze", "--trunk", &trunk];
    let no_parts = Machine::new().set("FAKE_CUDNN_PARTS", 0);
    // What is called only where a launch of a micro-batch is refused, after the 15 of the rehearsal.
    // cuBLAS is asked for the name of a status where one of its calls then fails.
    let refused = "cuLaunchKernel:16:2,cublasGemmStridedBatchedEx:6:3";
    let refused = Machine::new().set("FAKE_CUDA_FAIL", refused);
    let traces =
        [(no_parts, &squeeze[..]), (refused, &["--conv", "cublas"])].map(|(machine, options)| {
            job.eval(&machine, &[&["--device", "cuda"], options].concat()).ran.trace
        });
    let lines = traces.iter().flat_map(|trace| trace.lines());
    let called = set(lines.map(|line| line.split(' ').next().unwrap()));
    let called: BTreeSet<String> = called.into_iter().filter(|it| it.starts_with("cu")).collect();
    let asked = LIBRARIES.iter().flat_map(|(_, asked, ..)| asked.concat());
    assert_eq!(called, set(asked));
}

/// How an argument is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    Pointer,
    Integer { bytes: usize },
    Double,
}

/// Arguments between the parentheses after `head`, wherever that occurs in `text`.
fn arguments(text: &str, head: &str) -> Vec<Vec<String>> {
    let lists = text.match_indices(head).map(|(at, _)| {
        let list = text[at + head.len()..].split_once(')').unwrap().0;
        list.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
    });
    lists.collect()
}

/// Of an argument of C++: a type, and perhaps a name.
fn class_in_cpp(argument: &str) -> Class {
    if argument.contains('*') {
        return Class::Pointer;
    }
    let words = argument.split_whitespace().filter(|word| *word != "const");
    match words.collect::<Vec<_>>()[..] {
        ["size_t" | "Address", _] | ["long", "long", _] => Class::Integer { bytes: 8 },
        ["unsigned", "char", _] => Class::Integer { bytes: 1 },
        ["int" | "unsigned", ..] => Class::Integer { bytes: 4 },
        ["double", ..] => Class::Double,
        _ => panic!("an argument of another type: {argument}"),
    }
}

/// Of a type of cudarc's bindings, which are `text`.
fn class_in_rust(kind: &str, text: &str) -> Class {
    match kind {
        _ if kind.starts_with('*') => Class::Pointer,
        "usize" | "::core::ffi::c_ulonglong" | "::core::ffi::c_longlong" => {
            Class::Integer { bytes: 8 }
        }
        "::core::ffi::c_int" | "::core::ffi::c_uint" => Class::Integer { bytes: 4 },
        "::core::ffi::c_uchar" => Class::Integer { bytes: 1 },
        "f64" => Class::Double,
        name if text.contains(&format!("pub enum {name} {{")) => Class::Integer { bytes: 4 },
        name => {
            let of_alias = text.split_once(&format!("pub type {name} = "));
            let of_alias = of_alias.map(|(_, rest)| rest.split_once(';').unwrap().0);
            let of_import = || {
                let (before, _) = text.split_once(&format!(" as {name};"))?;
                before.rsplit_once("pub use self::").map(|(_, it)| it)
            };
            let other = of_alias.or_else(of_import);
            class_in_rust(other.unwrap_or_else(|| panic!("no type {name}")), text)
        }
    }
}

/// Sources of the cudarc that this crate is built with.
fn cudarc() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--offline", "--locked"]);
    // Packages for other systems are not downloaded by a build.
    let rustc = said(Command::new("rustc").arg("-vV"));
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    cargo.args(["--filter-platform", host]);
    let metadata = said(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let found = packages.iter().find(|package| package["name"] == "cudarc").unwrap();
    Path::new(found["manifest_path"].as_str().unwrap()).with_file_name("src")
}

#[test]
fn stand_ins_take_arguments_as_cudarc_passes_them() {
    if !is_simulated() {
        return;
    }
    let (cudarc, here) = (cudarc(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut compared = BTreeMap::new();
    for (_, asked, source, module) in LIBRARIES {
        let text = fs_err::read_to_string(here.join("tests/fake_cuda").join(source)).unwrap();
        let bindings = cudarc.join(module).join("sys/mod.rs");
        let bindings = fs_err::read_to_string(bindings).unwrap();
        for name in asked.concat() {
            // A declaration for each range of CUDA's versions that differs.
            let declared = arguments(&bindings, &format!("pub unsafe fn {name}("));
            assert!(!declared.is_empty(), "cudarc declares no {name}");
            // Those that a macro defines are not spelled out.
            let Some(defined) = arguments(&text, &format!(" {name}(")).into_iter().next() else {
                continue;
            };
            let found: Vec<Class> = defined.iter().map(|it| class_in_cpp(it)).collect();
            for declared in declared {
                let kinds = declared.iter().map(|it| it.split_once(": ").unwrap().1);
                let expected: Vec<Class> = kinds.map(|it| class_in_rust(it, &bindings)).collect();
                assert_eq!(found, expected, "{name}");
            }
            compared.insert(name, found);
        }
    }
    assert!(compared.len() >= 50, "{} functions", compared.len());
}
