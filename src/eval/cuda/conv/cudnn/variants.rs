//! The variants in which cuDNN can compute a convolution, in order of preference: an algorithm, the
//! number of images per call, and where the output goes.
//!
//! In strict fp32, 3x3 windows use Winograd, which is several times as fast as matrix products and
//! exact enough for what is promised, on enough positions to employ a GPU. Other windows use what
//! the library's heuristic (a table, not a measurement) names, if it is deterministic and keeps the
//! precision. One algorithm alone uses tensor cores. Then follow matrix products on fewer images at
//! a time: a kernel may treat images differently by their position in the batch, for example when
//! it splits the sums of the last tiles to use all processors, but a single image has no position
//! to depend on. The slowest variant comes last, but for half precision: there the matrix products
//! come once more without the library's ReLU, in case that it loses NaN, to which overflows lead.
#![expect(unsafe_code, reason = "calls of cuDNN")]

use std::ffi::c_int;
use std::rc::Rc;

use cudarc::cudnn::sys;
use sys::cudnnConvolutionFwdAlgo_t as Algorithm;
use sys::cudnnConvolutionFwdAlgo_t::{
    CUDNN_CONVOLUTION_FWD_ALGO_GEMM as GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM as IMPLICIT,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as PRECOMPUTED,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD as WINOGRAD,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED as WINOGRAD_NONFUSED,
};

use super::super::{Geometry, rounded_up};
use super::descriptors::{Convolution, FilterShape, Tensor, check, cudnn, is_supported};
use super::{ALIGNMENT, Shared};
use crate::eval::Precision;
use crate::eval::cuda::driver::Fault;
use crate::eval::cuda::kernels::{Format, Window};
use crate::eval::cuda::status::call;

/// Limit for the scratch memory of one convolution, independent of free memory: enough for Winograd
/// on a large part of a micro-batch.
pub(super) const WORKSPACE_BYTES_MAX: usize = 1 << 30;
/// Fewest images of a call of Winograd, and fewest positions of a call with fewer images: below,
/// its products are too small to employ a GPU, and other algorithms are faster.
const WINOGRAD_IMAGES_MIN: usize = 8;
const WINOGRAD_POSITIONS_MIN: usize = WINOGRAD_IMAGES_MIN * 64 * 64;
/// Largest number of algorithms that cuDNN may name: as many as it has.
const ALGORITHMS_MAX: usize = 8;

/// Where the output of the fused call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// To its place in the buffer.
    Place,
    /// To scratch memory, from where it is copied.
    Scratch,
}

/// What follows convolution and bias.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Relu {
    /// The library's, in the same call.
    Fused,
    /// Our own, in a launch of its own.
    Ours,
}

/// A variant to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Candidate {
    /// Images per call, a divisor of the geometry's images.
    images: usize,
    algorithm: Algorithm,
    target: Target,
    relu: Relu,
}

/// A variant that the library supports.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) images: usize,
    pub(super) algorithm: Algorithm,
    pub(super) target: Target,
    pub(super) relu: Relu,
    /// Workspace of the algorithm.
    pub(super) bytes: usize,
    /// Inputs and outputs of one call.
    pub(super) from: Tensor,
    pub(super) output: Tensor,
    /// Bytes of the outputs in scratch memory.
    scratch_bytes: usize,
}

impl Variant {
    /// Bytes of the algorithm's workspace, and of outputs that go to scratch memory.
    pub(super) fn workspace_bytes(&self) -> usize {
        match self.target {
            Target::Place => self.bytes,
            Target::Scratch => rounded_up(self.bytes, ALIGNMENT) + self.scratch_bytes,
        }
    }
}

/// The convolution, as the library is asked about it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) shared: Rc<Shared>,
    pub(super) filter: FilterShape,
    pub(super) convolution: Convolution,
    pub(super) geometry: Geometry,
    pub(super) format: Format,
}

/// Divisors of `images`, the largest first.
fn divisors(images: usize) -> impl Iterator<Item = usize> {
    (1..=images).rev().filter(move |&divisor| images.is_multiple_of(divisor))
}

/// Numbers of images per call of Winograd for outputs of so many positions, the largest first.
fn winograd_images(images: usize, positions: usize) -> impl Iterator<Item = usize> {
    let is_worth_it = move |&count: &usize| {
        count == images
            || count >= WINOGRAD_IMAGES_MIN
            || count * positions >= WINOGRAD_POSITIONS_MIN
    };
    divisors(images).filter(is_worth_it)
}

impl Problem {
    /// All candidates in order of preference.
    pub(super) fn candidates(&self, precision: Precision) -> Result<Vec<Candidate>, Fault> {
        let Geometry { from, window, h_out, w_out, .. } = self.geometry;
        let mut order: Vec<(usize, Algorithm)> = Vec::new();
        if precision == Precision::Fp32 && matches!(window, Window { kernel: 3, stride: 1, .. }) {
            let images = winograd_images(from.images, h_out * w_out);
            order.extend(images.map(|images| (images, WINOGRAD_NONFUSED)));
        }
        if precision == Precision::Fp32 {
            order.extend(self.named()?.into_iter().map(|algorithm| (from.images, algorithm)));
        }
        order.extend(divisors(from.images).map(|images| (images, PRECOMPUTED)));
        order.extend([(from.images, IMPLICIT), (1, IMPLICIT)]);
        let mut order: Vec<(usize, Algorithm, Relu)> =
            order.into_iter().map(|(images, algorithm)| (images, algorithm, Relu::Fused)).collect();
        if precision == Precision::Fp16 {
            // The only algorithm that cuDNN documents without an activation.
            order.extend(divisors(from.images).map(|images| (images, PRECOMPUTED, Relu::Ours)));
        }
        let is_part = self.geometry.out.c != self.geometry.out.c_slot;
        let targets: &[Target] =
            if is_part { &[Target::Place, Target::Scratch] } else { &[Target::Place] };
        let with_targets = |(images, algorithm, relu)| {
            targets.iter().map(move |&target| Candidate { images, algorithm, target, relu })
        };
        Ok(order.into_iter().flat_map(with_targets).collect())
    }

