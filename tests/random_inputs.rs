//! Fresh random images against plain loops in float64, for every instruction set that is present.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use lpips::eval::cpu::{Config, CpuEvaluator, Isa};
use lpips::eval::{self, Affine, Epsilon, Model, Wanted};
use lpips::image::Size;
use lpips::image::{Image, Pixels};
use lpips::net::Net;
use lpips::net::weights::Version;
use lpips::oracle;

use support::{model, score};

/// Numerical Recipes' generator; good enough for pixels.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 56) as u8
    }
}

/// A blocky image with noise, so that every layer has something to see.
fn image(size: Size, seed: u64) -> Image {
    let mut random = Random(seed);
    let blocks: Vec<u8> = (0..3 * 64).map(|_| random.byte()).collect();
    let samples = (0..size.samples()).map(|index| {
        let (y, x) = (index / 3 / size.width, index / 3 % size.width);
        let block = blocks[(y / 9 % 8 * 8 + x / 11 % 8) * 3 + index % 3];
        block / 2 + random.byte() / 3
    });
    Image::new(size, Pixels::U8(samples.collect()))
}

/// (channel, row, column)
type Map = Vec<f64>;

/// The maps D_l, and S_k where the model asks for it.
fn expected(model: &Model, reference: &Image, distorted: &Image) -> (Vec<Map>, Option<Map>) {
    let a = oracle::taps(model, reference).unwrap();
    let b = oracle::taps(model, distorted).unwrap();
    let sum = model.wanted.reference_sum.map(|layer| oracle::channel_sum(&a, layer));
    (oracle::maps(model, &a, &b), sum)
}

fn mean(map: &Map) -> f64 {
    map.iter().sum::<f64>() / map.len() as f64
}

/// Within `relative` of the largest expected value and 1e-8, everywhere. The formula trunk's last
/// layers see two images nearly alike: what float32 leaves of differences of 5e-6 is not relative.
fn assert_near(found: &eval::Map, expected: &Map, relative: f64, name: &str) {
    assert_eq!(found.values.len(), expected.len(), "{name}");
    assert_eq!(found.values.len(), found.height * found.width, "{name}");
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (at, (&found, expected)) in found.values.iter().zip(expected).enumerate() {
        let deviation = (f64::from(found) - expected).abs();
        assert!(
            deviation <= relative * largest + 1e-8,
            "{name} at {at}: {found} instead of {expected}"
        );
    }
}

#[test]
fn every_instruction_set_agrees_with_float64() {
    // Sizes below, at and beside multiples of the tiles; odd, and of unequal sides.
    let cases = [
        (Net::Alex, Version::V0_1, 31, 63),
        (Net::Alex, Version::V0_0, 70, 47),
        (Net::Squeeze, Version::V0_1, 17, 40),
        (Net::Squeeze, Version::V0_0, 53, 36),
    ];
    for (seed, (net, version, height, width)) in (1u64..).zip(cases) {
        let size = Size { width, height };
        let (reference, distorted) = (image(size, seed), image(size, seed + 100));
        let trunk = support::trunk(net).unwrap();
        let model = model(&trunk, version, seed.is_multiple_of(2));
        let expected: Vec<f64> =
            expected(&model, &reference, &distorted).0.iter().map(mean).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let config = Config { threads: 2, pairs_max: None, isa: Some(isa) };
            let mut evaluator = CpuEvaluator::new(vec![model.clone()], config).unwrap();
            let scores = score(&mut evaluator, &[(&reference, &distorted)]);
            let found = &scores[0][0].as_ref().unwrap().layers;
            assert_eq!(found.len(), expected.len());
            for (layer, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let bound = 3e-5 * expected.abs() + 1e-8;
                assert!(
                    (found - expected).abs() <= bound,
                    "{net} {height}x{width} {isa} layer {layer}: {found} instead of {expected}"
                );
            }
        }
    }
}

/// Everything that a model can ask for beside the published metric: maps, the channel sum, another
/// rule for the norm and another input. The means do not depend on what else is asked for.
#[test]
fn maps_agree_with_float64_and_leave_the_means_alone() {
    let size = Size { width: 61, height: 38 };
    let (reference, distorted) = (image(size, 7), image(size, 8));
    for (net, reference_sum) in [(Net::Alex, 2), (Net::Squeeze, 0), (Net::Squeeze, 6)] {
        let trunk = support::trunk(net).unwrap();
        let plain = Model {
            input: Affine::NONE,
            epsilon: Epsilon { inside: 1e-3, outside: 0.0 },
            ..model(&trunk, Version::V0_1, false)
        };
        let wanted = Wanted { layers: true, reference_sum: Some(reference_sum) };
        let with_maps = Model { wanted, ..plain.clone() };
        let (maps, sum) = expected(&with_maps, &reference, &distorted);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let config = Config { threads: 2, pairs_max: None, isa: Some(isa) };
            let models = vec![plain.clone(), with_maps.clone()];
            let mut evaluator = CpuEvaluator::new(models, config).unwrap();
            let scores = score(&mut evaluator, &[(&reference, &distorted)]);
            let [plain, found] = [0, 1].map(|index| scores[0][index].as_ref().unwrap());
            assert_eq!(plain.layers, found.layers, "{net} {isa}");
            assert!(plain.maps.is_empty() && plain.reference_sum.is_none());
            assert_eq!(found.maps.len(), maps.len());
            for (layer, (found, expected)) in found.maps.iter().zip(&maps).enumerate() {
                assert_near(found, expected, 3e-5, &format!("{net} {isa} layer {layer}"));
            }
            let sum = sum.as_ref().unwrap();
            assert_near(found.reference_sum.as_ref().unwrap(), sum, 1e-5, &format!("{net} {isa}"));
        }
    }
}
