//! Gives the program the commit that it was built from, for `--version` and run.json, and the
//! kernels that were assembled for it, if any were.
#![expect(clippy::disallowed_methods, reason = "no dependencies; messages name the path here")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// The rows of `kernels::cubins::CUBINS`: one for each file MODULE.sm_NN.cubin of a folder.
fn cubins(folder: &Path) -> String {
    let stamp = |path: &Path| {
        let text = fs::read_to_string(path);
        text.unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
    };
    let made_from = stamp(&folder.join("verified.sha256"));
    assert!(
        made_from == stamp(Path::new("kernels/verified.sha256")),
        "the cubins in LPIPS_CUBINS={0} were made from other kernels: run \
         `scripts/build_kernels --cubins {0}`",
        folder.display()
    );
    let files = fs::read_dir(folder).expect("a folder that has just been read");
    let mut files: Vec<_> = files.map(|file| file.expect("a readable folder").path()).collect();
    files.sort_unstable();
    let mut rows = String::new();
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let Some((module, architecture)) =
            name.strip_suffix(".cubin").and_then(|name| name.split_once(".sm_"))
        else {
            continue;
        };
        writeln!(
            rows,
            "Cubin {{ module: {module:?}, sm: {architecture}, image: include_bytes!({file:?}) }},"
        )
        .expect("a string takes all");
    }
    rows
}

fn main() {
    // Built from a source archive, there is no commit.
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=LPIPS_COMMIT={commit}");
    println!("cargo::rerun-if-changed=build.rs");
    if let Some(head) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={head}");
    }
    println!("cargo::rerun-if-env-changed=LPIPS_CUBINS");
    println!("cargo::rerun-if-changed=kernels/verified.sha256");
    let folder = env::var_os("LPIPS_CUBINS").filter(|folder| !folder.is_empty());
    let rows = folder.map_or_else(String::new, |folder| {
        let folder = fs::canonicalize(&folder)
            .unwrap_or_else(|error| panic!("LPIPS_CUBINS={}: {error}", folder.display()));
        cubins(&folder)
    });
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("cubins.rs"), format!("&[{rows}]"))
        .expect("cargo's folder can be written");
}
