//! `--device cuda` end to end, on machines that are simulated: the unmodified program against the
//! stand-ins for the NVIDIA libraries. tests/fake_cuda/README.md says how they work and what they
//! cannot show. With LPIPS_REQUIRE_CUDA=1 what needs no simulated machine runs on this one's GPU.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

#[path = "../host_cuda/mod.rs"]
mod host_cuda;
#[path = "../kernels/mod.rs"]
mod kernels;
#[path = "../support/mod.rs"]
mod support;

mod all_pairs;
mod allocations;
mod bands;

mod conformance;
mod dists;
mod faults;
mod job;
mod libraries;
mod machine;
mod machines;
mod outputs;
mod planted;
mod released;
mod resident;
mod selftest;
mod sizes;
mod symbols;
mod values;
