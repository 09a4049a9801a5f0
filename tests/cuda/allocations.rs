//! What is allocated: all of it before the first batch of a shape is scored.

use crate::job::Job;
use crate::machine::Machine;

/// Whatever makes something on a device, or for one.
const MAKERS: [&str; 7] = [
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuEventCreate",
    "cuStreamCreate",
    "cuModuleLoadDataEx",
    "cudnnCreateTensorDescriptor",
    "cudnnCreateConvolutionDescriptor",
];
/// Pinned memory: seven staging buffers of one GPU's evaluator, which the larger shape makes anew, and
/// two buffers in each of its three slots, which the pass in fp32 makes anew, too.
const PINNED_MAX: usize = 2 * 7 + 3 * (2 * 3);

#[test]
fn after_the_first_batch_of_a_shape_nothing_is_allocated() {
    for (engine, precision) in [("cudnn", "fp32"), ("cublas", "fp16")] {
        let options = ["--device", "cuda", "--batch", "1"];
        let options = [&options[..], &["--conv", engine, "--precision", precision]].concat();
        let trace = |items: usize, methods: usize| {
            let evaluated = Job::noise(items, methods).eval(&Machine::new(), &options);
            evaluated.table();
            evaluated.ran
        };
        // A batch of either shape; and five of each, in turns, three times.
        let (once, often) = (trace(2, 1), trace(6, 5));
        for function in MAKERS {
            let (once, often) = (once.calls(function), often.calls(function));
            assert_eq!(often, once, "{function}, {engine}");
        }
        assert!(once.calls("cuMemAlloc_v2") > 0);
        let uploads = often.calls("cuMemcpyHtoDAsync_v2") - once.calls("cuMemcpyHtoDAsync_v2");
        assert!(uploads >= 2 * 28, "30 batches are not 30 uploads of pixels and of indices");
        let pinned = often.calls("cuMemHostAlloc");
        eprintln!("{engine}, {precision}: {pinned} pinned buffers");
        assert!(pinned <= PINNED_MAX, "{pinned} pinned buffers, {engine}");
    }
}
