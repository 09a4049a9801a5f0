//! One table of cases for every evaluator that is present, against plain loops in float64.
//!
//! Between them the cases reach every operation at every shape that the three nets have: both
//! depths of samples, other inputs and norms, convolutions of every kernel and stride, parts of buffers,
//! both rules of pooling, taps with and without lin, maps and channel sums, images that are shared
//! by pairs, and pairs of an image with itself.
//!
//! CUDA runs on the stand-ins of tests/fake_cuda; on the machine's own GPU with LPIPS_REQUIRE_CUDA=1.

use std::sync::Arc;

use lpips::eval::cpu::{self, CpuEvaluator};
use lpips::eval::cuda::probe::Probe;
use lpips::eval::cuda::{self, CudaEvaluator};
use lpips::eval::{
    Affine, ConvChoice, Distance, Epsilon, Evaluator, Lpips, Map, Metric, Model, PairScore,
    Precision, Wanted, score_pairs,
};
use lpips::image::{Depth, Image, Pixels, Size};
use lpips::isa::Isa;
use lpips::net::Net;
use lpips::net::weights::Version;
use lpips::oracle;
use lpips::selftest::{Deviation, bound};

use crate::machine::{cuda_config, is_real, where_cuda_is};
use crate::support::{model, trunk, wanting};

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Case {
    net: Net,
    version: Version,
    baseline: bool,
    /// Rows and columns.
    side: [usize; 2],
    depth: Depth,
    input: Affine,
    epsilon: Epsilon,
    /// Which channel sum is asked for. All maps are.
    reference_sum: usize,
}

const INSIDE: Epsilon = Epsilon { inside: 1e-3, outside: 0.0 };

/// Sizes below, at and beside multiples of strides and tiles; odd, and of unequal sides.
#[rustfmt::skip]
fn table() -> Vec<Case> {
    use Depth::{F32, U8};
    use Net::{Alex, Squeeze, Vgg};
    use Version::{V0_0, V0_1};
    let case = |net, version, baseline, side, depth, input, epsilon, reference_sum| Case {
        net, version, baseline, side, depth, input, epsilon, reference_sum,
    };
    vec![
        case(Alex, V0_1, false, [31, 63], U8, Affine::UNIT, Epsilon::LPIPS, 0),
        case(Alex, V0_0, true, [70, 47], F32, Affine::UNIT, Epsilon::LPIPS, 4),
        case(Alex, V0_1, false, [64, 64], F32, Affine::NONE, INSIDE, 2),
        case(Squeeze, V0_1, false, [17, 40], U8, Affine::UNIT, Epsilon::LPIPS, 0),
        case(Squeeze, V0_0, true, [53, 36], U8, Affine::UNIT, INSIDE, 6),
        case(Squeeze, V0_1, false, [38, 61], F32, Affine::NONE, Epsilon::LPIPS, 3),
        case(Vgg, V0_1, false, [16, 33], U8, Affine::UNIT, Epsilon::LPIPS, 1),
        case(Vgg, V0_0, true, [35, 16], F32, Affine::NONE, INSIDE, 4),
        case(Alex, V0_1, false, [38, 61], U8, Affine::NONE, INSIDE, 2),
    ]
}

/// Pairs of images of a case: shared references, exchanged sides, an image with itself.
const PAIRS: [[usize; 2]; 5] = [[0, 1], [0, 2], [2, 1], [0, 1], [1, 1]];

/// A blocky image with noise, so that every layer has something to see.
fn image(case: &Case, seed: u64) -> Image {
    let [height, width] = case.side;
    let size = Size { width, height };
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (state >> 56) as u8
    };
    let blocks: Vec<u8> = (0..3 * 64).map(|_| byte()).collect();
    let samples: Vec<u8> = (0..size.samples())
        .map(|index| {
            let (y, x) = (index / 3 / width, index / 3 % width);
            blocks[(y / 9 % 8 * 8 + x / 11 % 8) * 3 + index % 3] / 2 + byte() / 3
        })
        .collect();
    Image::new(
        size,
        match case.depth {
            Depth::U8 => Pixels::U8(samples),
            // Values that no byte has.
            Depth::F32 => {
                Pixels::F32(samples.iter().map(|&it| f32::from(it) / 251.0 - 0.001).collect())
            }
        },
    )
}

