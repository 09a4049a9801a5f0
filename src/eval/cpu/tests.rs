//! Compares every fast operation with plain loops in float64, for every instruction set of the
//! processor, on shapes and values from a fixed seed. `LPIPS_TEST_SEED=N` tests others.

use std::sync::Arc;

use super::conv::{Algorithm, Conv};
use super::ops::{l2_pool, max_pool};
use super::scratch::Scratch;
use super::single::run_whole;
use super::stage::{POOL, Stage};
use super::statistics::{LayerStatistics, Statistics};
use super::tap::{Comparison, LayerResult};
use super::team::Team;
use super::tensor::{Geometry, Layout, Tensor};
use super::winograd::Scheme;
use crate::batch::Pair;
use crate::eval::{Distance, Epsilon, Lpips, Wanted};
use crate::isa::Isa;
use crate::net::weights;
use crate::net::{ConvSpec, Net};
use crate::random::SplitMix64;

/// Shapes and values, and the seed that they follow from.
struct Random {
    seed: u64,
    generator: SplitMix64,
}

impl Random {
    fn new() -> Random {
        let seed = std::env::var("LPIPS_TEST_SEED").map_or(1, |seed| seed.parse().unwrap());
        Random { seed, generator: SplitMix64::new(seed) }
    }

    /// From 1 to `max`.
    fn up_to(&mut self, max: usize) -> usize {
        1 + self.generator.below(max)
    }

    /// In [-1, 1).
    fn value(&mut self) -> f32 {
        (self.generator.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }

    fn conv(&mut self, c_in: usize, c_out: usize, kernel: usize) -> weights::Conv {
        let spec = ConvSpec { name: "test".to_owned(), c_in, c_out, kernel };
        let weight = self.values(spec.weight_shape().iter().product());
        weights::Conv { spec, weight, bias: self.values(c_out) }
    }

    fn tensor(&mut self, image_count: usize, layout: Layout) -> Tensor {
        let mut tensor = Tensor::default();
        tensor.begin_whole(image_count, layout, &Team::new());
        for image in tensor.whole().images() {
            for row in image.chunks_exact_mut(layout.row_len()) {
                layout.pixels_mut(row).fill_with(|| self.value());
            }
        }
        tensor
    }
}

/// The instruction sets of this processor. The others are reported, and fail the test if
/// `LPIPS_REQUIRE_ISA` (names separated by commas) asks for them.
fn available() -> impl Iterator<Item = Isa> {
    let required = std::env::var("LPIPS_REQUIRE_ISA").unwrap_or_default();
    Isa::ALL.into_iter().filter(move |isa| {
        let is_required = required.split(',').any(|name| name == isa.to_string());
        assert!(
            isa.is_available() || !is_required,
            "LPIPS_REQUIRE_ISA: this processor lacks {isa}"
        );
        if !isa.is_available() {
            eprintln!("SKIPPED: this processor lacks {isa}");
        }
        isa.is_available()
    })
}

fn at(tensor: &Tensor, image: usize, [y, x, c]: [usize; 3]) -> f32 {
    tensor.image(image).row(y)[x * tensor.layout().c + c]
}

fn positions([a, b, c]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| [i, j, k])))
}

/// One element of convolution + bias + ReLU, and an upper bound for the sum of the absolute values
/// of the terms of any element of its channel: sources are at most 1. (Minimal filtering mixes an
/// element with its neighbours, so an element at the edge is no more exact than those inside.)
fn plain_conv(
    conv: &weights::Conv,
    src: &Tensor,
    image: usize,
    geometry: Geometry,
    [y, x, o]: [usize; 3],
) -> (f64, f64) {
    let Geometry { from, stride, pad, .. } = geometry;
    let [_, c_in, kernel, _] = conv.spec.weight_shape();
    let mut sum = f64::from(conv.bias[o]);
    let filter = &conv.weight[o * c_in * kernel * kernel..][..c_in * kernel * kernel];
    let size = sum.abs() + filter.iter().map(|&weight| f64::from(weight.abs())).sum::<f64>();
    for [ky, kx, i] in positions([kernel, kernel, c_in]) {
        let (sy, sx) = ((y * stride + ky).wrapping_sub(pad), (x * stride + kx).wrapping_sub(pad));
        if sy < from.h && sx < from.w {
            let weight = conv.weight[((o * c_in + i) * kernel + ky) * kernel + kx];
            sum += f64::from(weight) * f64::from(at(src, image, [sy, sx, i]));
        }
    }
    (sum.max(0.0), size)
}

