//! The few vector operations that the kernels are written in, for each instruction set.
//!
//! A kernel is one generic function; [`dispatch`] compiles it for the instruction set that was
//! chosen at run time. Nothing here knows what is computed.
#![expect(unsafe_code, reason = "vector loads and stores take pointers")]

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Isa {
    /// What every processor of the architecture has.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F.
    Avx512,
}

impl Isa {
    /// Every instruction set, the best first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The best that this processor has.
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

/// A vector register of float32.
///
/// # Safety
/// All methods must only be called where the instruction set of the implementation is available;
/// pointers must be valid for [`Self::LEN`] floats, of any alignment.
pub(super) trait Vector: Copy {
    /// Number of floats.
    const LEN: usize;
    /// Output pixels of a convolution's tile: with two vectors of output channels for each, the
    /// sums fill the registers and leave some for the operands.
    const TILE: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self * factor + sum`, fused where the instruction set has it.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// The larger of the two, lane by lane.
    unsafe fn max(self, other: Self) -> Self;
    /// The sum of all lanes, halves onto halves.
    unsafe fn total(self) -> f32;
    /// Stores past the caches. `to` must be aligned to a whole vector, and [`Vector::fence`] come
    /// before another thread reads.
    unsafe fn stream(self, to: *mut f32);
    /// Waits until others see what was streamed.
    unsafe fn fence();
    /// Asks for a line of the cache, near to the registers; any address will do.
    unsafe fn prefetch(at: *const f32);
    /// The same for a line that will be written.
    unsafe fn prefetch_write(at: *const f32);
    /// Asks for a line of the cache, into the second level; any address will do.
    unsafe fn prefetch_far(at: *const f32);
}

/// Four lanes that any compiler turns into the vectors of the architecture.
impl Vector for [f32; 4] {
    const LEN: usize = 4;
    const TILE: usize = 4;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for the pointer.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * factor[lane] + sum[lane])
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] + other[lane])
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] - other[lane])
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        std::array::from_fn(|lane| self[lane] * other[lane])
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        std::array::from_fn(|lane| if self[lane] > other[lane] { self[lane] } else { other[lane] })
    }
    #[inline(always)]
    unsafe fn total(self) -> f32 {
        (self[0] + self[2]) + (self[1] + self[3])
    }
    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { self.store(to) };
    }
    #[inline(always)]
    unsafe fn fence() {}
    #[inline(always)]
    unsafe fn prefetch(_at: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_write(_at: *const f32) {}
    #[inline(always)]
    unsafe fn prefetch_far(_at: *const f32) {}
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86_vector {
    ($register:ident, $len:expr, $tile:expr, $splat:ident, $load:ident, $store:ident, $stream:ident,
     $fma:ident, $add:ident, $sub:ident, $mul:ident, $max:ident, $total:ident) => {
        impl Vector for std::arch::x86_64::$register {
            const LEN: usize = $len;
            const TILE: usize = $tile;
            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$splat(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { std::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { std::arch::x86_64::$store(to, self) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$fma(self, factor, sum) }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$add(self, other) }
            }
            #[inline(always)]
            unsafe fn sub(self, other: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$sub(self, other) }
            }
            #[inline(always)]
            unsafe fn mul(self, other: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$mul(self, other) }
            }
            #[inline(always)]
            unsafe fn max(self, other: Self) -> Self {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { std::arch::x86_64::$max(self, other) }
            }
            #[inline(always)]
            unsafe fn total(self) -> f32 {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { $total(self) }
            }
            #[inline(always)]
            unsafe fn stream(self, to: *mut f32) {
                // SAFETY: the caller vouches for the instruction set and the pointer.
                unsafe { std::arch::x86_64::$stream(to, self) }
            }
            #[inline(always)]
            unsafe fn fence() {
                // SAFETY: every processor with these vectors has it.
                unsafe { std::arch::x86_64::_mm_sfence() };
            }
            #[inline(always)]
            unsafe fn prefetch(at: *const f32) {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: any address may be asked for.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }
            #[inline(always)]
            unsafe fn prefetch_write(at: *const f32) {
                use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
                // SAFETY: any address may be asked for.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
            }
            #[inline(always)]
            unsafe fn prefetch_far(at: *const f32) {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                // SAFETY: any address may be asked for.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
            }
        }
    };
}

/// The sum of eight lanes, halves onto halves.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,fma")]
fn total_256(lanes: std::arch::x86_64::__m256) -> f32 {
    use std::arch::x86_64::*;
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of sixteen lanes, halves onto halves.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
fn total_512(lanes: std::arch::x86_64::__m512) -> f32 {
    use std::arch::x86_64::*;
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    total_256(_mm256_add_ps(_mm512_castps512_ps256(lanes), high))
}

#[cfg(target_arch = "x86_64")]
x86_vector!(
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
x86_vector!(
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

/// A computation that is written once for all instruction sets. `run` must be `#[inline(always)]`,
/// so that it is compiled for the caller's instruction set.
pub(super) trait Kernel {
    /// Computes with vectors `V`, `TILE` of which is `V::TILE`.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    unsafe fn run<V: Vector, const TILE: usize>(self);
}

/// A computation in ordinary code, which the compiler turns into vectors by itself. `run` must be
/// `#[inline(always)]`: a closure would be compiled for what every processor has.
pub(super) trait Plain {
    /// Computes.
    fn run(self);
}

/// Runs ordinary code compiled for `isa`.
///
/// # Panics
/// When the processor lacks `isa`.
pub(super) fn dispatch_plain(isa: Isa, plain: impl Plain) {
    struct Wrapped<P>(P);

    impl<P: Plain> Kernel for Wrapped<P> {
        #[inline(always)]
        unsafe fn run<V: Vector, const TILE: usize>(self) {
            self.0.run();
        }
    }

    dispatch(isa, Wrapped(plain));
}

/// Runs a kernel compiled for `isa`.
///
/// # Panics
/// When the processor lacks `isa`.
pub(super) fn dispatch(isa: Isa, kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{__m256, __m512};

        #[target_feature(enable = "avx512f")]
        fn avx512(kernel: impl Kernel) {
            // SAFETY: this function is only called where AVX-512 F is available.
            unsafe { kernel.run::<__m512, { <__m512 as Vector>::TILE }>() }
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2(kernel: impl Kernel) {
            // SAFETY: this function is only called where AVX2 and FMA are available.
            unsafe { kernel.run::<__m256, { <__m256 as Vector>::TILE }>() }
        }
        assert!(isa.is_available(), "this processor has no {isa}");
        match isa {
            // SAFETY: asserted above.
            Isa::Avx512 => return unsafe { avx512(kernel) },
            // SAFETY: asserted above.
            Isa::Avx2 => return unsafe { avx2(kernel) },
            Isa::Portable => {}
        }
    }
    // SAFETY: arrays need no instruction set.
    unsafe { kernel.run::<[f32; 4], { <[f32; 4] as Vector>::TILE }>() }
}
