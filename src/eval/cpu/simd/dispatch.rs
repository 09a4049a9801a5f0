//! Runs code with the instructions of a set.

use super::*;

/// A computation that is written once for all instruction sets. `run` must be `#[inline(always)]`,
/// so that it is compiled for the instruction set of its caller.
pub(in crate::eval::cpu) trait Kernel {
    /// Computes with the vectors of `simd`; `TILE` is `S::TILE`.
    fn run<S: Simd, const TILE: usize>(self, simd: S);
}

/// A computation in ordinary code, which the compiler vectorizes. `run` must be
/// `#[inline(always)]`. (A closure would be compiled for the baseline.)
pub(in crate::eval::cpu) trait Plain {
    /// Computes.
    fn run(self);
}

/// Runs ordinary code compiled for `isa`.
///
/// # Panics
/// When the processor lacks `isa`.
pub(in crate::eval::cpu) fn dispatch_plain(isa: Isa, plain: impl Plain) {
    struct Wrapped<P>(P);

    impl<P: Plain> Kernel for Wrapped<P> {
        #[inline(always)]
        fn run<S: Simd, const TILE: usize>(self, _simd: S) {
            self.0.run();
        }
    }

    dispatch(isa, Wrapped(plain));
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
