//! The vector operations that kernels are written in, for each instruction set.
//!
//! A kernel is one generic function, compiled once per instruction set; `dispatch` runs the
//! version for the set that was chosen at run time. The kernel receives a token ([`Simd`]) that can
//! only be made where the processor has the instruction set, and every vector comes from a token.
//! So arithmetic is safe, and only accesses by pointer are not. This module does not depend on what
//! is computed.
#![expect(unsafe_code, reason = "intrinsics, and loads and stores by pointer")]

#[cfg(target_arch = "x86_64")]
mod dispatch;

use std::arch::x86_64::*;

pub(super) use self::dispatch::{Kernel, dispatch};
use crate::isa::Isa;

/// Proof that the processor has an instruction set, and the operations that need no vector yet.
///
/// Kernels compute several output pixels at once, each with two vectors of output channels.
pub(super) trait Simd: Copy {
    /// The vector register.
    type Vector: Vector<Simd = Self>;
    /// Floats of a vector.
    const LEN: usize;
    /// Output pixels that a kernel computes at once: their sums fill the registers, but for a few
    /// that hold the operands.
    const TILE: usize;

    /// A vector whose lanes all have this value.
    fn splat(self, value: f32) -> Self::Vector;

    /// The vector at an address.
    ///
    /// # Safety
    /// `from` must be valid for reads of [`Self::LEN`] floats; it need not be aligned.
    unsafe fn load(self, from: *const f32) -> Self::Vector;

    /// Makes what was [streamed](Vector::stream) visible to other threads.
    fn fence(self);

    /// Prefetches a cache line into the first level. Any address is allowed.
    fn prefetch(self, at: *const f32);

    /// Prefetches a cache line that will be written. Any address is allowed.
    fn prefetch_write(self, at: *const f32);

    /// Prefetches a cache line into the second level. Any address is allowed.
    fn prefetch_far(self, at: *const f32);
}

/// A vector register of float32. A value is proof of its instruction set.
pub(super) trait Vector: Copy {
    type Simd: Simd<Vector = Self>;

    /// The token of the instruction set.
    fn simd(self) -> Self::Simd;

    /// Stores all lanes.
    ///
    /// # Safety
    /// `to` must be valid for writes of [`Simd::LEN`] floats; it need not be aligned.
    unsafe fn store(self, to: *mut f32);

    /// Stores all lanes with a non-temporal store. [`Simd::fence`] must run before another thread
    /// reads them.
    ///
    /// # Safety
    /// As [`Self::store`], and `to` must be aligned to the vector.
    unsafe fn stream(self, to: *mut f32);

    /// `self * factor + sum`, fused where the instruction set has it.
    fn mul_add(self, factor: Self, sum: Self) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;

    /// The larger of the two, lane by lane.
    fn max(self, other: Self) -> Self;

    /// The sum of all lanes: the upper half is added to the lower half until one lane is left.
    fn total(self) -> f32;
}

/// The token of the baseline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable;

impl Simd for Portable {
    /// Four lanes, which compilers turn into the vectors of the architecture.
    type Vector = [f32; 4];
    const LEN: usize = 4;
    const TILE: usize = 4;
    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> [f32; 4] {
        // SAFETY: the caller guarantees four valid floats.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    fn fence(self) {}
    #[inline(always)]
    fn prefetch(self, _at: *const f32) {}
    #[inline(always)]
    fn prefetch_write(self, _at: *const f32) {}
    #[inline(always)]
    fn prefetch_far(self, _at: *const f32) {}
}

impl Vector for [f32; 4] {
    type Simd = Portable;
    #[inline(always)]
    fn simd(self) -> Portable {
        Portable
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees four valid floats.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller guarantees four valid floats.
        unsafe { self.store(to) };
    }
    #[inline(always)]
    fn mul_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + sum[lane])
    }
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - other[lane])
    }
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }
    #[inline(always)]
    fn total(self) -> f32 {
        (self[0] + self[2]) + (self[1] + self[3])
    }
}

