//! DISTS on the CPU: the golden values, bits that depend on nothing else, and shared weights.

use lpips::eval::cpu::{Config, CpuEvaluator};
use lpips::eval::{Affine, Distance, Evaluator, Model, Precision};
use lpips::image::{self, Image, Rules};
use lpips::isa::Isa;
use lpips::net::Net;
use lpips::net::weights::{Dists, Trunk, Version};
use lpips::oracle;
use lpips::selftest::Expected;
use serde::Deserialize;

use crate::support::{data, decode, model, score, trunk};

#[derive(Deserialize)]
struct Row {
    id: String,
    crop: usize,
    dists: f64,
}

impl Row {
    /// Those of tests/data/golden/companions.csv: ten pairs, nine of which are cropped, too.
    fn all() -> Vec<Row> {
        let mut rows = csv::Reader::from_path(data("golden/companions.csv")).unwrap();
        let rows: Vec<Row> = rows.deserialize().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 20);
        rows
    }

    /// Reference and distorted.
    fn images(&self) -> [Image; 2] {
        let rules = Rules { crop_border: self.crop, ..Rules::default() };
        ["ref", "dist"].map(|side| {
            let path = data(&format!("golden/images/{}_{side}.png", self.id));
            image::decode(&path, &rules).unwrap()
        })
    }

    /// The promise of docs/numerics.md. Two images that differ by one level in one sample of a
    /// thousand have a bound of their own; identical images are at distance 0.
    fn tolerance(&self) -> f64 {
        match self.id.as_str() {
            "identical" => 0.0,
            "near_identical" => 1e-2 * self.dists,
            _ => 1e-5 * self.dists + 1e-8,
        }
    }

    /// The golden values hold 1 - sum, which rounds to -1e-16 for identical images.
    fn expected(&self) -> f64 {
        if self.id == "identical" { 0.0 } else { self.dists }
    }
}

fn dists(trunk: Trunk) -> Model {
    Model::dists(trunk, Affine::UNIT, Dists::load().unwrap())
}

fn cpu(models: Vec<Model>, threads: usize, isa: Option<Isa>) -> CpuEvaluator {
    CpuEvaluator::new(models, Config { threads, pairs_max: None, isa, memory: None }).unwrap()
}

fn first(scores: &[lpips::eval::PairScore]) -> &Distance {
    scores[0][0].as_ref().unwrap()
}

#[test]
fn float64_agrees_with_the_golden_values() {
    let Some(trunk) = trunk(Net::Vgg) else { return };
    let model = dists(trunk);
    for id in ["contrast_odd", "tiny_31_wide", "flat_grey_vs_black", "identical"] {
        let rows = Row::all();
        let row = rows.iter().find(|row| row.id == id && row.crop == 0).unwrap();
        let taps = row.images().map(|image| oracle::taps(&model, &image).unwrap());
        let found: f64 = oracle::layers(&model, &taps[0], &taps[1]).iter().sum();
        let deviation = (found - row.dists).abs();
        eprintln!("{id}: {deviation:.1e} from {}", row.dists);
        assert!(deviation <= 1e-7 * row.dists + 1e-10, "{id}: {found} instead of {}", row.dists);
    }
}

#[test]
fn the_cpu_agrees_with_the_golden_values() {
    let Some(trunk) = trunk(Net::Vgg) else { return };
    let mut evaluator = cpu(vec![dists(trunk)], 2, None);
    for row in Row::all() {
        let [reference, distorted] = row.images();
        let scores = score(&mut evaluator, &[(&reference, &distorted)]);
        let (found, expected) = (first(&scores).total(), row.expected());
        let deviation = (found - expected).abs();
        eprintln!("{} {}: {:.1e}", row.id, row.crop, deviation / expected.max(1e-8));
        assert!(
            deviation <= row.tolerance(),
            "{} crop {}: {found} instead of {expected}",
            row.id,
            row.crop
        );
    }
}

/// Also: the same bits alone, in a crowd and in another order.
#[test]
fn every_instruction_set_agrees_with_float64() {
    let model = dists(Trunk::formula(Net::Vgg));
    let expected = Expected::of(&model).unwrap();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let mut evaluator = cpu(vec![model.clone()], 2, Some(isa));
        let outcome = expected.compare(&mut evaluator, Precision::Fp32).unwrap();
        assert_eq!(outcome.fault, None, "{isa}");
        assert!(outcome.invariant && outcome.deviation.total > 0.0, "{isa}");
    }
}

#[test]
fn threads_and_other_models_change_no_bit() {
    let trunk = Trunk::formula(Net::Vgg);
    let images = ["ref", "dist"]
        .map(|side| decode(&data(&format!("golden/images/contrast_odd_{side}.png"))));
    let pairs = [(&images[0], &images[1]), (&images[1], &images[0]), (&images[0], &images[0])];
    let mut alone = cpu(vec![dists(trunk.clone())], 1, None);
    let expected = score(&mut alone, &pairs);
    assert_eq!(first(&expected).layers.len(), 6);
    for threads in [2, 3] {
        let lpips = model(&trunk, Version::V0_1, false);
        let mut beside = cpu(vec![lpips.clone(), dists(trunk.clone())], threads, None);
        for (found, expected) in score(&mut beside, &pairs).iter().zip(&expected) {
            assert_eq!(found[1], expected[0], "{threads} threads");
        }
        let lpips_alone = score(&mut cpu(vec![lpips], 1, None), &pairs);
        assert_eq!(score(&mut beside, &pairs)[0][0], lpips_alone[0][0]);
    }
}

/// The loaded trunk exists once in memory, so one more metric of it takes little.
#[test]
fn models_of_one_trunk_share_its_memory() {
    let trunk = Trunk::formula(Net::Vgg);
    let lpips = model(&trunk, Version::V0_1, false);
    let shape = lpips::batch::BatchShape {
        size: image::Size { width: 16, height: 16 },
        depth: image::Depth::U8,
    };
    let bytes = |models: Vec<Model>| {
        cpu(models, 1, None).host_memory(shape, lpips::batch::Group::PAIR).total()
    };
    let shared = bytes(vec![lpips.clone(), dists(trunk)]);
    let apart = bytes(vec![lpips, dists(Trunk::formula(Net::Vgg))]);
    let weights = Net::Vgg.weight_bytes() as u64;
    assert!(apart - shared >= weights, "{apart} {shared}");
}

#[test]
fn images_below_16_pixels_have_no_score() {
    let mut evaluator = cpu(vec![dists(Trunk::formula(Net::Vgg))], 1, None);
    let image = |width, height| {
        let size = image::Size { width, height };
        Image::new(size, image::Pixels::U8(vec![7; size.samples()]))
    };
    let small = image(40, 15);
    let scores = score(&mut evaluator, &[(&small, &small)]);
    assert_eq!(
        scores[0][0].as_ref().unwrap_err().to_string(),
        "40x15 is too small: dists needs at least 16 pixels a side"
    );
    let least = image(16, 16);
    assert_eq!(first(&score(&mut evaluator, &[(&least, &least)])).total(), 0.0);
}
