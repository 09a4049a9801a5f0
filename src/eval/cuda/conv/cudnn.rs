//! Convolution, bias and ReLU as one call of cuDNN.
//!
//! Strict fp32 runs in NCHW with FMA arithmetic, where cuDNN's fp32 kernels are at home; tensor
//! cores (tf32, fp16) want NHWC. The algorithm is the first that the library's heuristic names and
//! that is deterministic, within the workspace's bound, and of a kind that keeps the precision; if
//! the library then refuses it for the fused call, the next one. Where it refuses to write a part
//! of a buffer's channels, the output goes to scratch and is copied.
#![expect(unsafe_code, reason = "calls of cuDNN")]

mod descriptors;

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use cudarc::cudnn::{result, sys};
use sys::cudnnConvolutionFwdAlgo_t as Algorithm;

use self::descriptors::{
    Activation, Convolution, FilterShape, Handle, Tensor, check, data_type, four, layout,
    unless_refused,
};
use super::super::driver::{DevicePtr, Fault, FaultKind, Stream};
use super::super::kernels::Format;
use super::{
    Call, Conv, Engine, Geometry, Packed, WORKSPACE_BYTES_MAX, channels_last, rounded_up, to_bytes,
};
use crate::eval::Precision;
use crate::net::weights;

/// Algorithms that cuDNN has, as many as it may name.
const ALGORITHMS_MAX: usize = 8;
/// Parts of the workspace start at multiples of this.
const ALIGNMENT: usize = 256;

/// The engine.
#[derive(Debug)]
pub(in crate::eval::cuda) struct Cudnn {
    shared: Rc<Shared>,
}

/// What all convolutions use.
#[derive(Debug)]
struct Shared {
    handle: Handle,
    relu: Activation,
}

impl Cudnn {
    /// Makes a handle that works on `stream`, in the current context. The library must have been
    /// found complete: a missing part ends the process.
    pub(in crate::eval::cuda) fn new(stream: &Stream) -> Result<Cudnn, Fault> {
        let handle = Handle::new()?;
        // SAFETY: both are alive; cudarc's two names are one type of CUDA's.
        check("cudnnSetStream", unsafe { result::set_stream(handle.0, stream.handle().cast()) })?;
        let relu = Activation::new()?;
        // NaN must survive, or the overflow of a half would vanish in the next layer.
        // SAFETY: the descriptor is alive.
        let set = unsafe {
            result::set_activation_descriptor(
                relu.0,
                sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU,
                sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN,
                0.0,
            )
        };
        check("cudnnSetActivationDescriptor", set)?;
        Ok(Cudnn { shared: Rc::new(Shared { handle, relu }) })
    }
}

impl Engine for Cudnn {
    fn format(&self, precision: Precision) -> Format {
        match precision {
            Precision::Fp32 => Format::NchwF32,
            Precision::Tf32 => Format::NhwcF32,
            Precision::Fp16 => Format::NhwcF16,
        }
    }

    fn pack(&self, conv: &weights::Conv, c_in: usize, precision: Precision) -> Packed {
        let element = self.format(precision).element();
        let weight = match self.format(precision) {
            Format::NchwF32 => to_bytes(&conv.weight, element),
            Format::NhwcF32 | Format::NhwcF16 => {
                let area = conv.spec.kernel * conv.spec.kernel;
                to_bytes(&channels_last(conv, c_in, area * c_in), element)
            }
        };
        Packed { weight, bias: to_bytes(&conv.bias, element) }
    }

    fn prepare(&self, geometry: Geometry, precision: Precision) -> Result<Box<dyn Conv>, Fault> {
        let format = self.format(precision);
        Ok(Box::new(Fused::new(Rc::clone(&self.shared), geometry, format, precision)?))
    }
}

/// Where the output of the fused call goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    /// Where it belongs.
    Place,
    /// To scratch, from where it is copied.
    Scratch,
}

/// One way to run a convolution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Candidate {
    algorithm: Algorithm,
    target: Target,
    /// Workspace of the algorithm.
    bytes: usize,
}

/// A convolution of one shape.
#[derive(Debug)]
struct Fused {
    shared: Rc<Shared>,
    geometry: Geometry,
    format: Format,
    from: Tensor,
    filter: FilterShape,
    convolution: Convolution,
    bias: Tensor,
    /// Outputs where they belong, and in scratch.
    place: Tensor,
    scratch: Tensor,
    /// In the order in which they are tried.
    candidates: Vec<Candidate>,
    /// The first that the library did not refuse so far.
    chosen: Cell<usize>,
}

