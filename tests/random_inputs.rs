//! Fresh random images against plain loops in float64, for every instruction set that is present.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use lpips::batch::Size;
use lpips::eval::cpu::{Config, CpuEvaluator, Isa};
use lpips::eval::{self, Affine, Epsilon, Model, Wanted};
use lpips::image::{Image, Pixels};
use lpips::net::Net;
use lpips::net::plan::{Plan, Shape, Slot, Step};
use lpips::net::weights::{Conv, Version};

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

fn input(image: &Image, model: &Model) -> Map {
    let Affine { gain, bias } = model.input;
    let Pixels::U8(samples) = &image.pixels else { unreachable!() };
    let pixels = image.size.width * image.size.height;
    (0..3 * pixels)
        .map(|index| {
            let (c, pixel) = (index / pixels, index % pixels);
            let x = f64::from(samples[3 * pixel + c]) / 255.0;
            let v = f64::from(gain) * x + f64::from(bias);
            model
                .version
                .scaling()
                .map_or(v, |(shift, scale)| (v - f64::from(shift[c])) / f64::from(scale[c]))
        })
        .collect()
}

fn conv(src: &[f64], from: Shape, to: Shape, stride: usize, pad: usize, conv: &Conv) -> Map {
    let kernel = conv.spec.kernel;
    let mut out = Vec::with_capacity(to.len());
    for (o, y, x) in positions(to) {
        let mut sum = f64::from(conv.bias[o]);
        for (i, ky, kx) in positions(Shape { c: from.c, h: kernel, w: kernel }) {
            let (sy, sx) =
                ((y * stride + ky).wrapping_sub(pad), (x * stride + kx).wrapping_sub(pad));
            if sy < from.h && sx < from.w {
                let weight = conv.weight[((o * from.c + i) * kernel + ky) * kernel + kx];
                sum += f64::from(weight) * src[(i * from.h + sy) * from.w + sx];
            }
        }
        out.push(sum.max(0.0));
    }
    out
}

fn pool(src: &[f64], from: Shape, to: Shape, kernel: usize, stride: usize) -> Map {
    let window = |(c, y, x): (usize, usize, usize)| {
        positions(Shape { c: 1, h: kernel, w: kernel })
            .map(|(_, ky, kx)| (y * stride + ky, x * stride + kx))
            .filter(|&(sy, sx)| sy < from.h && sx < from.w)
            .map(|(sy, sx)| src[(c * from.h + sy) * from.w + sx])
            .fold(f64::NEG_INFINITY, f64::max)
    };
    positions(to).map(window).collect()
}

fn positions(shape: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..shape.c)
        .flat_map(move |c| (0..shape.h).flat_map(move |y| (0..shape.w).map(move |x| (c, y, x))))
}

/// The taps of one image.
fn taps(model: &Model, image: &Image) -> Vec<(Shape, Map)> {
    let trunk = &model.trunk;
    let plan = Plan::new(trunk.net.spec(), image.size.height, image.size.width).unwrap();
    let mut buffers = vec![Map::new(); 3];
    let input = input(image, model);
    let mut taps = Vec::new();
    for step in &plan.steps {
        let (src, dst) = match *step {
            Step::Conv { src, dst, .. } | Step::MaxPool { src, dst, .. } => (src, dst),
            Step::Tap { src, .. } => (src, src),
        };
        let from: &Map = match src.slot {
            Slot::Input => &input,
            Slot::Buffer(index) => &buffers[index],
        };
        let result = match *step {
            Step::Tap { src, .. } => {
                taps.push((src.shape, from.clone()));
                continue;
            }
            Step::Conv { weight, stride, pad, .. } => {
                conv(from, src.shape, dst.shape, stride, pad, &trunk.convs[weight])
            }
            Step::MaxPool { kernel, stride, .. } => {
                pool(from, src.shape, dst.shape, kernel, stride)
            }
        };
        let Slot::Buffer(index) = dst.slot else { unreachable!() };
        let area = dst.shape.h * dst.shape.w;
        buffers[index].resize(dst.c_slot * area, 0.0);
        buffers[index][dst.c_first * area..][..result.len()].copy_from_slice(&result);
    }
    taps
}

/// The maps D_l, and S_k where the model asks for it.
fn expected(model: &Model, reference: &Image, distorted: &Image) -> (Vec<Map>, Option<Map>) {
    let a = taps(model, reference);
    let b = taps(model, distorted);
    let layer = |index: usize| -> Map {
        let ((shape, a), (_, b)) = (&a[index], &b[index]);
        let area = shape.h * shape.w;
        let (inside, outside) = (model.epsilon.inside, model.epsilon.outside);
        let norm = |map: &Map, at: usize| {
            let squares = (0..shape.c).map(|c| map[c * area + at].powi(2)).sum::<f64>();
            (squares + f64::from(inside)).sqrt() + f64::from(outside)
        };
        let lin = |c: usize| model.lin.as_ref().map_or(1.0, |lin| f64::from(lin[index][c]));
        let value = |at: usize| -> f64 {
            let (of_a, of_b) = (norm(a, at), norm(b, at));
            let term = |c: usize| (a[c * area + at] / of_a - b[c * area + at] / of_b).powi(2);
            (0..shape.c).map(|c| lin(c) * term(c)).sum()
        };
        (0..area).map(value).collect()
    };
    let sum = |index: usize| -> Map {
        let (shape, a) = &a[index];
        let area = shape.h * shape.w;
        (0..area).map(|at| (0..shape.c).map(|c| a[c * area + at]).sum()).collect()
    };
    ((0..a.len()).map(layer).collect(), model.wanted.reference_sum.map(sum))
}

fn mean(map: &Map) -> f64 {
    map.iter().sum::<f64>() / map.len() as f64
}

/// Within `relative` of the largest expected value, everywhere.
fn assert_near(found: &eval::Map, expected: &Map, relative: f64, name: &str) {
    assert_eq!(found.values.len(), expected.len(), "{name}");
    assert_eq!(found.values.len(), found.height * found.width, "{name}");
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (at, (&found, expected)) in found.values.iter().zip(expected).enumerate() {
        let deviation = (f64::from(found) - expected).abs();
        assert!(deviation <= relative * largest, "{name} at {at}: {found} instead of {expected}");
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
                // A mean is promised within 3e-5; at one position nothing averages out.
                assert_near(found, expected, 1e-4, &format!("{net} {isa} layer {layer}"));
            }
            let sum = sum.as_ref().unwrap();
            assert_near(found.reference_sum.as_ref().unwrap(), sum, 1e-5, &format!("{net} {isa}"));
        }
    }
}
