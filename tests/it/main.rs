//! The program and the library from outside, in one binary: what needs no stand-ins for CUDA, no
//! allocator of its own and no memory limit.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod all_pairs;
mod architecture;
mod bounded;
mod ci;
mod cli;
mod compare;
mod dists;
mod docs;
mod doctor;
mod environment;
mod exports;
mod fidelity;
mod golden;
mod groups;
mod growing;
mod hints;
mod images;
mod inputs;
mod joined;
mod library;
mod maps;
mod memory;
mod outputs;
mod patterns;
mod proof;
mod report;
mod resume;
mod reuse;
mod run_0_1;
mod slurm;
mod strict;
mod tables;
mod weights;
