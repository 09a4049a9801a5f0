//! The self-test: pairs that are built in, scored on a device and compared with float64.
//!
//! Pixels come from a formula and expected values from [`crate::oracle`], so that nothing but the
//! program is needed. What it promises is what docs/numerics.md promises. This module uses
//! evaluators through their trait, and does not depend on devices.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

use crate::batch::{BatchShape, Frame, Group, Pair};
use crate::eval::{Distance, Evaluator, Model, PairScore, Precision, Wait, score_pairs};
use crate::image::{Depth, Image, Pixels, Size};
use crate::net::Layer;
use crate::oracle;

/// Sizes of the built-in images: small, one even and one odd, so that float64 takes seconds.
const SIZES: [Size; 2] = [Size { width: 48, height: 40 }, Size { width: 35, height: 33 }];
/// Images of one size.
const IMAGES: usize = 4;
/// Pairs of the crowd that a pair is scored in, by size. A GPU scores micro-batches of at most 512
/// images; the second crowd has more, of the smaller images, so that it is cheap.
const CROWDS: [usize; SIZES.len()] = [24, 300];

/// What features are multiplied by to overflow in half precision, whose largest number is 65504. A
/// power of two: float32 computes the same bits with and without it.
const OVERFLOWING: f32 = (1 << 20) as f32;

/// Relative deviations from float64 beyond an absolute allowance: the worst of all pairs, or the
/// most that is promised.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Deviation {
    /// What any value may deviate by beside all else.
    pub absolute: f64,
    /// Of totals.
    pub total: f64,
    /// Of layers.
    pub layer: f64,
    /// Of the total of a pair that differs by one level in one sample of a thousand; none where
    /// nothing is promised.
    pub near_identical: Option<f64>,
}

/// What a precision promises; docs/numerics.md says why.
#[must_use]
pub fn bound(precision: Precision) -> Deviation {
    match precision {
        Precision::Fp32 => {
            Deviation { absolute: 1e-8, total: 1e-5, layer: 3e-5, near_identical: Some(2e-3) }
        }
        Precision::Tf32 | Precision::Fp16 => {
            Deviation { absolute: 1e-6, total: 3e-2, layer: 1e-1, near_identical: None }
        }
    }
}

/// What a pair is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Ordinary,
    /// Almost everything cancels.
    NearIdentical,
    /// Exactly 0.
    Identical,
}

/// The pairs of one size, by the indices of their images.
const CASES: [(Kind, usize, usize); 4] = [
    (Kind::Ordinary, 0, 1),
    (Kind::Ordinary, 2, 0),
    (Kind::NearIdentical, 0, 3),
    (Kind::Identical, 0, 0),
];

/// A built-in pair with its expected layers.
#[derive(Clone, PartialEq, Debug)]
struct Case {
    kind: Kind,
    size: Size,
    pair: Pair,
    layers: Vec<f64>,
}

/// The built-in pairs with the float64 values of one model.
#[derive(Debug)]
pub struct Expected {
    images: Vec<(Size, Vec<Image>)>,
    cases: Vec<Case>,
}

/// How a device did.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The worst of all pairs.
    pub deviation: Deviation,
    /// Whether bits are the same alone, in a crowd and in another order.
    pub invariant: bool,
    /// What is out of bounds.
    pub fault: Option<String>,
}

/// Four images of one size: one of blocks and noise, and the same with more noise, smoothed, and
/// off by one level in one sample of a thousand.
fn images(size: Size) -> Vec<Image> {
    let noise = |index: usize, salt: usize| {
        let mixed = (index * 2 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index * salt) << 7;
        (mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 40) & 0xff
    };
    let sample = |index: usize| {
        let (y, x) = (index / 3 / size.width, index / 3 % size.width);
        let block = noise((y / 9 * 64 + x / 11) * 3 + index % 3, 5);
        block / 2 + noise(index, 11) / 3
    };
    let original: Vec<usize> = (0..size.samples()).map(sample).collect();
    let row = 3 * size.width;
    let smooth = |index: usize| {
        let around = [index.saturating_sub(3), index.saturating_sub(row), index + 3, index + row];
        let sum: usize = around.iter().map(|&at| original.get(at).unwrap_or(&128)).sum();
        (original[index] + sum) / 5
    };
    let edits: [&dyn Fn(usize) -> usize; IMAGES] = [
        &|index| original[index],
        &|index| (original[index] + noise(index, 23) / 6).min(255),
        &smooth,
        &|index| original[index] + usize::from(index % 1000 == 500),
    ];
    let image = |edit: &dyn Fn(usize) -> usize| {
        let samples = (0..size.samples()).map(|index| edit(index) as u8).collect();
        Image::new(size, Pixels::U8(samples))
    };
    edits.into_iter().map(image).collect()
}

