//! Runs code with the instructions of a set.

use super::*;

/// A computation that is written once for all instruction sets. `run` must be `#[inline(always)]`,
/// so that it is compiled for the instruction set of its caller.
pub(in crate::eval::cpu) trait Kernel {
    /// Computes with the vectors of `simd`; `TILE` is `S::TILE`.
    fn run<S: Simd, const TILE: usize>(self, simd: S);
}

/// Runs a kernel compiled for `isa`.
///
/// # Panics
/// When the processor lacks `isa`.
pub(in crate::eval::cpu) fn dispatch(isa: Isa, kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(simd: Avx512, kernel: impl Kernel) {
            kernel.run::<_, { Avx512::TILE }>(simd);
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(simd: Avx2, kernel: impl Kernel) {
            kernel.run::<_, { Avx2::TILE }>(simd);
        }
        match isa {
            // SAFETY: the token proves the instruction set.
            Isa::Avx512 => return unsafe { avx512(Avx512::new(), kernel) },
            // SAFETY: the token proves the instruction set.
            Isa::Avx2 => return unsafe { avx2(Avx2::new(), kernel) },
            Isa::Portable => {}
        }
    }
    assert!(isa == Isa::Portable, "this processor has no {isa}");
    kernel.run::<_, { Portable::TILE }>(Portable);
}
