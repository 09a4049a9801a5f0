//! The architecture as a test: which module may name which. See docs/architecture.md.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each part of `src` may name of the crate, beside itself. A part is a top-level module or,
/// under `eval`, a backend. Everything that is not listed is forbidden.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("main", &["cli", "commands", "error", "progress"]),
    (
        "commands",
        &[
            "batch",
            "check",
            "cli",
            "config",
            "error",
            "eval",
            "eval/cpu",
            "eval/cuda",
            "fetch",
            "hash",
            "image",
            "manifest",
            "net",
            "pair",
            "pipeline",
            "progress",
            "run",
            "selftest",
            "shard",
            "signals",
            "source",
            "suggest",
        ],
    ),
    // The types that options are read as.
    ("cli", &["eval", "image", "metric", "net", "pipeline", "progress", "shard"]),
    (
        "config",
        &[
            "cli",
            "error",
            "eval",
            "eval/cpu",
            "eval/cuda",
            "image",
            "manifest",
            "masks",
            "metric",
            "net",
            "pairing",
            "pipeline",
            "progress",
            "run",
            "shard",
            "signals",
            "source",
        ],
    ),
    ("source", &["error", "manifest", "pairing"]),
    ("pairing", &["batch", "error", "suggest"]),
    ("fetch", &["hash"]),
    ("check", &["batch", "error", "image", "manifest", "masks", "net", "pair", "pairing"]),
    (
        "pipeline",
        &[
            "batch", "error", "eval", "image", "manifest", "masks", "metric", "pair", "progress",
            "run", "shard", "signals",
        ],
    ),
    ("masks", &["error", "image", "metric"]),
    ("metric", &["eval", "image", "net"]),
    ("progress", &["run"]),
    (
        "run",
        &[
            "batch", "decimal", "error", "eval", "hash", "image", "manifest", "metric", "net",
            "pair", "shard", "stats", "suggest",
        ],
    ),
    ("shard", &["error"]),
    ("signals", &["error"]),
    ("manifest", &["batch", "error", "hash", "suggest"]),
    ("selftest", &["batch", "eval", "eval/cpu", "image", "net", "oracle"]),
    ("oracle", &["eval", "image", "net"]),
    ("eval/cuda", &["batch", "error", "eval", "image", "net"]),
    ("eval/cpu", &["batch", "eval", "image", "net"]),
    ("eval", &["batch", "image", "net"]),
    ("pair", &["batch", "image"]),
    ("batch", &["image"]),
    ("image", &["suggest"]),
    ("net", &["hash"]),
    ("decimal", &[]),
    ("error", &[]),
    ("hash", &[]),
    ("stats", &[]),
    ("suggest", &[]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    paths.sort();
    let relative = |path: &Path| {
        path.strip_prefix(&root).unwrap().with_extension("").to_string_lossy().into_owned()
    };
    paths.iter().map(|path| (relative(path), fs_err::read_to_string(path).unwrap())).collect()
}

/// `eval/cpu/conv` belongs to `eval/cpu`, `run/tables` to `run`.
fn part_of(module: &str) -> &str {
    for backend in ["eval/cpu", "eval/cuda"] {
        if module == backend || module.starts_with(&format!("{backend}/")) {
            return backend;
        }
    }
    module.split('/').next().unwrap()
}

/// Parts that a source names through `crate::` or `lpips::` paths, tests included.
fn named_parts(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut named = BTreeSet::new();
    for root in ["crate::", "lpips::"] {
        for (at, _) in code.match_indices(root) {
            let path = &code[at + root.len()..];
            let grouped = path.starts_with('{');
            let end =
                if grouped { path.find('}') } else { path.find([';', ' ', '(', ',', '>', '\n']) };
            let path = &path[..end.unwrap_or(path.len())];
            for one in path.trim_start_matches('{').split(',') {
                let module = one.trim().replace("::", "/");
                if module.starts_with(|first: char| first.is_ascii_lowercase()) {
                    named.insert(part_of(&module).to_owned());
                }
            }
        }
    }
    named
}

#[test]
fn dependencies_point_one_way() {
    let mut faults = Vec::new();
    for (module, text) in all_sources() {
        if module == "lib" {
            continue;
        }
        let part = part_of(&module);
        let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == part) else {
            faults.push(format!("src/{module}.rs: `{part}` is not in the table of this test"));
            continue;
        };
        for named in named_parts(&text) {
            if named != part && !allowed.contains(&named.as_str()) {
                faults.push(format!("src/{module}.rs: `{part}` must not name `{named}`"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn this_test_sees_a_forbidden_arrow() {
    let named = named_parts(
        "use crate::eval::cuda::conv;\nuse crate::{batch::Batch, net};\n// crate::run\n",
    );
    assert_eq!(named, ["batch", "eval/cuda", "net"].map(String::from).into());
}

#[test]
fn cudarc_is_named_under_eval_cuda_alone() {
    for (module, text) in all_sources() {
        assert!(part_of(&module) == "eval/cuda" || !text.contains("cudarc"), "src/{module}.rs");
    }
}

#[test]
fn files_and_lines_stay_short() {
    let mut faults = Vec::new();
    for (module, text) in all_sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().count();
        if lines > 400 {
            faults
                .push(format!("src/{module}.rs has {lines} lines without its tests, at most 400"));
        }
        let long = text.lines().position(|line| line.chars().count() > 100);
        if let Some(line) = long {
            faults.push(format!("src/{module}.rs:{}: longer than 100 characters", line + 1));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