impl Expected {
    /// Scores the built-in pairs in float64.
    ///
    /// # Errors
    /// Never with the three nets: the images are large enough.
    pub fn of(model: &Model) -> anyhow::Result<Expected> {
        let mut expected = Expected { images: Vec::new(), cases: Vec::new() };
        for size in SIZES {
            let images = images(size);
            let taps = images.iter().map(|image| oracle::taps(model, image));
            let taps = taps.collect::<Result<Vec<_>, _>>()?;
            for (kind, reference, distorted) in CASES {
                let layers = oracle::layers(model, &taps[reference], &taps[distorted]);
                let pair = Pair { reference, distorted };
                expected.cases.push(Case { kind, size, pair, layers });
            }
            expected.images.push((size, images));
        }
        Ok(expected)
    }

    fn images(&self, size: Size) -> &[Image] {
        let found = self.images.iter().find(|(of, _)| *of == size);
        found.map_or(&[], |(_, images)| images)
    }

    /// Scores cases of one size in one batch or several, in this order.
    fn score(
        &self,
        evaluator: &mut dyn Evaluator,
        cases: &[usize],
    ) -> anyhow::Result<Vec<Distance>> {
        let images = |case: usize| {
            let Case { size, pair, .. } = &self.cases[case];
            let images = self.images(*size);
            (&images[pair.reference], &images[pair.distorted])
        };
        let scores = score_pairs(evaluator, cases.iter().map(|&case| images(case)))?;
        let first =
            |score: PairScore| Ok(score.into_iter().next().context("no model was scored")??);
        scores.into_iter().map(first).collect()
    }

    /// Compares an evaluator in half precision of the same model with [`overflowing`] weights:
    /// every overflow must be noticed, and such pairs are scored in float32.
    ///
    /// # Errors
    /// When the evaluator cannot continue.
    pub fn compare_overflowing(
        &self,
        evaluator: &mut dyn Evaluator,
    ) -> anyhow::Result<(Deviation, Option<String>)> {
        let bound = bound(Precision::Fp32);
        let mut outcome = Outcome { deviation: Deviation::default(), invariant: true, fault: None };
        let cases: Vec<usize> = (0..self.cases.len()).collect();
        let found = self.score(evaluator, &cases)?;
        let unnoticed = found.iter().filter(|distance| !distance.rescored).count();
        if unnoticed > 0 {
            outcome.fault = Some(format!(
                "{unnoticed} of {} pairs overflow in half precision, and nothing notices it",
                found.len()
            ));
        }
        for (case, found) in self.cases.iter().zip(&found) {
            outcome.judge(case, found, bound);
        }
        Ok((outcome.deviation, outcome.fault))
    }

    /// Compares an evaluator of this one model.
    ///
    /// # Errors
    /// When the evaluator cannot continue.
    pub fn compare(
        &self,
        evaluator: &mut dyn Evaluator,
        precision: Precision,
    ) -> anyhow::Result<Outcome> {
        let bound = bound(precision);
        let mut outcome = Outcome { deviation: Deviation::default(), invariant: true, fault: None };
        for ((size, _), crowd) in self.images.iter().zip(CROWDS) {
            let of_size = |&index: &usize| self.cases[index].size == *size;
            let cases: Vec<usize> = (0..self.cases.len()).filter(of_size).collect();
            let found = self.score(evaluator, &cases)?;
            for (&case, found) in cases.iter().zip(&found) {
                outcome.judge(&self.cases[case], found, bound);
            }
            let crowd: Vec<usize> = cases.iter().rev().cycle().take(crowd).copied().collect();
            let crowded = self.score(evaluator, &crowd)?;
            for (&case, found) in cases.iter().zip(&found) {
                let alone = self.score(evaluator, &[case])?;
                let in_crowd = crowd.iter().zip(&crowded).filter(|&(&of, _)| of == case);
                let others = alone.iter().chain(in_crowd.map(|(_, distance)| distance));
                for other in others {
                    outcome.invariant &= bits(other) == bits(found);
                }
            }
        }
        if !outcome.invariant && outcome.fault.is_none() {
            outcome.fault = Some("bits depend on the batch".to_owned());
        }
        Ok(outcome)
    }
}

