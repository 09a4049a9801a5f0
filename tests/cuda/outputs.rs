//! What the program computes beside plain LPIPS, on the CPU and on CUDA: the same files.

use std::path::Path;

use crate::job::{Evaluated, Job};
use crate::machine::{Machine, is_real};
use crate::support::csv;

/// Both devices keep their promise to float64 (docs/numerics.md): what they may differ by.
const TOTAL: f64 = 2e-5;
/// The same for layers, and for what is made of their maps.
const LAYER: f64 = 6e-5;
/// The same for a map, of its largest value.
const MAP: f64 = 2e-5;

/// Asserts that a cell of two tables says the same.
#[track_caller]
fn assert_cell(name: &str, cpu: &str, cuda: &str) {
    let is_metric = name.starts_with("lpips_") || name.starts_with("baseline_");
    let (Ok(expected), Ok(found)) = (cpu.parse::<f64>(), cuda.parse::<f64>()) else {
        assert_eq!(cpu, cuda, "{name}");
        return;
    };
    let is_total = ["lpips_alex", "lpips_squeeze", "baseline_alex"].contains(&name);
    let relative = if is_total { TOTAL } else { LAYER };
    let allowed = if is_metric { relative * expected.abs() + 2e-8 } else { 0.0 };
    assert!((found - expected).abs() <= allowed, "{name}: {found} instead of {expected}");
}

/// Values of a map in `.npy`, after its head.
fn map(path: &Path) -> (Vec<u8>, Vec<f32>) {
    let bytes = fs_err::read(path).unwrap();
    let values = bytes[128..].as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four));
    (bytes[..128].to_vec(), values.collect())
}

/// Maps of a run, by the index beside them.
fn maps(run: &Path) -> Vec<String> {
    if !run.join("maps").exists() {
        return Vec::new();
    }
    let mut index = csv(&run.join("maps/index.csv")).into_iter();
    let npy = index.next().unwrap().iter().position(|name| name == "npy").unwrap();
    index.map(|row| row[npy].clone()).collect()
}

/// Asserts that two runs wrote the same maps.
#[track_caller]
fn assert_maps(cpu: &Path, cuda: &Path) {
    let names = maps(cpu);
    assert_eq!(names, maps(cuda));
    for name in &names {
        let ((head, expected), (other_head, found)) =
            (map(&cpu.join("maps").join(name)), map(&cuda.join("maps").join(name)));
        assert_eq!((head, expected.len()), (other_head, found.len()), "{name}");
        let largest = expected.iter().copied().fold(0.0, f32::max);
        assert!(largest > 0.0, "{name}");
        for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let off = f64::from((expected - found).abs());
            assert!(off <= MAP * f64::from(largest), "{name} at {at}: {found}, {expected}");
        }
    }
}

/// Evaluates on both devices and compares pairs.csv and the maps. What CUDA wrote.
#[track_caller]
fn assert_agree(job: &Job, inputs: &[&str], options: &[&str]) -> Evaluated {
    let on = |device| {
        let options = [options, &["--device", device]].concat();
        let evaluated = job.eval_of(inputs, &Machine::new(), &options);
        evaluated.ran.expect(0);
        evaluated
    };
    let (cpu, cuda) = (on("cpu"), on("cuda"));
    assert!(cpu.ran.trace.is_empty(), "--device cpu calls CUDA");
    assert!(is_real() || cuda.ran.calls("cuLaunchKernel") > 0, "--device cuda does not");
    let [expected, found] = [&cpu, &cuda].map(|of| csv(&of.run.join("pairs.csv")));
    assert!(expected.len() > 1 && expected.len() == found.len());
    assert_eq!(expected[0], found[0]);
    for (row, found) in expected[1..].iter().zip(&found[1..]) {
        let cells = expected[0].iter().zip(row.iter().zip(found));
        cells.for_each(|(name, (expected, found))| assert_cell(name, expected, found));
    }
    assert_maps(&cpu.run, &cuda.run);
    cuda
}

#[test]
fn maps_layers_masks_and_baseline_of_two_nets() {
    let job = Job::noise(2, 2);
    let masks = job.folder().join("masks");
    fs_err::create_dir(&masks).unwrap();
    for (item, (width, height)) in [(33, 47), (52, 31)].into_iter().enumerate() {
        let mut mask = format!("P5 {width} {height} 255\n").into_bytes();
        mask.extend((0..width * height).map(|at| (at * 7 % 256) as u8));
        fs_err::write(masks.join(format!("{item}.pgm")), mask).unwrap();
    }
    let options = "--spatial --per-layer --mask masks --net alex,squeeze --trunk random:1";
    let options: Vec<&str> = options.split(' ').collect();
    let found = assert_agree(&job, &["m.csv"], &options);
    assert!(found.values().values().all(|row| row["lpips_masked_squeeze"] > 0.0));
    assert_eq!(maps(&found.run).len(), 8, "two for each of four pairs");
    assert_agree(&job, &["m.csv"], &["--baseline", "--per-layer", "--lpips-version", "0.0"]);
}

#[test]
fn semantic_weights_and_presets() {
    let job = Job::noise(2, 1);
    let found = assert_agree(&job, &["m.csv"], &["--semantic-layer", "4", "--per-layer"]);
    assert!(found.values().values().all(|row| row["lpips_semantic4_alex"] > 0.0));
    for preset in ["lpips-0.1.4", "pyiqa", "lpips+", "torchmetrics", "3dgs"] {
        assert_agree(&job, &["m.csv"], &["--preset", preset, "--net", "alex"]);
    }
}

/// A float array of noise around zero.
fn write_array(path: &Path, (width, height): (usize, usize), salt: usize) {
    let head =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((head.len() as u16).to_le_bytes());
    bytes.extend(head.bytes());
    let value = |at: usize| ((at * (31 + salt)) % 1009) as f32 / 504.5 - 1.0;
    bytes.extend((0..3 * width * height).flat_map(|at| value(at).to_le_bytes()));
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn float_inputs_all_pairs_and_triplets() {
    let job = Job::noise(1, 2);
    let arrays = job.folder().join("arrays");
    fs_err::create_dir(&arrays).unwrap();
    (0..4).for_each(|salt| write_array(&arrays.join(format!("{salt}.npy")), (47, 40), salt));
    let found = assert_agree(&job, &["--all-pairs", "arrays"], &["--range=-1..1"]);
    assert_eq!(found.values().len(), 6);
    // Far from a tie, so that both devices prefer the same.
    let triplets = "ref,p0,p1,judge,id\n0.ppm,0_0.ppm,0.ppm,1,a\n0.ppm,0.ppm,0_1.ppm,0.25,b\n";
    fs_err::write(job.folder().join("t.csv"), triplets).unwrap();
    let found = assert_agree(&job, &["t.csv"], &[]);
    let scores = csv(&found.run.join("twoafc.csv"));
    let score = scores[0].iter().position(|name| name == "score").unwrap();
    assert_eq!(scores[1][score], "0.875000000");
}
