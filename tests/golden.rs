//! Every golden value, on the CPU, within the promised tolerance of float64.
//!
//! tests/data/golden/README.md says how the values were made.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::net::Net;
use lpips::net::weights::Version;
use serde::Deserialize;

use support::{data, decode, model, score, trunk};

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
            let config = Config { threads: 2, pairs_max: None, isa: None };
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