/// A token and its vector. The fields are private, so other modules get a token from `dispatch`
/// alone, and a vector from a token.
#[cfg(target_arch = "x86_64")]
macro_rules! x86_simd {
    ($token:ident, $isa:expr, $vector:ident, $register:ident, $len:expr, $tile:expr, $splat:ident,
     $load:ident, $store:ident, $stream:ident, $fma:ident, $add:ident, $sub:ident, $mul:ident,
     $max:ident, $total:ident) => {
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $token(());

        impl $token {
            /// # Panics
            /// When the processor lacks the instruction set.
            fn new() -> $token {
                assert!($isa.is_available(), "this processor has no {}", $isa);
                $token(())
            }
        }

        impl Simd for $token {
            type Vector = $vector;
            const LEN: usize = $len;
            const TILE: usize = $tile;
            #[inline(always)]
            fn splat(self, value: f32) -> $vector {
                // SAFETY: the token proves the instruction set.
                $vector(unsafe { $splat(value) })
            }
            #[inline(always)]
            unsafe fn load(self, from: *const f32) -> $vector {
                // SAFETY: the token proves the instruction set; the caller guarantees the pointer.
                $vector(unsafe { $load(from) })
            }
            #[inline(always)]
            fn fence(self) {
                // SAFETY: every processor of this architecture has the instruction.
                unsafe { _mm_sfence() };
            }
            #[inline(always)]
            fn prefetch(self, at: *const f32) {
                // SAFETY: a prefetch accesses no memory as far as the program can observe.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
            #[inline(always)]
            fn prefetch_write(self, at: *const f32) {
                // SAFETY: a prefetch accesses no memory as far as the program can observe.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
            }
            #[inline(always)]
            fn prefetch_far(self, at: *const f32) {
                // SAFETY: a prefetch accesses no memory as far as the program can observe.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
            }
        }

        #[derive(Clone, Copy)]
        #[repr(transparent)]
        pub(super) struct $vector($register);

        impl Vector for $vector {
            type Simd = $token;
            #[inline(always)]
            fn simd(self) -> $token {
                $token(())
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the vector proves the instruction set; the caller guarantees the pointer.
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut f32) {
                // SAFETY: the vector proves the instruction set; the caller guarantees the pointer.
                unsafe { $stream(to, self.0) }
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, sum: Self) -> Self {
                // SAFETY: the vector proves the instruction set.
                $vector(unsafe { $fma(self.0, factor.0, sum.0) })
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                // SAFETY: the vector proves the instruction set.
                $vector(unsafe { $add(self.0, other.0) })
            }
            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                // SAFETY: the vector proves the instruction set.
                $vector(unsafe { $sub(self.0, other.0) })
            }
            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                // SAFETY: the vector proves the instruction set.
                $vector(unsafe { $mul(self.0, other.0) })
            }
            #[inline(always)]
            fn max(self, other: Self) -> Self {
                // SAFETY: the vector proves the instruction set.
                $vector(unsafe { $max(self.0, other.0) })
            }
            #[inline(always)]
            fn total(self) -> f32 {
                // SAFETY: the vector proves the instruction set.
                unsafe { $total(self.0) }
            }
        }
    };
}

/// The sum of eight lanes, as [`Vector::total`] defines it.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn total_256(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of sixteen lanes, as [`Vector::total`] defines it.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn total_512(lanes: __m512) -> f32 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    total_256(_mm256_add_ps(_mm512_castps512_ps256(lanes), high))
}

#[cfg(target_arch = "x86_64")]
x86_simd!(
    Avx2,
    Isa::Avx2,
    F32x8,
    __m256,
    8,
    6,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_stream_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_max_ps,
    total_256
);
#[cfg(target_arch = "x86_64")]
x86_simd!(
    Avx512,
    Isa::Avx512,
    F32x16,
    __m512,
    16,
    12,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_stream_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_max_ps,
    total_512
);
