//! Every golden value, on the CPU, within the promised tolerance of float64.
//!
//! tests/data/golden/README.md says how the values were made.

use std::path::Path;

use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::eval::{Distance, Wanted};
use lpips::image::Size;
use lpips::metric::{self, Reduction};
use lpips::net::Net;
use lpips::net::weights::{Trunk, Version};
use serde::Deserialize;

use crate::support::{data, decode, model, score, trunk, wanting};

#[derive(Deserialize)]
struct Expected {
    id: String,
    net: String,
    version: String,
    mode: String,
    lpips: f64,
    layer0: f64,
    layer1: f64,
    layer2: f64,
    layer3: f64,
    layer4: f64,
    layer5: Option<f64>,
    layer6: Option<f64>,
}

impl Expected {
    fn layers(&self) -> Vec<f64> {
        let Expected { layer0, layer1, layer2, layer3, layer4, layer5, layer6, .. } = *self;
        let first = [layer0, layer1, layer2, layer3, layer4];
        first.into_iter().chain([layer5, layer6].into_iter().flatten()).collect()
    }
}

/// The promise of docs/numerics.md. Two images that differ by one level in one sample of a thousand
/// cancel almost everything in float32, so that pair has a bound of its own.
fn tolerance(id: &str, value: f64, relative: f64) -> f64 {
    let relative = if id == "near_identical" { 2e-3 } else { relative };
    if id == "identical" { 0.0 } else { relative * value.abs() + 1e-8 }
}

fn all_rows_agree(net: Net) {
    let Some(trunk) = trunk(net) else { return };
    let mut rows = csv::Reader::from_path(data("golden/expected.csv")).unwrap();
    let rows: Vec<Expected> = rows.deserialize().map(Result::unwrap).collect();
    let mut count = 0;
    let mut worst = (0.0f64, String::new());
    for version in Version::ALL {
        for (baseline, mode) in [(false, "lpips"), (true, "baseline")] {
            let models = vec![model(&trunk, version, baseline)];
            let config = Config { threads: 2, pairs_max: None, isa: None, memory: None };
            let mut evaluator = CpuEvaluator::new(models, config).unwrap();
            let wanted = |row: &&Expected| {
                row.net == net.name() && row.version == version.name() && row.mode == mode
            };
            for row in rows.iter().filter(wanted) {
                let image = |side| decode(&data(&format!("golden/images/{}_{side}.png", row.id)));
                let (reference, distorted) = (image("ref"), image("dist"));
                let scores = score(&mut evaluator, &[(&reference, &distorted)]);
                let distance = scores[0][0].as_ref().unwrap();
                let name = format!("{} {net} {} {mode}", row.id, version.name());

                let deviation = (distance.total() - row.lpips).abs();
                assert!(
                    deviation <= tolerance(&row.id, row.lpips, 1e-5),
                    "{name}: {} instead of {}",
                    distance.total(),
                    row.lpips
                );
                assert_eq!(distance.layers.len(), row.layers().len(), "{name}");
                for (layer, (&found, expected)) in
                    distance.layers.iter().zip(row.layers()).enumerate()
                {
                    assert!(
                        (found - expected).abs() <= tolerance(&row.id, expected, 3e-5),
                        "{name} layer {layer}: {found} instead of {expected}"
                    );
                }
                if row.id != "near_identical" && row.lpips > 0.0 {
                    let relative = deviation / row.lpips;
                    worst = if relative > worst.0 { (relative, name) } else { worst };
                }
                count += 1;
            }
        }
    }
    // Ten pairs, two versions, two modes; fewer would mean that the file was not read.
    assert_eq!(count, 40);
    eprintln!("{net}: worst relative deviation of a total {:.1e} ({})", worst.0, worst.1);
}

#[test]
fn alex_agrees_with_float64() {
    all_rows_agree(Net::Alex);
}

#[test]
fn vgg_agrees_with_float64() {
    all_rows_agree(Net::Vgg);
}

#[test]
fn squeeze_agrees_with_float64() {
    all_rows_agree(Net::Squeeze);
}

#[derive(Deserialize)]
struct Semantic {
    id: String,
    net: String,
    semantic_layer: usize,
    lpips: f64,
}

fn evaluator_of(trunk: &Trunk, wanted: Wanted) -> CpuEvaluator {
    let models = vec![wanting(model(trunk, Version::V0_1, false), wanted)];
    CpuEvaluator::new(models, Config { threads: 2, pairs_max: None, isa: None, memory: None })
        .unwrap()
}

/// The distance of a golden pair, with its size.
fn distance_of(id: &str, evaluator: &mut CpuEvaluator) -> (Distance, Size) {
    let image = |side| decode(&data(&format!("golden/images/{id}_{side}.png")));
    let (reference, distorted) = (image("ref"), image("dist"));
    let scores = score(evaluator, &[(&reference, &distorted)]);
    (scores[0][0].clone().unwrap(), reference.size)
}

#[test]
fn semantic_weighting_agrees_with_float64() {
    let mut rows = csv::Reader::from_path(data("golden/expected_semantic.csv")).unwrap();
    let rows: Vec<Semantic> = rows.deserialize().map(Result::unwrap).collect();
    let mut count = 0;
    for trunk in Net::ALL.into_iter().filter_map(trunk) {
        for layer in 0..trunk.net.spec().tap_channels().len() {
            let reduction = Reduction::Semantic(layer);
            let mut evaluator = evaluator_of(&trunk, reduction.wanted());
            let wanted =
                |row: &&Semantic| row.net == trunk.net.name() && row.semantic_layer == layer;
            for Semantic { id, lpips: expected, .. } in rows.iter().filter(wanted) {
                let (distance, _) = distance_of(id, &mut evaluator);
                let layers = metric::reduce(&distance, reduction, None).unwrap();
                let found: f64 = layers.iter().sum();
                assert!(
                    (found - expected).abs() <= tolerance(id, *expected, 1e-5),
                    "{id} {} semantic layer {layer}: {found} instead of {expected}",
                    trunk.net
                );
                count += 1;
            }
        }
    }
    // Ten pairs for each of five layers (alex), five (vgg, where its file is there) and seven.
    let vgg = if trunk(Net::Vgg).is_some() { 50 } else { 0 };
    assert_eq!(count, 120 + vgg);
}

/// The values of a `.npy` file of float32 that NumPy wrote in row-major order.
fn npy(path: &Path) -> Vec<f32> {
    let bytes = fs_err::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(String::from_utf8_lossy(&bytes[..start]).contains("'<f4', 'fortran_order': False"));
    bytes[start..].as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

#[test]
fn spatial_maps_agree_with_the_reference() {
    for trunk in Net::ALL.into_iter().filter_map(trunk) {
        let wanted = Wanted { layers: true, reference_sum: None };
        let mut evaluator = evaluator_of(&trunk, wanted);
        for id in ["blur2", "jpeg10", "sr4_bicubic"] {
            let expected = npy(&data(&format!("golden/spatial/{id}_{}.npy", trunk.net)));
            let (distance, size) = distance_of(id, &mut evaluator);
            let found = metric::spatial(&distance.maps, size);
            assert_eq!(found.len(), expected.len());
            let largest = expected.iter().copied().fold(0.0, f32::max);
            let deviations = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let worst = deviations.fold(0.0, f32::max) / largest;
            eprintln!("{id} {}: worst deviation {worst:.1e} of the largest value", trunk.net);
            assert!(worst <= 1e-5, "{id} {}: {worst}", trunk.net);
        }
    }
}
