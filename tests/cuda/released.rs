//! A program as it is released (scripts/release), which has kernels that were assembled for it.

use std::path::Path;

use crate::job::{Evaluated, Job};
use crate::machine::{Machine, is_simulated};

/// LPIPS_RELEASED is the path of the program; other builds have no cubins.
#[test]
fn a_released_program_needs_no_compiler_of_the_driver() {
    let Some(program) = std::env::var_os("LPIPS_RELEASED") else {
        eprintln!("SKIPPED: LPIPS_RELEASED is no program with cubins; scripts/release sets it");
        return;
    };
    if !is_simulated() {
        return;
    }
    let (job, released) = (Job::noise(1, 1), Path::new(&program));
    for (capability, has_cubins) in [(75, false), (80, true), (89, true), (90, true), (121, true)] {
        let score = |force_ptx: u8| {
            let machine = Machine::new().program(released);
            let machine = machine.set("FAKE_CUDA_CAPABILITY", capability);
            job.eval(&machine.set("CUDA_FORCE_PTX_JIT", force_ptx), &["--device", "cuda"])
        };
        let (assembled, compiled) = (score(0), score(1));
        let has_loaded = |evaluated: &Evaluated| evaluated.ran.trace.contains("cubin sm_");
        assert_eq!(assembled.table(), compiled.table(), "{capability}");
        assert_eq!(has_loaded(&assembled), has_cubins, "{capability}");
        assert!(!has_loaded(&compiled), "{capability}");
    }
}