impl Fused {
    fn new(
        shared: Rc<Shared>,
        geometry: Geometry,
        format: Format,
        precision: Precision,
    ) -> Result<Fused, Fault> {
        let Geometry { from, out, h_out, w_out, window } = geometry;
        let outputs = [from.images, out.c, h_out, w_out];
        let filter = FilterShape::new()?;
        let shape = four([out.c, from.c, window.kernel, window.kernel])?;
        // SAFETY: the descriptor is alive.
        let set = unsafe {
            result::set_filter4d_descriptor(filter.0, data_type(format), layout(format), shape)
        };
        check("cudnnSetFilter4dDescriptor", set)?;
        let mut fused = Fused {
            shared,
            geometry,
            format,
            from: Tensor::dense(format, [from.images, from.c, from.h, from.w])?,
            filter,
            convolution: Convolution::square(&geometry, precision)?,
            bias: Tensor::dense(format, [1, out.c, 1, 1])?,
            place: match out.c == out.c_slot {
                // The library knows a whole tensor by its format, which strides may leave open.
                true => Tensor::dense(format, outputs)?,
                false => Tensor::part(format, outputs, out.c_slot)?,
            },
            scratch: Tensor::dense(format, outputs)?,
            candidates: Vec::new(),
            chosen: Cell::new(0),
        };
        fused.candidates = fused.candidates(precision)?;
        Ok(fused)
    }

    /// Ways to run it, most welcome first.
    fn candidates(&self, precision: Precision) -> Result<Vec<Candidate>, Fault> {
        let is_part = self.geometry.out.c != self.geometry.out.c_slot;
        let targets: &[Target] =
            if is_part { &[Target::Place, Target::Scratch] } else { &[Target::Place] };
        let mut candidates = Vec::new();
        for &target in targets {
            for algorithm in self.named(target, precision)? {
                let Some(bytes) = self.bytes(algorithm, target)? else { continue };
                if bytes <= WORKSPACE_BYTES_MAX {
                    candidates.push(Candidate { algorithm, target, bytes });
                }
            }
        }
        if candidates.is_empty() {
            let call = format!("a convolution of {:?}", self.geometry);
            let reason = "cuDNN has no algorithm for it";
            return Err(Fault::new(call, reason, FaultKind::Unsupported));
        }
        Ok(candidates)
    }

    /// Deterministic algorithms in the order of cuDNN's heuristic, then those that every version
    /// has. The heuristic is a table, not a measurement.
    fn named(&self, target: Target, precision: Precision) -> Result<Vec<Algorithm>, Fault> {
        use Algorithm::{
            CUDNN_CONVOLUTION_FWD_ALGO_GEMM as GEMM,
            CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM as IMPLICIT,
            CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM as PRECOMPUTED,
            CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD as WINOGRAD,
            CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD_NONFUSED as WINOGRAD_NONFUSED,
        };
        // FFT loses digits, and Winograd does in half; DIRECT is not there.
        let keeps_precision: &[Algorithm] = match precision {
            Precision::Fp32 => &[PRECOMPUTED, IMPLICIT, GEMM, WINOGRAD, WINOGRAD_NONFUSED],
            Precision::Tf32 | Precision::Fp16 => &[PRECOMPUTED, IMPLICIT],
        };
        let mut named: Vec<Algorithm> = Vec::new();
        // SAFETY: zeros are valid values of all fields.
        let mut performances: [sys::cudnnConvolutionFwdAlgoPerf_t; ALGORITHMS_MAX] =
            unsafe { std::mem::zeroed() };
        let mut count: c_int = 0;
        // SAFETY: descriptors are alive; cuDNN writes at most as many entries as asked for.
        let asked = unsafe {
            result::get_convolution_forward_algorithm(
                self.shared.handle.0,
                self.from.0,
                self.filter.0,
                self.convolution.0,
                self.output(target).0,
                ALGORITHMS_MAX as c_int,
                &raw mut count,
                performances.as_mut_ptr(),
            )
        };
        let asked = unless_refused("cudnnGetConvolutionForwardAlgorithm_v7", asked)?;
        let count = asked.map_or(0, |()| count as usize);
        for performance in performances.iter().take(count) {
            let is_good = performance.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && performance.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC;
            if is_good && keeps_precision.contains(&performance.algo) {
                named.push(performance.algo);
            }
        }
        named.extend([PRECOMPUTED, IMPLICIT]);
        // The heuristic names an algorithm once for each kind of arithmetic.
        let mut unique: Vec<Algorithm> = Vec::new();
        for algorithm in named {
            if !unique.contains(&algorithm) {
                unique.push(algorithm);
            }
        }
        Ok(unique)
    }

