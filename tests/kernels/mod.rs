//! The kernels of `kernels/`: committed PTX against source and table, and every kernel on the host
//! against float64.
//!
//! The host tests compile the sources unchanged with g++, AddressSanitizer and UBSan
//! (`tests/host_cuda`), and run each case in several orders of threads and blocks: every order must
//! give the same bits, and these must be right. Outputs start as NaN, as does shared memory, so that
//! what a kernel forgets to write is seen. Faults that this catches:
//!
//! - a dropped barrier (another order gives other bits, or NaN from unwritten shared memory);
//! - a removed bounds check, channels written in the wrong place (AddressSanitizer, or a neighbour that
//!   changed);
//! - a thread that leaves before a shuffle or a barrier (reported as divergence);
//! - a tile that disagrees with `signature.rs` (wrong or unwritten results);
//! - a fused multiply-add where equal features must cancel; a NaN that pooling swallows;
//! - bits that are compared as numbers, or not at all.
//!
//! `planted_faults_are_caught` plants each of them. What it cannot see: races that no tried order brings
//! about, the memory model and the arithmetic of a GPU, and faults of the compiler.

mod case;
mod cases;
mod differ;
mod dists;
mod ptx;
mod tap_pools;
mod taps;

use crate::host_cuda::{Checks, Sources, signature_of};
use case::Case;
use lpips::eval::cuda::signature::{ENTRIES, MODULES};

/// Forward, reverse, and one shuffled anew at every wait.
const ORDERS: [u64; 3] = [0, 1, 20];

/// Runs every case in every order, in a process of its own.
fn check_all(modules: &[&str], cases: &[Case]) {
    let mut runner = Sources::new(Checks::Sanitizers).start(modules);
    for case in cases {
        if let Err(what) = case.check(&mut runner, &ORDERS) {
            panic!("{}: {what}", case.name);
        }
    }
}

