//! Many sizes of images in one run: what each costs, and what is kept.

use std::collections::BTreeMap;

use lpips::eval::cuda::probe::Probe;
use lpips::eval::cuda::{CudaEvaluator, Limits};
use lpips::eval::{ConvChoice, Precision, score_pairs};
use lpips::image::Size;
use lpips::net::Net;
use lpips::net::weights::{Trunk, Version};

use crate::dists::image;
use crate::job::{Job, write_black};
use crate::machine::{Machine, Ran, cuda_config, is_simulated, where_cuda_is};
use crate::support::model;

/// How often each function of NVIDIA's libraries was called.
fn counts(trace: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in trace.lines().filter(|line| line.starts_with("cu")) {
        *counts.entry(line.split(' ').next().unwrap()).or_default() += 1;
    }
    counts
}

/// A pair of each of 200 sizes, and all of them again. Nothing is computed, so every row fails.
fn two_pairs_of_200_sizes() -> Ran {
    let images = tempfile::tempdir().unwrap();
    let mut pairs = Vec::new();
    for time in 0..2 {
        for index in 0..200 {
            let [reference, distorted] = ["a", "b"].map(|side| {
                let path = images.path().join(format!("{time}_{index}{side}.ppm"));
                write_black(&path, (96 + 3 * (index % 20), 80 + 5 * (index / 20)));
                path
            });
            pairs.push((format!("{time}_{index}"), reference, distorted));
        }
    }
    let machine = Machine::new().set("FAKE_CUDA_COMPUTE", 0);
    let options = ["--device", "cuda", "--conv", "cudnn", "--batch", "1"];
    let evaluated = Job::of(&pairs).eval(&machine, &options);
    evaluated.ran.expect(3);
    evaluated.ran
}

#[test]
fn equal_convolutions_of_200_sizes_are_prepared_and_rehearsed_once() {
    if !is_simulated() {
        return;
    }
    let ran = two_pairs_of_200_sizes();
    let counts = counts(&ran.trace);
    for (function, count) in &counts {
        eprintln!("{function} {count}");
    }
    eprintln!("{} calls", counts.values().sum::<usize>());
    // Five convolutions of AlexNet, of which sizes that are alike share some.
    let geometries = ran.convolved().len();
    eprintln!("{geometries} geometries");
    assert!(geometries < 200 * 5 / 2, "{geometries}");
    assert_eq!(counts["cudnnCreateConvolutionDescriptor"], geometries);
    assert_eq!(counts["cudnnGetConvolutionForwardAlgorithm_v7"], geometries);
    assert_eq!(counts["cudnnConvolutionBiasActivationForward"], geometries + 400 * 5);
    // A flag of each rehearsal, and the results of each pair.
    assert_eq!(counts["cuMemcpyDtoHAsync_v2"], geometries + 400);
    // Kernels are looked up once, whatever the number of sizes.
    assert!(counts["cuModuleGetFunction"] < 20, "{}", counts["cuModuleGetFunction"]);
    // No size has memory of its own; buffers grow now and then.
    assert!(counts["cuMemAlloc_v2"] < 100, "{}", counts["cuMemAlloc_v2"]);
}

/// Calls of this process until now, for images of `size`.
fn calls_for(evaluator: &mut CudaEvaluator, size: Size) -> BTreeMap<String, usize> {
    let path = std::env::var_os("FAKE_CUDA_TRACE").unwrap();
    let read = || fs_err::read_to_string(&path).unwrap();
    let before = read().len();
    let (a, b) = (image(size, 0), image(size, 1));
    let scores = score_pairs(evaluator, [(&a, &b)]).unwrap();
    assert!(scores.iter().flatten().all(Result::is_ok));
    let trace = read();
    let of_this = counts(&trace[before..]).into_iter();
    of_this.map(|(name, count)| (name.to_owned(), count)).collect()
}

fn the_size_used_least_recently_is_dropped() {
    let limits = Limits { micro_pixels: 1, sizes: 2, ..Limits::USUAL };
    let config = cuda_config(ConvChoice::Cudnn, Precision::Fp32, limits);
    let model = model(&Trunk::formula(Net::Alex), Version::V0_1, false);
    let mut evaluator = CudaEvaluator::open(vec![model], &Probe::new(&[]), &config).unwrap();
    let sizes = [60, 80, 100].map(|side| Size { width: side, height: side });
    let mut made = |index: usize| {
        let calls = calls_for(&mut evaluator, sizes[index]);
        let of = |name: &str| calls.get(name).copied().unwrap_or(0);
        let convolution = |verb| of(&format!("cudnn{verb}ConvolutionDescriptor"));
        (convolution("Create"), convolution("Destroy"), of("cuMemAlloc_v2"))
    };
    // The largest first, so that no later one needs more memory.
    assert_eq!((made(2).0, made(1)), (5, (5, 0, 0)), "two sizes are kept");
    assert_eq!((made(2), made(1), made(2)), ((0, 0, 0), (0, 0, 0), (0, 0, 0)), "and used again");
    assert_eq!(made(0), (5, 5, 0), "the third takes the place of the second");
    assert_eq!(made(2), (0, 0, 0), "the first was used later, and stays");
    assert_eq!(made(1), (5, 5, 0), "the second is prepared again");
}

#[test]
fn the_size_that_was_used_least_recently_is_dropped() {
    if is_simulated() {
        let name = "sizes::the_size_that_was_used_least_recently_is_dropped";
        where_cuda_is(name, the_size_used_least_recently_is_dropped);
    }
}

/// Memory for images is freed by the thread that needs it last, often that of a GPU other than the
/// one for which it was pinned. More than is kept for later is given back here.
#[test]
fn freeing_the_memory_of_images_leaves_each_thread_its_gpu() {
    if !is_simulated() {
        return;
    }
    let images = tempfile::tempdir().unwrap();
    // Four pairs of each size: 264 MB of pixels.
    let pairs: Vec<_> = (0..16)
        .map(|index| {
            let side = 1400 + 64 * (index / 4);
            let path = |name: &str| {
                let path = images.path().join(format!("{index}_{name}.ppm"));
                write_black(&path, (side, side));
                path
            };
            (index.to_string(), path("ref"), path("dist"))
        })
        .collect();
    let machine = Machine::new().gpus(2).set("FAKE_CUDA_COMPUTE", 0);
    let job = Job::of(&pairs);
    let evaluated = job.eval(&machine, &["--device", "cuda:all"]);
    let ran = evaluated.ran.expect(3);
    assert!(
        ran.calls("cuMemFreeHost") > 0 && !ran.stderr().contains("dropped"),
        "{}",
        ran.stderr()
    );
    let attempt = &evaluated.run_file()["provenance"]["attempts"][0];
    assert!(attempt["lost"].as_array().is_none_or(Vec::is_empty), "{attempt}");
}