    /// The first of the `candidates` that the library supports with at most `bytes_max` of
    /// workspace.
    pub(super) fn next(
        &self,
        candidates: &mut impl Iterator<Item = Candidate>,
        bytes_max: usize,
    ) -> Result<Option<Variant>, Fault> {
        for candidate in candidates {
            if let Some(variant) =
                self.variant(candidate)?.filter(|variant| variant.workspace_bytes() <= bytes_max)
            {
                return Ok(Some(variant));
            }
        }
        Ok(None)
    }

    /// The variant of a candidate, or `None` if the library does not support it.
    fn variant(&self, candidate: Candidate) -> Result<Option<Variant>, Fault> {
        let Candidate { images, algorithm, target, relu } = candidate;
        let Geometry { out, h_out, w_out, .. } = self.geometry;
        let (from, output) = self.tensors(images, target)?;
        let mut bytes = 0;
        // SAFETY: descriptors are alive; cuDNN writes one integer.
        let asked = unsafe {
            cudnn!(cudnnGetConvolutionForwardWorkspaceSize(
                self.shared.handle.0,
                from.0,
                self.filter.0,
                self.convolution.0,
                output.0,
                algorithm,
                &raw mut bytes,
            ))
        };
        let scratch_bytes = images * out.c * h_out * w_out * self.format.element().bytes();
        Ok(is_supported(asked)?.then_some(Variant {
            images,
            algorithm,
            target,
            relu,
            bytes,
            from,
            output,
            scratch_bytes,
        }))
    }

    /// Inputs and outputs of a call with this many images.
    fn tensors(&self, images: usize, target: Target) -> Result<(Tensor, Tensor), Fault> {
        let Geometry { from, out, h_out, w_out, .. } = self.geometry;
        let outputs = [images, out.c, h_out, w_out];
        // A whole tensor is described by its format: strides alone may be ambiguous.
        let output = match target {
            Target::Place if out.c != out.c_slot => Tensor::part(self.format, outputs, out.c_slot)?,
            _ => Tensor::dense(self.format, outputs)?,
        };
        Ok((Tensor::dense(self.format, [images, from.c, from.h, from.w])?, output))
    }

    /// Deterministic algorithms for strict fp32 in the order of cuDNN's heuristic for all images.
    fn named(&self) -> Result<Vec<Algorithm>, Fault> {
        // FFT loses precision, as does Winograd with 5x5 windows; cuDNN does not implement DIRECT.
        let keeps_precision = [PRECOMPUTED, IMPLICIT, GEMM, WINOGRAD];
        let mut named: Vec<Algorithm> = Vec::new();
        let mut found = [Performance::default(); ALGORITHMS_MAX];
        let mut count: c_int = 0;
        let (from, output) = self.tensors(self.geometry.from.images, Target::Scratch)?;
        // SAFETY: descriptors are alive; cuDNN writes at most as many entries as asked for, which
        // have this layout.
        let asked = unsafe {
            cudnn!(cudnnGetConvolutionForwardAlgorithm_v7(
                self.shared.handle.0,
                from.0,
                self.filter.0,
                self.convolution.0,
                output.0,
                ALGORITHMS_MAX as c_int,
                &raw mut count,
                found.as_mut_ptr().cast(),
            ))
        };
        let count = if is_supported(asked)? { count as usize } else { 0 };
        for performance in found.iter().take(count).filter(|performance| performance.is_good()) {
            let is_this = |algorithm: &Algorithm| *algorithm as c_int == performance.algorithm;
            // The heuristic may name an algorithm once for each kind of arithmetic.
            let known = keeps_precision.into_iter().find(is_this);
            named.extend(known.filter(|algorithm| !named.contains(algorithm)));
        }
        Ok(named)
    }
}

/// An entry of cuDNN's heuristic, with integers where cudarc has enums: a newer library may know
/// other values.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Performance {
    algorithm: c_int,
    status: c_int,
    _time: f32,
    _memory: usize,
    determinism: c_int,
    _math: c_int,
    _reserved: [c_int; 3],
}

const _: () = assert!(size_of::<Performance>() == size_of::<sys::cudnnConvolutionFwdAlgoPerf_t>());

impl Performance {
    /// Whether the algorithm can be used, and is deterministic.
    fn is_good(&self) -> bool {
        self.status == 0
            && self.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC as c_int
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_end_with_one_image_at_a_time() {
        assert_eq!(divisors(12).collect::<Vec<_>>(), [12, 6, 4, 3, 2, 1]);
        assert_eq!(divisors(1).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn winograd_computes_several_small_maps_at_once() {
        let images = |all, side: usize| winograd_images(all, side * side).collect::<Vec<_>>();
        assert_eq!(images(32, 16), [32, 16, 8]);
        assert_eq!(images(32, 128), [32, 16, 8, 4, 2]);
        assert_eq!(images(4, 16), [4]);
        assert_eq!(images(2, 1024), [2, 1]);
    }
}