/// Runs one convolution and compares it with plain loops. Returns the algorithm.
fn check_conv(
    random: &mut Random,
    isa: Isa,
    [c_in, c_out, kernel, stride, pad]: [usize; 5],
    [h, w]: [usize; 2],
) -> Algorithm {
    let seed = random.seed;
    let weights = random.conv(c_in, c_out, kernel);
    let length = |len: usize| (len + 2 * pad - kernel) / stride + 1;
    let c_first = 16 * (random.up_to(2) - 1);
    let from = Layout { c: c_in, h, w };
    let to = Layout { c: c_first + c_out + 16, h: length(h), w: length(w) };
    let geometry = Geometry { from, to, stride, pad, c_first };
    let src = random.tensor(2, from);
    let mut dst = random.tensor(2, to);
    let conv = Conv::new(Arc::new(weights.clone()), isa);
    let (mut folded, mut scratch) = (Tensor::default(), Scratch::new());
    run_whole(&conv, &src, &mut folded, &mut dst, geometry, &mut scratch, &Team::new());
    let algorithm = Algorithm::choose(&weights.spec, geometry, isa);
    for image in 0..2 {
        // Plain loops are slow, so compare all channels of the corners and a thousand other
        // elements.
        let corners = positions([2, 2, c_out]).map(|[y, x, o]| [y * (to.h - 1), x * (to.w - 1), o]);
        let mut places: Vec<[usize; 3]> = corners.collect();
        let extents = [to.h, to.w, c_out];
        places.extend((0..1000).map(|_| extents.map(|extent| random.up_to(extent) - 1)));
        for [y, x, o] in places {
            let (expected, size) = plain_conv(&weights, &src, image, geometry, [y, x, o]);
            let found = f64::from(at(&dst, image, [y, x, c_first + o]));
            // Some tens of float32 roundings: minimal filtering amplifies the error.
            let bound = 3e-6 * size;
            assert!(
                (found - expected).abs() <= bound,
                "{isa} {algorithm:?} {c_in}x{h}x{w} -> {c_out}, kernel {kernel}: {found} instead \
                 of {expected} at {y} {x} {o}; LPIPS_TEST_SEED={seed}"
            );
        }
    }
    algorithm
}

#[test]
fn convolutions_agree_with_plain_loops() {
    let mut random = Random::new();
    for isa in available() {
        let mut seen = Vec::new();
        for _ in 0..6 {
            let side = |random: &mut Random| 8 + random.up_to(34);
            let sides = [side(&mut random), side(&mut random)];
            let (c_in, c_out) = (16 * random.up_to(5), 32 * random.up_to(2));
            seen.push(check_conv(&mut random, isa, [c_in, c_out, 3, 1, 1], sides));
            seen.push(check_conv(&mut random, isa, [c_in, c_out, 5, 1, 2], sides));
            let few = 16 * random.up_to(3);
            seen.push(check_conv(&mut random, isa, [c_in, few, 1, 1, 0], sides));
            let sides = sides.map(|side| side + 24);
            seen.push(check_conv(&mut random, isa, [3, 32, 11, 4, 2], sides));
            seen.push(check_conv(&mut random, isa, [3, 64, 3, 2, 0], sides));
        }
        // Maps smaller and larger than one tile.
        for len in 1..14 {
            let other = random.up_to(14);
            seen.push(check_conv(&mut random, isa, [48, 32, 3, 1, 1], [len, other]));
        }
        // Each algorithm at least once, whatever the seed.
        seen.push(check_conv(&mut random, isa, [16, 32, 3, 1, 1], [33, 47]));
        seen.push(check_conv(&mut random, isa, [48, 32, 3, 1, 1], [12, 12]));
        seen.push(check_conv(&mut random, isa, [48, 32, 3, 1, 1], [33, 47]));
        seen.push(check_conv(&mut random, isa, [48, 32, 5, 1, 2], [33, 47]));
        // A map that is written with non-temporal stores.
        let large = check_conv(&mut random, isa, [48, 32, 3, 1, 1], [451, 449]);
        assert_eq!(large, Algorithm::Winograd(Scheme::F6x3));
        for algorithm in [
            Algorithm::Direct,
            Algorithm::Winograd(Scheme::F4x3),
            Algorithm::Winograd(Scheme::F6x3),
            Algorithm::Winograd(Scheme::F4x5),
        ] {
            assert!(seen.contains(&algorithm), "{isa}: {algorithm:?} was not used");
        }
        assert!(seen.iter().any(|one| matches!(one, Algorithm::Folded { .. })), "{isa}");
    }
}

