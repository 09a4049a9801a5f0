//! The instruction sets of the processor, and ordinary code that is compiled for one of them.
//!
//! Rust neither fuses nor reorders operations on floats, so such code computes the same bits
//! whatever it is compiled for. This module does not depend on what is computed.
#![expect(unsafe_code, reason = "calls of functions that are compiled for an instruction set")]

/// An instruction set that code is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// The baseline of the architecture.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F.
    Avx512,
}

impl Isa {
    /// Every instruction set, the best first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The best one that this processor has.
    #[must_use]
    pub fn best() -> Isa {
        Isa::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Whether this processor has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

/// A computation in ordinary code, which the compiler vectorizes. `run` must be
/// `#[inline(always)]`, so that it is compiled for the instruction set of its caller. (A closure
/// would be compiled for the baseline.)
pub(crate) trait Plain {
    /// Computes.
    fn run(self);
}

/// Runs ordinary code compiled for `isa`.
///
/// # Panics
/// When the processor lacks `isa`.
pub(crate) fn dispatch_plain(isa: Isa, plain: impl Plain) {
    assert!(isa.is_available(), "this processor has no {isa}");
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(plain: impl Plain) {
            plain.run();
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(plain: impl Plain) {
            plain.run();
        }
        match isa {
            // SAFETY: the processor has the instruction set.
            Isa::Avx512 => return unsafe { avx512(plain) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { avx2(plain) },
            Isa::Portable => {}
        }
    }
    plain.run();
}
