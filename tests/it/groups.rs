//! Several methods against one reference: how often it goes through the trunk, for the same bits.

use std::path::Path;

use crate::support::{lpips, stderr};

const SIDE: usize = 64;
const REFERENCES: usize = 6;
const METHODS: usize = 5;

/// Noise, the same for the same number.
fn write_image(folder: &Path, name: &str, number: usize) {
    let mut bytes = format!("P6 {SIDE} {SIDE} 255\n").into_bytes();
    bytes.extend((0..3 * SIDE * SIDE).map(|at| ((at * 7919 + number * 104_729) % 251) as u8));
    fs_err::write(folder.join(name), bytes).unwrap();
}

/// Method by method; without `shared`, every pair has a reference for itself, of the same pixels.
fn write_pairs(folder: &Path, manifest: &str, shared: bool) {
    let mut lines = "ref,dist,item,method\n".to_owned();
    for method in 0..METHODS {
        for item in 0..REFERENCES {
            let copy = if shared { 0 } else { method };
            let (reference, distorted) =
                (format!("r{item}-{copy}.ppm"), format!("d{item}-{method}.ppm"));
            write_image(folder, &reference, item);
            write_image(folder, &distorted, 100 + METHODS * item + method);
            lines += &format!("{reference},{distorted},{item},{method}\n");
        }
    }
    fs_err::write(folder.join(manifest), lines).unwrap();
}

/// Images that went through a trunk, and the distances in the order of the manifest.
fn score(folder: &Path, manifest: &str, options: &[&str]) -> (usize, Vec<String>) {
    let run = format!("run-{manifest}-{}", options.join("-"));
    let mut line = vec!["eval", manifest, "-o", &run, "--device", "cpu", "-v", "--threads", "3"];
    line.extend(options);
    let output = lpips(folder, &line);
    let printed = stderr(&output);
    assert!(output.status.success(), "{printed}");
    let passes =
        printed.lines().find_map(|line| line.strip_prefix("images that went through a trunk: "));
    let rows = crate::support::csv(&folder.join(run).join("pairs.csv"));
    let column = rows[0].iter().position(|cell| cell == "lpips_alex").unwrap();
    let distances = rows[1..].iter().map(|row| row[column].clone()).collect();
    (passes.unwrap_or_else(|| panic!("{printed}")).parse().unwrap(), distances)
}

#[test]
fn k_methods_cost_k_plus_one_passes_where_a_batch_holds_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pairs(at, "own.csv", false);
    write_pairs(at, "shared.csv", true);
    let (passes, expected) = score(at, "own.csv", &[]);
    assert_eq!((passes, expected.len()), (2 * REFERENCES * METHODS, REFERENCES * METHODS));
    let whole = REFERENCES * (METHODS + 1);
    for (options, passes) in [
        (&[][..], whole),
        (&["--batch", "5"], whole),
        (&["--batch", "7"], whole),
        (&["--batch", "1"], 2 * REFERENCES * METHODS),
    ] {
        assert_eq!(score(at, "shared.csv", options), (passes, expected.clone()), "{options:?}");
    }
}