#[test]
fn weights_that_all_threads_share_give_the_same_results() {
    let mut random = Random::new();
    for isa in available() {
        // 64 * 160 * 192 transformed weights exceed the limit for one thread.
        let algorithm = check_conv(&mut random, isa, [160, 192, 3, 1, 1], [21, 31]);
        assert_eq!(algorithm, Algorithm::Winograd(Scheme::F6x3));
    }
}

#[test]
fn pooling_agrees_with_plain_loops() {
    let mut random = Random::new();
    for (kernel, stride, ceil) in [(2, 2, false), (3, 2, false), (3, 2, true)] {
        let (h, w) = (kernel + random.up_to(20), kernel + random.up_to(20));
        let length = |len: usize| (len - kernel + if ceil { stride - 1 } else { 0 }) / stride + 1;
        let src = random.tensor(2, Layout { c: 48, h, w });
        let to = Layout { c: 48, h: length(h), w: length(w) };
        for isa in available() {
            let mut dst = random.tensor(2, to);
            max_pool(&src, dst.whole(), [kernel, stride], isa, &Team::new());
            for [y, x, c] in positions([to.h, to.w, to.c]) {
                let window = positions([kernel, kernel, 1])
                    .map(|[ky, kx, _]| [y * stride + ky, x * stride + kx, c])
                    .filter(|&[y, x, _]| y < h && x < w);
                let expected = window.map(|place| at(&src, 1, place)).fold(f32::MIN, f32::max);
                assert_eq!(at(&dst, 1, [y, x, c]), expected, "{isa} {h}x{w} at {y} {x} {c}");
            }
        }
    }
}

#[test]
fn l2_pooling_agrees_with_plain_loops() {
    let mut random = Random::new();
    for _ in 0..4 {
        let (h, w) = (random.up_to(20), random.up_to(20));
        let src = random.tensor(2, Layout { c: 48, h, w });
        let to = Layout { c: 48, h: h.div_ceil(2), w: w.div_ceil(2) };
        for isa in available() {
            let mut dst = random.tensor(2, to);
            l2_pool(&src, dst.whole(), isa, &Team::new());
            for [y, x, c] in positions([to.h, to.w, to.c]) {
                let mut sum = 1e-12;
                for [ky, kx, _] in positions([3, 3, 1]) {
                    let (sy, sx) = ((2 * y + ky).wrapping_sub(1), (2 * x + kx).wrapping_sub(1));
                    if sy < h && sx < w {
                        let weight = [0.25, 0.5, 0.25][ky] * [0.25, 0.5, 0.25][kx];
                        sum += weight * f64::from(at(&src, 1, [sy, sx, c])).powi(2);
                    }
                }
                let (found, expected) = (f64::from(at(&dst, 1, [y, x, c])), sum.sqrt());
                assert!(
                    (found - expected).abs() <= 5e-7 * expected,
                    "{isa} {h}x{w} at {y} {x} {c}: {found} instead of {expected}"
                );
            }
        }
    }
}

/// Values that lie close together far from 0: float32 sums of their squares hold no digit of the
/// variance.
#[test]
fn statistics_agree_with_plain_loops() {
    let mut random = Random::new();
    let weights = weights::Dists::load().unwrap();
    let layout = Layout { c: 64, h: 7, w: 9 };
    let mut src = random.tensor(2, layout);
    for image in src.whole().images() {
        image.iter_mut().for_each(|value| *value = 100.0 + *value / 64.0);
    }
    let mean = |of: &dyn Fn([usize; 3]) -> f64, c: usize| {
        let values = positions([layout.h, layout.w, 1]).map(|[y, x, _]| of([y, x, c]));
        values.sum::<f64>() / (layout.h * layout.w) as f64
    };
    let value = |image: usize| {
        let src = &src;
        move |place: [usize; 3]| f64::from(at(src, image, place))
    };
    let (a, b) = (value(0), value(1));
    let expected: f64 = (0..layout.c)
        .map(|c| {
            let (of_a, of_b) = (mean(&a, c), mean(&b, c));
            let s1 = (of_a - of_b).powi(2) / (of_a.powi(2) + of_b.powi(2) + 1e-6);
            let difference = |place| (a(place) - of_a - b(place) + of_b).powi(2);
            let both = |place| (a(place) - of_a).powi(2) + (b(place) - of_b).powi(2);
            let s2 = mean(&difference, c) / (mean(&both, c) + 1e-6);
            weights.alpha[1][c] * s1 + weights.beta[1][c] * s2
        })
        .sum();
    let pairs =
        [(0, 1), (1, 0), (1, 1)].map(|(reference, distorted)| Pair { reference, distorted });
    for isa in available() {
        let statistics = Statistics::new(weights.clone(), isa);
        let mut distances = vec![Distance::default(); pairs.len()];
        let mut sums = LayerStatistics::default();
        for rows in [0..4, 4..layout.h] {
            statistics.run(1, &src, rows, &pairs, &mut sums, &Team::new());
        }
        sums.finish(&mut distances);
        let [forth, back, same] = [0, 1, 2].map(|pair| distances[pair].layers[0]);
        assert!((forth - expected).abs() <= 1e-9 * expected, "{isa}: {forth}, {expected}");
        assert_eq!((forth.to_bits(), same), (back.to_bits(), 0.0), "{isa}");
    }
}

