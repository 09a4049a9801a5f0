//! In which ways cuDNN may compute a convolution, most welcome first.
//!
//! Strict fp32 takes Winograd for 3x3 windows, several times as fast as its products of matrices
//! and as exact as is promised; other windows take what the library's heuristic (a table, not a
//! measurement) names, as long as it is deterministic and keeps the precision. Tensor cores are
//! used by one algorithm alone. Then follow products on fewer images at a time: a kernel may treat
//! the images of a batch according to their place, as where the last tiles' sums are cut to employ
//! all processors; with one image at a time there is no place. The slowest comes last.
#![expect(unsafe_code, reason = "calls of cuDNN")]

use std::ffi::c_int;
use std::rc::Rc;

use cudarc::cudnn::{result, sys};
use sys::cudnnConvolutionFwdAlgo_t as Algorithm;
use sys::cudnnConvolutionFwdAlgo_t::{
    CUDNN_CONVOLUTION_FWD_ALGO_GEMM as GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM as IMPLICIT,
    CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as PRECOMPUTED,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD as WINOGRAD,
    CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED as WINOGRAD_NONFUSED,
};

use super::super::{Geometry, rounded_up};
use super::descriptors::{Convolution, FilterShape, Tensor, unless_refused};
use super::{ALIGNMENT, Shared};
use crate::eval::Precision;
use crate::eval::cuda::driver::Fault;
use crate::eval::cuda::kernels::{Format, Window};

/// Scratch memory of one convolution stays below this, whatever is free: enough for Winograd on a
/// good part of a micro-batch.
pub(super) const WORKSPACE_BYTES_MAX: usize = 1 << 30;
/// Algorithms that cuDNN has, as many as it may name.
const ALGORITHMS_MAX: usize = 8;

/// Where the output of the fused call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// Where it belongs.
    Place,
    /// To scratch, from where it is copied.
    Scratch,
}

/// A way that may be tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    /// At a time; they divide the geometry's.
    images: usize,
    algorithm: Algorithm,
    target: Target,
}

/// A way that the library says it has.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) images: usize,
    pub(super) algorithm: Algorithm,
    pub(super) target: Target,
    /// Workspace of the algorithm.
    pub(super) bytes: usize,
    /// Inputs and outputs of one call.
    pub(super) from: Tensor,
    pub(super) output: Tensor,
    /// Of the outputs in scratch.
    scratch_bytes: usize,
}

impl Way {
    /// Of the algorithm, and outputs that go to scratch.
    pub(super) fn workspace_bytes(&self) -> usize {
        match self.target {
            Target::Place => self.bytes,
            Target::Scratch => rounded_up(self.bytes, ALIGNMENT) + self.scratch_bytes,
        }
    }
}

/// What the library is asked about.
#[derive(Debug)]
pub(super) struct Subject {
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

impl Subject {
    /// All ways, most welcome first. The last treats every image alike by its nature.
    pub(super) fn attempts(&self, precision: Precision) -> Result<Vec<Attempt>, Fault> {
        let Geometry { from, window, .. } = self.geometry;
        let mut order: Vec<(usize, Algorithm)> = Vec::new();
        if precision == Precision::Fp32 && matches!(window, Window { kernel: 3, stride: 1, .. }) {
            order.extend(divisors(from.images).map(|images| (images, WINOGRAD_NONFUSED)));
        }
        if precision == Precision::Fp32 {
            order.extend(self.named()?.into_iter().map(|algorithm| (from.images, algorithm)));
        }
        order.extend(divisors(from.images).map(|images| (images, PRECOMPUTED)));
        order.extend([(from.images, IMPLICIT), (1, IMPLICIT)]);
        let is_part = self.geometry.out.c != self.geometry.out.c_slot;
        let targets: &[Target] =
            if is_part { &[Target::Place, Target::Scratch] } else { &[Target::Place] };
        let with_targets = |(images, algorithm)| {
            targets.iter().map(move |&target| Attempt { images, algorithm, target })
        };
        Ok(order.into_iter().flat_map(with_targets).collect())
    }

    /// The first of the `attempts` that the library has and that needs no more than `bytes_max`.
    pub(super) fn next(
        &self,
        attempts: &mut impl Iterator<Item = Attempt>,
        bytes_max: usize,
    ) -> Result<Option<Way>, Fault> {
        for attempt in attempts {
            if let Some(way) = self.way(attempt)?.filter(|way| way.workspace_bytes() <= bytes_max) {
                return Ok(Some(way));
            }
        }
        Ok(None)
    }

    /// `None` where the library refuses it.
    fn way(&self, attempt: Attempt) -> Result<Option<Way>, Fault> {
        let Attempt { images, algorithm, target } = attempt;
        let Geometry { out, h_out, w_out, .. } = self.geometry;
        let (from, output) = self.tensors(images, target)?;
        // SAFETY: descriptors are alive.
        let bytes = unsafe {
            result::get_convolution_forward_workspace_size(
                self.shared.handle.0,
                from.0,
                self.filter.0,
                self.convolution.0,
                output.0,
                algorithm,
            )
        };
        let bytes = unless_refused("cudnnGetConvolutionForwardWorkspaceSize", bytes)?;
        let scratch_bytes = images * out.c * h_out * w_out * self.format.element().bytes();
        Ok(bytes.map(|bytes| Way { images, algorithm, target, bytes, from, output, scratch_bytes }))
    }

    /// Inputs and outputs of a call with so many images.
    fn tensors(&self, images: usize, target: Target) -> Result<(Tensor, Tensor), Fault> {
        let Geometry { from, out, h_out, w_out, .. } = self.geometry;
        let outputs = [images, out.c, h_out, w_out];
        // The library knows a whole tensor by its format, which strides may leave open.
        let output = match target {
            Target::Place if out.c != out.c_slot => Tensor::part(self.format, outputs, out.c_slot)?,
            _ => Tensor::dense(self.format, outputs)?,
        };
        Ok((Tensor::dense(self.format, [images, from.c, from.h, from.w])?, output))
    }

    /// Deterministic algorithms for strict fp32 in the order of cuDNN's heuristic for all images.
    fn named(&self) -> Result<Vec<Algorithm>, Fault> {
        // FFT loses digits, as Winograd does with windows of 5x5; DIRECT is not there.
        let keeps_precision = [PRECOMPUTED, IMPLICIT, GEMM, WINOGRAD];
        let mut named: Vec<Algorithm> = Vec::new();
        // SAFETY: zeros are valid values of all fields.
        let mut performances: [sys::cudnnConvolutionFwdAlgoPerf_t; ALGORITHMS_MAX] =
            unsafe { std::mem::zeroed() };
        let mut count: c_int = 0;
        let (from, output) = self.tensors(self.geometry.from.images, Target::Scratch)?;
        // SAFETY: descriptors are alive; cuDNN writes at most as many entries as asked for.
        let asked = unsafe {
            result::get_convolution_forward_algorithm(
                self.shared.handle.0,
                from.0,
                self.filter.0,
                self.convolution.0,
                output.0,
                ALGORITHMS_MAX as c_int,
                &raw mut count,
                performances.as_mut_ptr(),
            )
        };
        let asked = unless_refused("cudnnGetConvolutionForwardAlgorithm_v7", asked)?;
        let count = asked.map_or(0, |()| count as usize);
        for performance in performances.iter().take(count) {
            let is_good = performance.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && performance.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                // One may be named once for each kind of arithmetic.
                && !named.contains(&performance.algo);
            if is_good && keeps_precision.contains(&performance.algo) {
                named.push(performance.algo);
            }
        }
        Ok(named)
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
}
