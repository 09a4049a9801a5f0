//! Every two images of a folder: how often images go through the trunk, and that it changes no bit.

use std::path::Path;

use crate::support::{csv, lpips, stderr};

const SIDE: usize = 64;
const IMAGES: usize = 40;

/// Images of blocks of colours, each of its own.
fn write_images(folder: &Path) {
    fs_err::create_dir(folder).unwrap();
    for image in 0..IMAGES {
        let mut bytes = format!("P6 {SIDE} {SIDE} 255\n").into_bytes();
        let sample = |at: usize| {
            let (y, x, c) = (at / 3 / SIDE, at / 3 % SIDE, at % 3);
            ((y / 8 * 31 + x / 8 * 57 + c * 11) * (image + 3) % 251) as u8
        };
        bytes.extend((0..3 * SIDE * SIDE).map(sample));
        fs_err::write(folder.join(format!("{image:02}.ppm")), bytes).unwrap();
    }
}

/// Runs it into `name`; how many images went through a trunk.
fn passes(folder: &Path, name: &str, options: &[&str]) -> usize {
    let mut line = vec!["eval", "-o", name, "--device", "cpu", "-v"];
    line.extend(options);
    let output = lpips(folder, &line);
    let printed = stderr(&output);
    assert!(output.status.success(), "{printed}");
    let line =
        printed.lines().find_map(|line| line.strip_prefix("images that went through a trunk: "));
    line.unwrap_or_else(|| panic!("{printed}")).parse().unwrap()
}

/// (id, distance), by id.
fn distances(run: &Path) -> Vec<(String, String)> {
    let rows = csv(&run.join("pairs.csv"));
    let column = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap();
    let (id, distance) = (column("id"), column("lpips_alex"));
    let mut found: Vec<_> =
        rows[1..].iter().map(|row| (row[id].clone(), row[distance].clone())).collect();
    found.sort();
    found
}

#[test]
fn n_images_cost_n_passes_and_small_batches_cost_more_for_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_images(&at.join("set"));
    assert_eq!(passes(at, "whole", &["--all-pairs", "set"]), IMAGES);
    let whole = distances(&at.join("whole"));
    assert_eq!(whole.len(), IMAGES * (IMAGES - 1) / 2);

    // Batches of four pairs hold eight images.
    let capacity = 8;
    let few = passes(at, "few", &["--all-pairs", "set", "--batch", "4"]);
    assert!(few > IMAGES && few <= 2 * IMAGES * IMAGES / capacity, "{few}");
    assert_eq!(distances(&at.join("few")), whole);

    // The same pairs as a manifest.
    let row = |(id, _): &(String, String)| {
        let (a, b) = id.split_once("--").unwrap();
        format!("set/{a}.ppm,set/{b}.ppm,{id}\n")
    };
    let rows: String = whole.iter().map(row).collect();
    fs_err::write(at.join("m.csv"), format!("ref,dist,id\n{rows}")).unwrap();
    assert!(passes(at, "manifest", &["m.csv"]) > whole.len());
    assert_eq!(distances(&at.join("manifest")), whole);
}