/// A comparison of AlexNet's first layer (64 channels) that keeps the map.
fn comparison(random: &mut Random, isa: Isa) -> Comparison {
    let channels = Net::Alex.spec().tap_channels();
    let lin = channels.iter().map(|&c| random.values(c)).collect();
    let wanted = Wanted { layers: true, reference_sum: Some(0) };
    let lpips = Lpips { lin: Some(lin), epsilon: Epsilon::LPIPS, wanted };
    Comparison::new(lpips, &channels, isa)
}

#[test]
fn a_stage_gives_the_same_bits_as_its_steps() {
    let mut random = Random::new();
    for isa in available() {
        for with_first in [true, false] {
            let seed = random.seed;
            let (h, w) = (20 + random.up_to(30), 20 + random.up_to(30));
            let image = Layout { c: if with_first { 3 } else { 64 }, h, w };
            let map = Layout { c: 64, h, w };
            let geometry = |from: Layout| Geometry { from, to: map, stride: 1, pad: 1, c_first: 0 };
            let (of_image, of_map) = (geometry(image), geometry(map));
            let first = Conv::new(Arc::new(random.conv(3, 64, 3)), isa);
            let conv = Conv::new(Arc::new(random.conv(64, 64, 3)), isa);
            let comparison = comparison(&mut random, isa);
            let src = random.tensor(3, image);
            let pairs = [
                Pair { reference: 0, distorted: 1 },
                Pair { reference: 0, distorted: 2 },
                Pair { reference: 1, distorted: 1 },
            ];
            let mut scratch = Scratch::new();
            let team = Team::new();

            let mut between = random.tensor(3, map);
            let mut whole = random.tensor(3, map);
            if with_first {
                first.direct(&team).run(&src, between.whole(), of_image, &team);
            }
            let source = if with_first { &between } else { &src };
            let algorithm = conv.algorithm(of_map);
            conv.run(algorithm, source, whole.whole(), of_map, &mut scratch, &team);
            let start = || pairs.iter().map(|_| comparison.start(0, map));
            let mut expected: Vec<LayerResult> = start().collect();
            comparison.run(0, &whole, 0..h, &pairs, &mut expected, &team);
            let pooled = Layout { c: 64, h: h / POOL, w: w / POOL };
            let mut expected_pooled = random.tensor(3, pooled);
            max_pool(&whole, expected_pooled.whole(), [POOL, POOL], isa, &team);

            let stage = Stage {
                rows: 0..h,
                first: with_first.then(|| (first.direct(&team), of_image)),
                conv: conv.winograd(algorithm.scheme().unwrap(), 1, &team),
                geometry: of_map,
                block_tiles: random.up_to(4),
                layer: 0,
                comparison: &comparison,
                isa,
            };
            let mut found_pooled = random.tensor(3, pooled);
            let mut found: Vec<LayerResult> = start().collect();
            stage.run(&src, found_pooled.whole(), &pairs, &mut found, &scratch, &team);
            let finish = |results: Vec<LayerResult>| {
                let mut distances = vec![Distance::default(); pairs.len()];
                let all = results.into_iter().zip(&mut distances);
                all.for_each(|(result, distance)| result.finish(map, distance));
                distances
            };
            assert_eq!(finish(found), finish(expected), "{isa} {h}x{w} LPIPS_TEST_SEED={seed}");
            for index in 0..3 {
                assert!(
                    found_pooled.image(index).data == expected_pooled.image(index).data,
                    "{isa} {h}x{w} LPIPS_TEST_SEED={seed}"
                );
            }
        }
    }
}
