//! Files of spatial maps: their names, and that each is the map of its pair's score.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::support::{csv, lpips, stderr};

/// A folder with small images and a manifest of pairs with these ids, and references of their own.
pub(crate) fn set(ids: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = "id,ref,dist\n".to_owned();
    for (number, id) in ids.iter().enumerate() {
        for (name, step) in [("r", 0), ("d", number + 1)] {
            let samples = (0..36 * 36).map(|at| (at * 7 + at / 36 * step * 5) as u8);
            let bytes: Vec<u8> = b"P5 36 36 255\n".iter().copied().chain(samples).collect();
            fs_err::write(folder.path().join(format!("{name}{number}.pgm")), bytes).unwrap();
        }
        manifest += &format!("{id},r{number}.pgm,d{number}.pgm\n");
    }
    fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
    folder
}

pub(crate) fn run(folder: &Path, args: &[&str], code: i32) -> String {
    let output = lpips(folder, args);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stderr(&output)
}

/// The files of maps, relative to their folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let maps = folder.join("run/maps");
    let entries = walkdir::WalkDir::new(&maps).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(&maps).unwrap().to_owned()).collect()
}

/// What index.csv lists beside itself.
fn listed(folder: &Path) -> BTreeSet<PathBuf> {
    let rows = csv(&folder.join("run/maps/index.csv"));
    let cells = rows.iter().skip(1).flat_map(|row| [&row[5], &row[6]]);
    cells.map(PathBuf::from).chain([PathBuf::from("index.csv")]).collect()
}

#[test]
fn every_pair_has_a_map_of_its_own_whatever_its_id_is() {
    let long = "\u{e9}".repeat(90);
    let ids = ["A", "a", &long, "x", "x.lpips_alex.npy/y"];
    let set = set(&ids);
    run(set.path(), &["eval", "m.csv", "-o", "run", "--spatial"], 0);
    let index = csv(&set.path().join("run/maps/index.csv"));
    let pairs = csv(&set.path().join("run/pairs.csv"));
    let mut names = BTreeSet::new();
    for (pair, row) in pairs.iter().zip(&index).skip(1) {
        assert_eq!(pair[0], row[0]);
        let bytes = fs_err::read(set.path().join("run/maps").join(&row[5])).unwrap();
        let values = bytes[128..].as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value));
        let mean = values.map(f64::from).sum::<f64>() / (36.0 * 36.0);
        let stated: f64 = row[2].parse().unwrap();
        assert!((mean - stated).abs() <= 1e-6 * mean, "{}: {mean} and {stated}", row[0]);
        names.insert(row[5].to_lowercase());
    }
    assert_eq!(names.len(), ids.len());
    assert_eq!(files(set.path()), listed(set.path()));
}

#[test]
fn a_map_goes_with_its_score() {
    let set = set(&["a", "b", "c", "d", "e", "f"]);
    let args = ["eval", "m.csv", "-o", "run", "--spatial-worst", "2"];
    run(set.path(), &args, 0);
    assert_eq!(files(set.path()).len(), 5);
    let worst = listed(set.path());
    // The worst pair cannot be read any more: another one takes its place.
    let dist = set.path().join("d5.pgm");
    let bytes = fs_err::read(&dist).unwrap();
    fs_err::remove_file(&dist).unwrap();
    run(set.path(), &args, 3);
    assert_eq!(files(set.path()), listed(set.path()));
    fs_err::write(&dist, bytes).unwrap();
    run(set.path(), &args, 0);
    assert_eq!((files(set.path()), listed(set.path())), (worst.clone(), worst));
}

#[test]
fn shards_have_as_many_maps_as_one_run() {
    let set = set(&["a", "b", "c", "d", "e", "f"]);
    for shard in ["0/3", "1/3", "2/3"] {
        let args = ["eval", "m.csv", "-o", "run", "--spatial-worst", "2", "--shard", shard];
        run(set.path(), &args, 0);
    }
    run(set.path(), &["merge", "run"], 0);
    assert_eq!(files(set.path()).len(), 5);
    assert_eq!(files(set.path()), listed(set.path()));
}

#[test]
fn a_damaged_map_is_found_and_computed_again() {
    let set = set(&["a", "b", "c"]);
    let args = ["eval", "m.csv", "-o", "run", "--spatial"];
    run(set.path(), &args, 0);
    let path = set.path().join("run/maps/b.lpips_alex.npy");
    let bytes = fs_err::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[200] ^= 1;
    fs_err::write(&path, damaged).unwrap();
    let text = run(set.path(), &["merge", "run"], 5);
    assert!(text.contains("maps/b.lpips_alex.npy` is missing or damaged"), "{text}");
    let text = run(set.path(), &args, 0);
    assert!(text.contains("resuming: 2 of 3 pairs are done"), "{text}");
    assert!(fs_err::read(&path).unwrap() == bytes);
}
