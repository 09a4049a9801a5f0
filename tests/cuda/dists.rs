//! DISTS on CUDA: golden values, beside LPIPS with the same trunk, and bits in any company. On the
//! stand-ins, or on this machine's GPU with LPIPS_REQUIRE_CUDA=1.

use lpips::eval::cuda::probe::Probe;
use lpips::eval::cuda::{CudaEvaluator, Limits};
use lpips::eval::{Affine, ConvChoice, Model, PairScore, Precision, score_pairs};
use lpips::image::{Image, Pixels, Size};
use lpips::net::Net;
use lpips::net::weights::{Dists, Trunk, Version};
use lpips::oracle;

use crate::job::Job;
use crate::machine::{Machine, cuda_config, is_simulated, where_cuda_is};
use crate::support::{model, trunk};

fn open(models: Vec<Model>, conv: ConvChoice, precision: Precision) -> CudaEvaluator {
    let config = cuda_config(conv, precision, Limits::USUAL);
    CudaEvaluator::open(models, &Probe::new(&[]), &config).unwrap()
}

/// Structures with noise; `seed` decides both.
pub(crate) fn image(size: Size, seed: usize) -> Image {
    let sample = |at: usize| {
        let (y, x) = (at / 3 / size.width, at / 3 % size.width);
        let noise = (at * (31 + seed)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57;
        ((y / 5 * 37 + x / 7 * (59 + seed) + at % 3 * 11) % 128 + noise) as u8
    };
    Image::new(size, Pixels::U8((0..size.samples()).map(sample).collect()))
}

fn totals(scores: &[PairScore], model: usize) -> Vec<f64> {
    scores.iter().map(|score| score[model].as_ref().unwrap().total()).collect()
}

fn conforms() {
    let trunk = trunk(Net::Vgg).unwrap_or_else(|| Trunk::formula(Net::Vgg));
    let dists = Model::dists(trunk.clone(), Affine::UNIT, Dists::load().unwrap());
    let lpips = model(&trunk, Version::V0_1, false);
    let size = Size { width: 35, height: 18 };
    let images = [0, 1, 2].map(|seed| image(size, seed));
    let pairs = [(0, 1), (2, 0), (1, 1), (0, 1)].map(|(a, b)| (&images[a], &images[b]));
    let taps = images.each_ref().map(|image| oracle::taps(&dists, image).unwrap());
    let expected = [(0, 1), (2, 0)]
        .map(|(a, b)| oracle::layers(&dists, &taps[a], &taps[b]).iter().sum::<f64>());
    for conv in [ConvChoice::Cudnn, ConvChoice::Cublas] {
        for (precision, bound) in [(Precision::Fp32, 1e-5), (Precision::Fp16, 3e-2)] {
            let name = format!("{conv:?} {precision}");
            let mut both = open(vec![lpips.clone(), dists.clone()], conv, precision);
            let scores = score_pairs(&mut both, pairs).unwrap();
            let found = totals(&scores, 1);
            for (found, expected) in found.iter().zip(expected) {
                let off = (found - expected).abs();
                eprintln!("{name}: {:.1e}", off / expected);
                assert!(off <= bound * expected + 1e-8, "{name}: {found} instead of {expected}");
            }
            assert_eq!((found[2], found[3]), (0.0, found[0]), "{name}");
            let mut alone = open(vec![dists.clone()], conv, precision);
            let alone = score_pairs(&mut alone, pairs[1..2].iter().copied()).unwrap();
            assert_eq!(alone[0][0], scores[1][1], "{name}: the bits of a pair alone");
            assert_eq!(totals(&scores, 0)[2], 0.0, "{name}");
        }
    }
}

#[test]
fn dists_conforms_beside_lpips_and_alone() {
    where_cuda_is("dists::dists_conforms_beside_lpips_and_alone", conforms);
}

#[test]
fn a_trunk_of_two_metrics_is_uploaded_once() {
    if !is_simulated() || trunk(Net::Vgg).is_none() {
        return;
    }
    let weights = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let weights = weights.to_str().unwrap();
    let allocations = |metrics: &str| {
        let options = ["--device", "cuda", "--net", "vgg", "--weights-dir", weights];
        let options = [&options[..], &["--metrics", metrics]].concat();
        let evaluated = Job::noise(1, 1).eval(&Machine::new(), &options);
        evaluated.table();
        evaluated.ran.calls("cuMemAlloc_v2")
    };
    let (lpips, both) = (allocations("lpips"), allocations("lpips,dists"));
    // DISTS brings a table for each tap. Weights and biases of VGG16 would be 26 more.
    assert!(both > lpips && both < lpips + 26, "{lpips} and {both} allocations");
}