/// The model with one convolution's features multiplied by a large number, and the weights of those
/// that read them divided by it. A ReLU keeps positive factors, so the distances are the same; but
/// the features overflow in half precision. No tap sees them, except in a net whose convolutions
/// all are tapped: there the factor cancels when the tap normalises.
#[must_use]
pub fn overflowing(model: &Model) -> Model {
    let (writer, readers) = hidden(model.spec().layers);
    let mut model = model.clone();
    let first = Arc::make_mut(&mut model.trunk.convs[writer]);
    first.weight.iter_mut().chain(&mut first.bias).for_each(|value| *value *= OVERFLOWING);
    for reader in readers {
        let next = Arc::make_mut(&mut model.trunk.convs[reader]);
        next.weight.iter_mut().for_each(|value| *value /= OVERFLOWING);
    }
    model
}

/// Indices of the first convolution that only convolutions read, and of those; else of the first.
fn hidden(layers: &[Layer]) -> (usize, Range<usize>) {
    let mut index = 0;
    for (at, layer) in layers.iter().enumerate() {
        match (layer, layers.get(at + 1)) {
            (Layer::Conv { .. }, Some(Layer::Conv { .. })) => return (index, index + 1..index + 2),
            (Layer::Fire { .. }, _) => return (index, index + 1..index + 3),
            (Layer::Conv { .. }, _) => index += 1,
            _ => {}
        }
    }
    (0, 1..2)
}

/// Sizes of the built-in images, and images of the crowds of their pairs.
#[must_use]
pub fn crowds() -> [(Size, usize); SIZES.len()] {
    // An identical pair brings one image.
    let images = |pairs: usize| pairs * (2 * CASES.len() - 1) / CASES.len();
    std::array::from_fn(|index| (SIZES[index], images(CROWDS[index])))
}

fn bits(distance: &Distance) -> Vec<u64> {
    distance.layers.iter().map(|value| value.to_bits()).collect()
}

impl Outcome {
    /// Takes a pair into the worst deviations, and remembers the first that is out of bounds.
    fn judge(&mut self, case: &Case, found: &Distance, bound: Deviation) {
        let total: f64 = case.layers.iter().sum();
        let off_total = (found.total() - total).abs();
        let layers = found.layers.iter().zip(&case.layers);
        let off_layers: Vec<(f64, f64)> =
            layers.map(|(found, expected)| ((found - expected).abs(), *expected)).collect();
        let relative = |off: f64, value: f64| match off.is_finite() {
            true => (off - bound.absolute).max(0.0) / value.max(f64::MIN_POSITIVE),
            false => f64::INFINITY,
        };
        let worst = &mut self.deviation;
        let is_good = match case.kind {
            Kind::Identical => found.layers.iter().all(|&value| value == 0.0),
            Kind::NearIdentical => {
                let off = relative(off_total, total);
                worst.near_identical = Some(worst.near_identical.unwrap_or(0.0).max(off));
                bound.near_identical.is_none_or(|bound| off <= bound)
            }
            Kind::Ordinary => {
                let off = relative(off_total, total);
                let offs = off_layers.iter().map(|&(off, value)| relative(off, value));
                let off_layer = offs.fold(0.0, f64::max);
                worst.total = worst.total.max(off);
                worst.layer = worst.layer.max(off_layer);
                off <= bound.total && off_layer <= bound.layer
            }
        };
        if !is_good && self.fault.is_none() {
            self.fault = Some(format!(
                "a pair of {} images ({:?}): {:e} instead of {total:e}; layers {:?} instead of \
                 {:?}",
                case.size,
                case.kind,
                found.total(),
                found.layers,
                case.layers,
            ));
        }
    }
}

