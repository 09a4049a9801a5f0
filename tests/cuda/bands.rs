//! Images that are computed in bands of rows, against the same images whole: every net, precision
//! and engine. On the stand-ins, or on this machine's GPU with LPIPS_REQUIRE_CUDA=1.

use lpips::eval::ConvChoice::{self, Cublas, Cudnn};
use lpips::eval::Precision::{self, Fp16, Fp32, Tf32};
use lpips::eval::cuda::probe::Probe;
use lpips::eval::cuda::{CudaEvaluator, Limits};
use lpips::eval::{Affine, Distance, Lpips, Map, Metric, Model, PairScore, Wanted, score_pairs};
use lpips::image::{Image, Size};
use lpips::net::Net;
use lpips::net::weights::{Dists, Trunk, Version};
use lpips::oracle;
use lpips::selftest::{Deviation, bound};

use crate::dists::image;
use crate::job::{Job, write_black};
use crate::machine::{Machine, cuda_config, is_real, is_simulated, where_cuda_is};
use crate::support::{model, trunk, wanting};

/// Micro-batches of a pair.
const WHOLE: Limits = Limits { micro_pixels: 1, ..Limits::USUAL };
/// So few bytes of activations that bands are as low as they can be.
const LOWEST: Limits = Limits { activation_bytes: 1, ..WHOLE };
/// A third of vgg's at the size of these tests.
const SOME: Limits = Limits { activation_bytes: 2 << 20, ..WHOLE };

/// Every engine and precision.
const ALL: [(ConvChoice, Precision); 6] =
    [(Cudnn, Fp32), (Cudnn, Tf32), (Cudnn, Fp16), (Cublas, Fp32), (Cublas, Tf32), (Cublas, Fp16)];

/// Tall and as narrow as the net allows.
fn images(net: &Model) -> [Image; 3] {
    let size = Size { width: net.spec().min_side, height: 341 };
    [0, 1, 2].map(|seed| image(size, seed))
}

fn score(
    models: &[Model],
    (conv, precision): (ConvChoice, Precision),
    limits: Limits,
    images: &[Image; 3],
) -> Vec<Vec<Distance>> {
    let config = cuda_config(conv, precision, limits);
    let mut evaluator = CudaEvaluator::open(models.to_vec(), &Probe::new(&[]), &config).unwrap();
    let pairs = [(0, 1), (2, 0), (1, 1)].map(|(a, b)| (&images[a], &images[b]));
    let scores = score_pairs(&mut evaluator, pairs).unwrap();
    let distances = |score: PairScore| score.into_iter().map(Result::unwrap).collect();
    scores.into_iter().map(distances).collect()
}

/// Every value within a part of the largest, and an absolute deviation.
fn assert_near(found: &[f64], expected: &[f64], (part, absolute): (f64, f64), name: &str) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().copied().fold(0.0, f64::max);
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let is_near = (found - expected).abs() <= part * largest + absolute;
        assert!(is_near, "{name} at {at}: {found} instead of {expected}");
    }
}

fn wide(map: &Map) -> Vec<f64> {
    map.values.iter().map(|&value| f64::from(value)).collect()
}

fn agrees(model: &Model, limits: &[Limits], some: &[(ConvChoice, Precision)]) {
    let images = images(model);
    for &(conv, precision) in if is_real() { &ALL } else { some } {
        let models = std::slice::from_ref(model);
        let whole = score(models, (conv, precision), WHOLE, &images);
        for &limits in limits {
            let name = format!("{}, {conv:?}, {precision}, {limits:?}", model.spec().name);
            let banded = score(models, (conv, precision), limits, &images);
            // The stand-in of cuDNN computes each element alike, whatever the height; that of cuBLAS,
            // which has a part in squeeze, adds in an order that depends on the rows of a product, as
            // may a GPU.
            let is_of_cudnn = conv == Cudnn && model.spec().name != Net::Squeeze.spec().name;
            let has_same_bits = is_of_cudnn && !is_real();
            let Deviation { layer, absolute, .. } = bound(precision);
            let (of_maps, of_means) = match has_same_bits {
                // Of the means only the order of additions differs.
                true => ((0.0, 0.0), (1e-13, 0.0)),
                false => ((2.0 * layer, absolute), (2.0 * layer, absolute)),
            };
            for (banded, whole) in banded.iter().flatten().zip(whole.iter().flatten()) {
                assert_near(&banded.layers, &whole.layers, of_means, &name);
                let maps = banded.maps.iter().zip(&whole.maps);
                for (banded, whole) in
                    maps.chain(banded.reference_sum.iter().zip(&whole.reference_sum))
                {
                    assert_eq!((banded.height, banded.width), (whole.height, whole.width));
                    assert_near(&wide(banded), &wide(whole), of_maps, &name);
                }
            }
            assert_eq!(banded[2][0].total(), 0.0, "{name}: an image with itself");
        }
    }
}