#[test]
fn the_source_has_the_signatures_of_the_table() {
    let mut runner = Sources::new(Checks::Sanitizers).start(&MODULES);
    let mut found = runner.list();
    let mut expected: Vec<(String, String)> =
        ENTRIES.iter().map(|entry| (entry.name.to_owned(), signature_of(entry))).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_entry_has_a_case() {
    let all = [cases::normalise(), cases::bias_relu(), cases::max_pool(), cases::im2col()];
    let more = [cases::finish(), cases::channel_sum(), taps::nchw(), taps::nhwc()];
    let of_pools = tap_pools::nchw().into_iter().chain(tap_pools::nhwc());
    let of_dists = [dists::l2_pool(), dists::moments(), dists::dists()];
    let all = all.into_iter().chain(more).chain(of_dists).flatten();
    let cases: Vec<Case> = all.chain(of_pools).chain(differ::all()).collect();
    for entry in ENTRIES {
        assert!(cases.iter().any(|case| case.entry.name == entry.name), "{}", entry.name);
    }
}

#[test]
fn normalise_has_the_bits_of_the_cpu() {
    check_all(&["normalise"], &cases::normalise());
}

#[test]
fn bias_and_relu_touch_their_channels_alone() {
    check_all(&["bias_relu"], &cases::bias_relu());
}

#[test]
fn max_pool_is_exact_at_every_edge() {
    check_all(&["max_pool"], &cases::max_pool());
}

#[test]
fn l2_pooling_is_that_of_float64_at_every_edge() {
    check_all(&["l2_pool"], &dists::l2_pool());
}

#[test]
fn moments_are_those_of_float64() {
    check_all(&["moments"], &dists::moments());
}

#[test]
fn dists_is_that_of_float64() {
    check_all(&["dists"], &dists::dists());
}

#[test]
fn im2col_places_every_window() {
    check_all(&["im2col"], &cases::im2col());
}

#[test]
fn channel_sums_are_those_of_float64() {
    check_all(&["channel_sum"], &cases::channel_sum());
}

#[test]
fn finish_is_the_mean_of_every_layer() {
    check_all(&["finish"], &cases::finish());
}

#[test]
fn one_other_bit_anywhere_is_found() {
    check_all(&["differ"], &differ::all());
}

#[test]
fn taps_nchw_are_those_of_float64() {
    check_all(&["tap_nchw"], &taps::nchw());
}

#[test]
fn taps_nhwc_are_those_of_float64() {
    check_all(&["tap_nhwc"], &taps::nhwc());
}

#[test]
fn taps_with_pooling_nchw_are_those_of_float64() {
    check_all(&["tap_pool_nchw"], &tap_pools::nchw());
}

#[test]
fn taps_with_pooling_nhwc_are_those_of_float64() {
    check_all(&["tap_pool_nhwc"], &tap_pools::nhwc());
}

/// Images that are computed in bands get these bits from the tap alone.
#[test]
fn a_tap_with_pooling_has_the_map_of_the_tap_alone() {
    let modules = ["tap_nchw", "tap_nhwc", "tap_pool_nchw", "tap_pool_nhwc"];
    let mut runner = Sources::new(Checks::Sanitizers).start(&modules);
    for entry in ENTRIES.iter().filter(|entry| entry.name.starts_with("tap_pool")) {
        tap_pools::check_map(entry, &mut runner);
    }
}

#[test]
fn a_pair_has_the_same_bits_whatever_its_company() {
    let modules = ["tap_nchw", "tap_nhwc", "tap_pool_nchw", "tap_pool_nhwc"];
    let mut runner = Sources::new(Checks::Sanitizers).start(&modules);
    for entry in ["tap_pool3_nchw_f32_c64", "tap_pool2_nhwc_f32_c512", "tap_pool3_nhwc_f16_c192"] {
        tap_pools::check_company(entry, &mut runner);
    }
    for entry in ["tap_nchw_f32_c128", "tap_nhwc_f32_c192", "tap_nhwc_f16_c512"] {
        taps::check_company(entry, &mut runner);
    }
}

/// A fault, and what the checks must say of it.
struct Fault {
    place: (&'static str, &'static str, &'static str),
    module: &'static str,
    cases: fn() -> Vec<Case>,
    symptom: &'static str,
}

#[test]
fn planted_faults_are_caught() {
    let faults = [
        Fault {
            place: ("tap_nhwc.cu", "    __syncthreads();\n    sum_tile", "    sum_tile"),
            module: "tap_nhwc",
            cases: taps::nhwc,
            symptom: "expected",
        },
        Fault {
            place: ("finish.cu", "        __syncthreads();\n", ""),
            module: "finish",
            cases: cases::finish,
            symptom: "expected",
        },
        Fault {
            place: (
                "max_pool.cu",
                "index >= images * window.height_out * window.width_out * (c / Vector<T>::LENGTH)",
                "images == 0",
            ),
            module: "max_pool",
            cases: cases::max_pool,
            symptom: "AddressSanitizer: heap-buffer-overflow",
        },
        Fault {
            place: (
                "channel_sum.cu",
                "        float sum = 0.0f;\n",
                "        float sum = 0.0f;\n        if (position >= region.count) return;\n",
            ),
            module: "channel_sum",
            cases: cases::channel_sum,
            symptom: "divergence",
        },
        Fault {
            place: (
                "tap.cuh",
                "__fsub_rn(__fmul_rn(a, inverse_a), __fmul_rn(b, inverse_b))",
                "fmaf(a, inverse_a, -__fmul_rn(b, inverse_b))",
            ),
            module: "tap_nchw",
            cases: taps::nchw,
            symptom: "expected 0",
        },
        Fault {
            place: ("finish.cu", "if (pair >= pairs)", "if (pair >= pairs || threadIdx.x == 77)"),
            module: "finish",
            cases: cases::finish,
            symptom: "divergence",
        },
        Fault {
            place: ("bias_relu.cu", " + c_first + channel[k]);", " + 0 * c_first + channel[k]);"),
            module: "bias_relu",
            cases: cases::bias_relu,
            symptom: "expected",
        },
        Fault {
            place: (
                "tap_nhwc.cu",
                "tap_nhwc_f16_c512, __half, 512, 32, 32",
                "tap_nhwc_f16_c512, __half, 512, 32, 64",
            ),
            module: "tap_nhwc",
            cases: taps::nhwc,
            symptom: "expected",
        },
        Fault {
            place: ("moments.cu", "Moments(firsts[0], firsts[c])", "Moments(firsts[c], firsts[0])"),
            module: "moments",
            cases: dists::moments,
            symptom: "expected",
        },
        Fault {
            place: ("dists.cu", "        __syncthreads();\n", ""),
            module: "dists",
            cases: dists::dists,
            symptom: "expected",
        },
        Fault {
            place: (
                "l2_pool.cu",
                "column == 0 || column > width",
                "column == 0 || column >= width",
            ),
            module: "l2_pool",
            cases: dists::l2_pool,
            symptom: "expected",
        },
        Fault {
            place: ("region.cuh", " + whole_first + at", " + first + at"),
            module: "tap_nhwc",
            cases: taps::nhwc,
            symptom: "expected",
        },
        Fault {
            place: ("pool.cuh", " || value != value", ""),
            module: "max_pool",
            cases: cases::max_pool,
            symptom: "expected NaN",
        },
        Fault {
            place: ("tap_pool_nhwc.cu", "    __syncthreads();\n    sum_tile", "    sum_tile"),
            module: "tap_pool_nhwc",
            cases: tap_pools::nhwc,
            symptom: "expected",
        },
        Fault {
            place: ("tap_pool_nhwc.cu", "pools[2 * pair + 1] != 0", "pools[2 * pair] != 0"),
            module: "tap_pool_nhwc",
            cases: tap_pools::nhwc,
            symptom: "expected",
        },
        Fault {
            place: ("cells.cuh", "min(x, width - 1)", "x"),
            module: "tap_pool_nchw",
            cases: tap_pools::nchw,
            symptom: "AddressSanitizer: heap-buffer-overflow",
        },
        Fault {
            place: ("cells.cuh", "cell.y / SIDE < height_out && ", ""),
            module: "tap_pool_nchw",
            cases: tap_pools::nchw,
            symptom: "AddressSanitizer: heap-buffer-overflow",
        },
        Fault {
            place: ("differ.cu", "(a.x ^ b.x)", "(__uint_as_float(a.x) != __uint_as_float(b.x))"),
            module: "differ",
            cases: differ::all,
            // Equal NaNs differ as numbers.
            symptom: "element 0 is 1.0, expected 0.0",
        },
        Fault {
            place: ("differ.cu", " | (a.w ^ b.w)", ""),
            module: "differ",
            cases: differ::all,
            symptom: "element 0 is 0.0, expected 1.0",
        },
        Fault {
            place: ("differ.cu", "1 + blockIdx.x - tile * others", "others"),
            module: "differ",
            cases: differ::all,
            symptom: "element 0 is 0.0, expected 1.0",
        },
        Fault {
            place: ("differ.cu", "min(first + i * THREADS, vectors - 1)", "first + i * THREADS"),
            module: "differ",
            cases: differ::all,
            symptom: "AddressSanitizer: heap-buffer-overflow",
        },
    ];
    for Fault { place, module, cases, symptom } in faults {
        let mut runner = Sources::with_fault(Checks::Sanitizers, place).start(&[module]);
        let what = cases().iter().find_map(|case| case.check(&mut runner, &ORDERS).err());
        let what = what.unwrap_or_else(|| panic!("nothing saw this in {}: {place:?}", place.0));
        assert!(what.contains(symptom), "`{symptom}` for {place:?}, but:\n{what}");
    }
}