/// Pairs per second of decoded images in the host's memory, the median of three rounds.
///
/// # Errors
/// When the evaluator cannot continue.
pub fn rate(evaluator: &mut dyn Evaluator, size: Size, round_s: f64) -> anyhow::Result<f64> {
    let images = images(size);
    let shape = BatchShape { size, depth: Depth::U8 };
    let lender = evaluator.lender();
    let copy = |image: &Image| Arc::new(Frame::copy_of(image, shape.depth, &lender));
    let mut rates = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        let mut pairs = 0;
        while started.elapsed().as_secs_f64() < round_s || pairs == 0 {
            while let Some(mut batch) = evaluator.acquire(shape, Group::PAIR)? {
                while batch.has_room(2) {
                    let reference = batch.push_image(copy(&images[pairs % 2]));
                    let distorted = batch.push_image(copy(&images[2]));
                    batch.push_pair(0, Pair { reference, distorted });
                    pairs += 1;
                }
                evaluator.submit(batch)?;
            }
            evaluator.collect(Wait::Block)?;
        }
        while evaluator.collect(Wait::Block)?.is_some() {}
        rates.push(pairs as f64 / started.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cpu::{Config, CpuEvaluator};
    use crate::net::Net;
    use crate::net::weights::{Trunk, Version};

    fn model() -> Model {
        Model::published(Trunk::formula(Net::Squeeze), Version::V0_1, None)
    }

    fn on_cpu(model: Model) -> CpuEvaluator {
        CpuEvaluator::new(
            vec![model],
            Config { threads: 2, pairs_max: None, isa: None, memory: None },
        )
        .unwrap()
    }

    #[test]
    fn the_cpu_passes() {
        let expected = Expected::of(&model()).unwrap();
        let outcome = expected.compare(&mut on_cpu(model()), Precision::Fp32).unwrap();
        assert_eq!(outcome.fault, None);
        assert!(outcome.invariant && outcome.deviation.total > 0.0);
    }

    #[test]
    fn features_that_no_tap_sees_overflow_and_change_no_distance() {
        let hidden_of = |net: Net| hidden(net.spec().layers);
        assert_eq!(hidden_of(Net::Vgg), (0, 1..2));
        assert_eq!(hidden_of(Net::Squeeze), (1, 2..4));
        assert_eq!(hidden_of(Net::Alex), (0, 1..2));
        let expected = Expected::of(&model()).unwrap();
        let scored = |model: Model| expected.score(&mut on_cpu(model), &[0, 1, 2, 3]).unwrap();
        let (plain, scaled) = (scored(model()), scored(overflowing(&model())));
        for (plain, scaled) in plain.iter().zip(&scaled) {
            assert_eq!(bits(plain), bits(scaled));
        }
        // The CPU has no half precision that could overflow.
        let (_, fault) = expected.compare_overflowing(&mut on_cpu(overflowing(&model()))).unwrap();
        assert!(fault.unwrap().contains("8 of 8 pairs overflow"));
    }

    #[test]
    fn a_wrong_weight_is_found() {
        let expected = Expected::of(&model()).unwrap();
        let mut wrong = model();
        Arc::make_mut(&mut wrong.trunk.convs[20]).weight[100] += 0.5;
        let outcome = expected.compare(&mut on_cpu(wrong), Precision::Fp32).unwrap();
        assert!(outcome.fault.is_some());
    }

    #[test]
    fn the_built_in_pairs_are_what_they_are_called() {
        for size in SIZES {
            let images = images(size);
            let samples = |image: &Image| match &image.pixels {
                Pixels::U8(samples) => samples.clone(),
                Pixels::F32(_) => Vec::new(),
            };
            let (original, near) = (samples(&images[0]), samples(&images[3]));
            let off = original.iter().zip(&near).map(|(a, b)| a.abs_diff(*b) as usize);
            assert_eq!(off.sum::<usize>(), (size.samples() + 499) / 1000);
        }
    }
}