/// Scores [`PAIRS`] in one batch: for every pair, its distances by every model.
fn score(evaluator: &mut dyn Evaluator, images: &[Image]) -> Vec<Vec<Distance>> {
    let pairs = PAIRS.map(|[reference, distorted]| (&images[reference], &images[distorted]));
    let scores = score_pairs(evaluator, pairs).unwrap();
    let distances = |score: PairScore| score.into_iter().map(Result::unwrap).collect();
    scores.into_iter().map(distances).collect()
}

/// Every value within the bound of layers, of the largest.
fn assert_near(found: &Map, expected: &[f64], bound: Deviation, name: &str) {
    assert_eq!(found.values.len(), expected.len(), "{name}");
    assert_eq!(found.values.len(), found.height * found.width, "{name}");
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (at, (&found, expected)) in found.values.iter().zip(expected).enumerate() {
        let off = (f64::from(found) - expected).abs();
        let is_near = off <= bound.layer * largest + bound.absolute;
        assert!(is_near, "{name} at {at}: {found} instead of {expected}");
    }
}

/// What plain loops say of a pair: the maps of its layers, their means, the channel sum.
struct Expected {
    maps: Vec<Vec<f64>>,
    layers: Vec<f64>,
    sum: Vec<f64>,
}

fn expected(model: &Model, case: &Case, images: &[Image]) -> Vec<Expected> {
    let taps: Vec<_> = images.iter().map(|image| oracle::taps(model, image).unwrap()).collect();
    let pair = |[reference, distorted]: [usize; 2]| Expected {
        maps: oracle::maps(model, &taps[reference], &taps[distorted]),
        layers: oracle::layers(model, &taps[reference], &taps[distorted]),
        sum: oracle::channel_sum(&taps[reference], case.reference_sum),
    };
    PAIRS.map(pair).into()
}

/// One score within the bound.
fn assert_conforms(found: &Distance, expected: &Expected, bound: Deviation, name: &str) {
    assert_eq!(found.layers.len(), expected.layers.len(), "{name}");
    for (layer, (map, values)) in found.maps.iter().zip(&expected.maps).enumerate() {
        assert_near(map, values, bound, &format!("{name}, map {layer}"));
        let (found, expected) = (found.layers[layer], expected.layers[layer]);
        let is_near = (found - expected).abs() <= bound.layer * expected + bound.absolute;
        assert!(is_near, "{name}, layer {layer}: {found} instead of {expected}");
    }
    let total: f64 = expected.layers.iter().sum();
    let is_near = (found.total() - total).abs() <= bound.total * total + bound.absolute;
    assert!(is_near, "{name}: {} instead of {total}", found.total());
    let sum = found.reference_sum.as_ref().unwrap();
    let bound = Deviation { layer: bound.total, ..bound };
    assert_near(sum, &expected.sum, bound, &format!("{name}, channel sum"));
}

/// All cases on the evaluators that `open` opens for models, within the bounds of each precision. Maps
/// and channel sums do not change the layers' means.
fn conforms(
    precisions: &[Precision],
    name: &str,
    open: impl Fn(Vec<Model>, Precision) -> Box<dyn Evaluator>,
) {
    for (seed, case) in (1u64..).zip(table()) {
        let Some(trunk) = trunk(case.net) else { continue };
        let published = model(&trunk, case.version, case.baseline);
        let Metric::Lpips(lpips) = published.metric else { panic!("a model of LPIPS") };
        let wanted = Wanted { layers: true, reference_sum: Some(case.reference_sum) };
        let metric = Metric::Lpips(Lpips { epsilon: case.epsilon, wanted, ..lpips });
        let model = Model { input: case.input, metric, ..published };
        let images: Vec<Image> = (0..3).map(|of| image(&case, 10 * seed + of)).collect();
        let expected = expected(&model, &case, &images);
        for &precision in precisions {
            let name = format!("{name} {precision}, {case:?}");
            let plain = wanting(model.clone(), Wanted::default());
            let found = score(&mut *open(vec![plain, model.clone()], precision), &images);
            for (pair, (found, expected)) in PAIRS.iter().zip(found.iter().zip(&expected)) {
                let name = format!("{name}, images {pair:?}");
                let [plain, found] = &found[..] else { panic!("{name}: two models") };
                assert_eq!(plain.layers, found.layers, "{name}: with and without maps");
                assert!(plain.maps.is_empty() && plain.reference_sum.is_none(), "{name}");
                assert_conforms(found, expected, bound(precision), &name);
                assert!(pair[0] != pair[1] || found.total() == 0.0, "{name}");
            }
            assert_eq!(found[0], found[3], "{name}: a pair that is there twice");
        }
    }
}