    fn output(&self, target: Target) -> &Tensor {
        match target {
            Target::Place => &self.place,
            Target::Scratch => &self.scratch,
        }
    }

    /// Workspace of an algorithm; `None` where the library refuses it.
    fn bytes(&self, algorithm: Algorithm, target: Target) -> Result<Option<usize>, Fault> {
        // SAFETY: descriptors are alive.
        let bytes = unsafe {
            result::get_convolution_forward_workspace_size(
                self.shared.handle.0,
                self.from.0,
                self.filter.0,
                self.convolution.0,
                self.output(target).0,
                algorithm,
            )
        };
        unless_refused("cudnnGetConvolutionForwardWorkspaceSize", bytes)
    }

    /// Bytes of the output without the gaps.
    fn dense_bytes(&self) -> usize {
        let Geometry { from, out, h_out, w_out, .. } = self.geometry;
        from.images * out.c * h_out * w_out * self.format.element().bytes()
    }

    /// The address of the part that is written.
    fn part(&self, dst: DevicePtr) -> DevicePtr {
        let Geometry { out, h_out, w_out, .. } = self.geometry;
        let elements = match self.format {
            Format::NchwF32 => out.c_first * h_out * w_out,
            Format::NhwcF32 | Format::NhwcF16 => out.c_first,
        };
        dst.offset(elements * self.format.element().bytes())
    }

    fn run_candidate(&self, candidate: Candidate, call: Call<'_>) -> Result<(), Fault> {
        let target = match candidate.target {
            Target::Place => self.part(call.dst),
            Target::Scratch => call.workspace.offset(rounded_up(candidate.bytes, ALIGNMENT)),
        };
        let output = self.output(candidate.target);
        let (one, zero) = (1.0f32, 0.0f32);
        let workspace = match candidate.bytes {
            0 => std::ptr::null_mut(),
            _ => call.workspace.as_mut_ptr(),
        };
        // SAFETY: the walk's buffers hold all images of the geometry, the workspace what
        // `workspace_bytes` says; descriptors and the two scalars are read before the call returns.
        // `z` is the output itself, times zero.
        let ran = unsafe {
            result::convolution_bias_activation_forward(
                self.shared.handle.0,
                (&raw const one).cast::<c_void>(),
                self.from.0,
                call.src.as_ptr(),
                self.filter.0,
                call.filter.weight.ptr().as_ptr(),
                self.convolution.0,
                candidate.algorithm,
                workspace,
                candidate.bytes,
                (&raw const zero).cast::<c_void>(),
                output.0,
                target.as_ptr(),
                self.bias.0,
                call.filter.bias.ptr().as_ptr(),
                self.shared.relu.0,
                output.0,
                target.as_mut_ptr(),
            )
        };
        let name = format!("cudnnConvolutionBiasActivationForward, {:?}", candidate.algorithm);
        check(&name, ran)?;
        match candidate.target {
            Target::Place => Ok(()),
            Target::Scratch => self.copy_to_place(call, target),
        }
    }

    fn copy_to_place(&self, call: Call<'_>, scratch: DevicePtr) -> Result<(), Fault> {
        let Geometry { from, out, h_out, w_out, .. } = self.geometry;
        let element = self.format.element().bytes();
        let positions = h_out * w_out;
        let (row, pitch, rows) = match self.format {
            Format::NchwF32 => (out.c * positions, out.c_slot * positions, from.images),
            Format::NhwcF32 | Format::NhwcF16 => (out.c, out.c_slot, from.images * positions),
        };
        let place = self.part(call.dst);
        // SAFETY: the source was written by the call before; the target is the walk's buffer.
        unsafe { call.stream.scatter(place, pitch * element, scratch, row * element, rows) }
    }
}

impl Conv for Fused {
    fn workspace_bytes(&self) -> usize {
        let bytes = |candidate: &Candidate| match candidate.target {
            Target::Place => candidate.bytes,
            Target::Scratch => rounded_up(candidate.bytes, ALIGNMENT) + self.dense_bytes(),
        };
        self.candidates.iter().map(bytes).max().unwrap_or(0)
    }

    fn run(&self, call: Call<'_>) -> Result<(), Fault> {
        loop {
            let chosen = self.chosen.get();
            let ran = self.run_candidate(self.candidates[chosen], call);
            let is_refused = ran.as_ref().is_err_and(|fault| fault.kind == FaultKind::Unsupported);
            if !is_refused || chosen + 1 == self.candidates.len() {
                return ran;
            }
            // What a library refuses once it refuses always: the choice stays deterministic.
            self.chosen.set(chosen + 1);
        }
    }
}