fn with_maps(net: Net) -> Model {
    let trunk = trunk(net).unwrap_or_else(|| Trunk::formula(net));
    let wanted = Wanted { layers: true, reference_sum: Some(1) };
    wanting(model(&trunk, Version::V0_1, false), wanted)
}

#[test]
fn alex_in_bands_is_alex() {
    where_cuda_is("bands::alex_in_bands_is_alex", || {
        agrees(&with_maps(Net::Alex), &[LOWEST], &ALL);
    });
}

#[test]
fn squeeze_in_bands_is_squeeze() {
    where_cuda_is("bands::squeeze_in_bands_is_squeeze", || {
        agrees(&with_maps(Net::Squeeze), &[LOWEST], &ALL);
    });
}

#[test]
fn vgg_in_bands_is_vgg() {
    where_cuda_is("bands::vgg_in_bands_is_vgg", || {
        // Stand-ins take their time for it.
        let vgg = with_maps(Net::Vgg);
        agrees(&vgg, &[LOWEST], &[(Cudnn, Fp32)]);
        agrees(&vgg, &[SOME], &[(Cudnn, Fp16)]);
    });
}

#[test]
fn dists_in_bands_is_dists() {
    where_cuda_is("bands::dists_in_bands_is_dists", || {
        let trunk = trunk(Net::Vgg).unwrap_or_else(|| Trunk::formula(Net::Vgg));
        let dists = Model::dists(trunk, Affine::UNIT, Dists::load().unwrap());
        agrees(&dists, &[LOWEST], &[(Cudnn, Fp32)]);
        agrees(&dists, &[SOME], &[(Cublas, Fp16)]);
    });
}

/// The promise of fp32, against plain loops in float64.
fn keeps_the_promise() {
    for (net, conv) in [(Net::Alex, Cublas), (Net::Squeeze, Cudnn)] {
        let with_maps = with_maps(net);
        let Metric::Lpips(lpips) = with_maps.metric.clone() else { panic!("LPIPS") };
        let plain = Metric::Lpips(Lpips { wanted: Wanted::default(), ..lpips });
        let plain = Model { metric: plain, ..with_maps.clone() };
        let images = images(&plain);
        let taps = images.each_ref().map(|image| oracle::taps(&plain, image).unwrap());
        let both = [plain.clone(), with_maps];
        let scores = score(&both, (conv, Fp32), LOWEST, &images);
        let bound = bound(Fp32);
        for (score, (a, b)) in scores.iter().zip([(0, 1), (2, 0)]) {
            let expected = oracle::layers(&plain, &taps[a], &taps[b]);
            for (layer, (found, expected)) in score[0].layers.iter().zip(&expected).enumerate() {
                let is_near = (found - expected).abs() <= bound.layer * expected + bound.absolute;
                assert!(is_near, "{net} {layer}: {found} instead of {expected}");
            }
            let (found, expected) = (score[0].total(), expected.iter().sum::<f64>());
            let is_near = (found - expected).abs() <= bound.total * expected + bound.absolute;
            assert!(is_near, "{net}: {found} instead of {expected}");
            assert_eq!(score[0].layers, score[1].layers, "{net}: with and without maps");
        }
        let alone = [0, 1, 1].map(|index: usize| images[index].clone());
        let again = score(&both[..1], (conv, Fp32), LOWEST, &alone);
        assert_eq!(again[0][0], scores[0][0], "{net}: beside other pairs and nets");
    }
}

#[test]
fn bands_keep_the_promise_of_float64() {
    where_cuda_is("bands::bands_keep_the_promise_of_float64", keeps_the_promise);
}

/// A pair of 40 megapixels through VGG16 in fp32, on a GPU of 8 GB. The stand-ins would compute for
/// hours, so they only check what is called, and what is allocated.
#[test]
fn a_gpu_of_8_gb_holds_a_pair_of_40_megapixels() {
    if !is_simulated() || trunk(Net::Vgg).is_none() {
        return;
    }
    let images = tempfile::tempdir().unwrap();
    let black = |name: &str| {
        let path = images.path().join(name);
        write_black(&path, (7680, 5184));
        path
    };
    let pair = ("large".to_owned(), black("ref.ppm"), black("dist.ppm"));
    let weights = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let weights = weights.to_str().unwrap();
    let job = Job::of(&[pair]);
    // What nothing was written to is NaN, so the pair fails when all of it was walked.
    for (engine, bytes, expected) in [
        ("cudnn", 8_000_000_000_u64, "E_NAN"),
        ("cublas", 8_000_000_000, "E_NAN"),
        ("cudnn", 4_000_000_000, "E_TOO_LARGE"),
    ] {
        let machine = Machine::new().set("FAKE_CUDA_MEMORY", bytes).set("FAKE_CUDA_COMPUTE", 0);
        let options = ["--device", "cuda", "--conv", engine, "--net", "vgg"];
        let options = [&options[..], &["--weights-dir", weights]].concat();
        let evaluated = job.eval(&machine, &options);
        let printed = evaluated.ran.expect(3).stderr();
        assert!(printed.contains(expected), "{engine}, {bytes}: {printed}");
    }
}