fn cuda(conv: ConvChoice, precision: Precision) -> cuda::Config {
    cuda_config(conv, precision, cuda::Limits::USUAL)
}

fn cuda_conforms(conv: ConvChoice) {
    // Stand-ins round for tf32 where the program permits it, which tests/cuda shows faster.
    let precisions = match is_real() {
        true => &[Precision::Fp32, Precision::Tf32, Precision::Fp16][..],
        false => &[Precision::Fp32, Precision::Fp16],
    };
    conforms(precisions, &format!("{conv:?}"), |models, precision| {
        let probe = Probe::new(&[]);
        Box::new(CudaEvaluator::open(models, &probe, &cuda(conv, precision)).unwrap())
    });
}

/// Features of the first convolution exceed the largest half, 65504: a tapped one of AlexNet, and one
/// of VGG16 that no tap sees.
fn overflowing(net: Net) -> Option<Model> {
    let mut trunk = trunk(net)?;
    let first = Arc::make_mut(&mut trunk.convs[0]);
    first.weight.iter_mut().chain(&mut first.bias).for_each(|value| *value *= 1e5);
    Some(model(&trunk, Version::V0_1, false))
}

fn overflows() {
    for net in [Net::Alex, Net::Vgg] {
        let Some(model) = overflowing(net) else { continue };
        let size = Size { width: 40, height: 33 };
        let images: Vec<Image> = (0..3)
            .map(|seed| {
                let samples = (0..size.samples()).map(|at| ((at * (7 + seed)) % 251) as u8);
                Image::new(size, Pixels::U8(samples.collect()))
            })
            .collect();
        let open = |precision| {
            let config = cuda(ConvChoice::Auto, precision);
            CudaEvaluator::open(vec![model.clone()], &Probe::new(&[]), &config).unwrap()
        };
        let half = score(&mut open(Precision::Fp16), &images).concat();
        let single = score(&mut open(Precision::Fp32), &images).concat();
        for (half, single) in half.iter().zip(&single) {
            assert!(half.rescored && !single.rescored, "{net}");
            assert_eq!(half.layers, single.layers, "{net}: the bits of fp32");
        }
    }
}

#[test]
fn what_overflows_in_fp16_is_scored_again_in_fp32() {
    where_cuda_is("conformance::what_overflows_in_fp16_is_scored_again_in_fp32", overflows);
}

#[test]
fn the_cpu_conforms_with_every_instruction_set() {
    let required = std::env::var("LPIPS_REQUIRE_ISA").unwrap_or_default();
    for isa in Isa::ALL {
        if !isa.is_available() {
            let is_required = required.split(',').any(|name| name == isa.to_string());
            assert!(!is_required, "LPIPS_REQUIRE_ISA: this processor lacks {isa}");
            eprintln!("SKIPPED: this processor lacks {isa}");
            continue;
        }
        conforms(&[Precision::Fp32], &format!("cpu {isa}"), |models, _| {
            let config = cpu::Config { threads: 2, pairs_max: None, isa: Some(isa), memory: None };
            Box::new(CpuEvaluator::new(models, config).unwrap())
        });
    }
}

#[test]
fn cuda_with_cudnn_conforms() {
    where_cuda_is("conformance::cuda_with_cudnn_conforms", || cuda_conforms(ConvChoice::Cudnn));
}

#[test]
fn cuda_with_cublas_conforms() {
    where_cuda_is("conformance::cuda_with_cublas_conforms", || cuda_conforms(ConvChoice::Cublas));
}
