//! Convolution, bias and ReLU as one call of cuDNN.
//!
//! Strict fp32 runs in NCHW with FMA arithmetic, for which cuDNN's fp32 kernels are made; tensor
//! cores (tf32, fp16) need NHWC. `variants` lists the algorithms to try, in order, with the number
//! of images per call. This module runs the first one that the library accepts. Where the library
//! cannot write a part of a buffer's channels, the output goes to scratch memory and is copied.
//! Where its ReLU loses NaN, ours follows instead. Windows of one position are products of cuBLAS,
//! where that is there: cuDNN's kernels for them take several times as long.
#![expect(unsafe_code, reason = "calls of cuDNN")]

mod descriptors;
mod variants;

use std::cell::RefCell;
use std::ffi::c_void;
use std::rc::Rc;

use cudarc::cudnn::sys;

use self::descriptors::{Activation, Convolution, FilterShape, Handle, Tensor, check, cudnn};
use self::variants::{Problem, Relu, Target, Variant};
use super::super::driver::{DeviceBuffer, DevicePtr, Fault, FaultKind, Stream};
use super::super::kernels::Format;
use super::{Call, Conv, Cublas, Engine, Geometry, Packing, is_pointwise, rounded_up};
use crate::eval::Precision;
use crate::eval::cuda::status::call;

/// Least scratch memory of a convolution, so that other variants fit if the library refuses the
/// first.
const WORKSPACE_BYTES: usize = 64 << 20;
/// Biases of zero: as many as the widest convolution has channels.
const ZEROS: usize = 512;
/// Compute capability of the first GPUs of Ampere.
const AMPERE: (i32, i32) = (8, 0);
/// Parts of the workspace start at multiples of this.
const ALIGNMENT: usize = 256;

/// The engine.
#[derive(Debug)]
pub(in crate::eval::cuda) struct Cudnn {
    shared: Rc<Shared>,
    /// For windows of one position.
    cublas: Option<Cublas>,
}

/// What all convolutions share.
#[derive(Debug)]
struct Shared {
    handle: Handle,
    relu: Activation,
    identity: Activation,
    /// Biases for our own ReLU, all zeros; f32.
    zeros: DeviceBuffer,
}

impl Cudnn {
    /// Makes a handle that works on `stream`, in the current context. The library must have been
    /// found complete: a missing part would end the process.
    pub(in crate::eval::cuda) fn new(
        stream: &Stream,
        cublas: Option<Cublas>,
    ) -> Result<Cudnn, Fault> {
        let handle = Handle::new()?;
        // SAFETY: both are alive; cudarc has two names for one type of CUDA.
        unsafe { cudnn!(cudnnSetStream(handle.0, stream.handle().cast()))? };
        let relu = Activation::of(sys::cudnnActivationMode_t::CUDNN_ACTIVATION_RELU)?;
        let identity = Activation::of(sys::cudnnActivationMode_t::CUDNN_ACTIVATION_IDENTITY)?;
        let zeros = DeviceBuffer::new(ZEROS * size_of::<f32>())?;
        // SAFETY: the buffer is kept until that is done, even if queueing failed.
        unsafe { stream.zero(zeros.ptr(), zeros.len_bytes()) }.and(stream.synchronize())?;
        Ok(Cudnn { shared: Rc::new(Shared { handle, relu, identity, zeros }), cublas })
    }
}

/// The input has the number of channels with which cuDNN's kernels for a first layer are fastest.
/// Those for four channels of halves came with Ampere; Volta's and Turing's take whole vectors.
pub(super) fn packing(precision: Precision, capability: (i32, i32)) -> Packing {
    let format = format(precision);
    let input_channels = match precision {
        Precision::Fp32 | Precision::Tf32 => 3,
        Precision::Fp16 if capability < AMPERE => 8,
        Precision::Fp16 => 4,
    };
    let bias = format.element();
    Packing { format, input_channels, row_unit: 1, bias, pointwise_bias: bias }
}

fn format(precision: Precision) -> Format {
    match precision {
        Precision::Fp32 => Format::NchwF32,
        Precision::Tf32 => Format::NhwcF32,
        Precision::Fp16 => Format::NhwcF16,
    }
}

impl Engine for Cudnn {
    fn prepare(&self, geometry: Geometry, precision: Precision) -> Result<Box<dyn Conv>, Fault> {
        let format = format(precision);
        match &self.cublas {
            Some(cublas) if is_pointwise(geometry.window.kernel, geometry.from.c) => {
                return Ok(cublas.pointwise(geometry, precision, format));
            }
            _ => {}
        }
        Ok(Box::new(Fused::new(Rc::clone(&self.shared), geometry, format, precision)?))
    }
}

/// A convolution of one shape.
#[derive(Debug)]
struct Fused {
    problem: Problem,
    bias: Tensor,
    /// The variant that runs, and the candidates that were not tried yet.
    variant: RefCell<Variant>,
    remaining: RefCell<std::vec::IntoIter<variants::Candidate>>,
    workspace_bytes: usize,
}

impl Fused {
    fn new(
        shared: Rc<Shared>,
        geometry: Geometry,
        format: Format,
        precision: Precision,
    ) -> Result<Fused, Fault> {
        let Geometry { from, out, window, .. } = geometry;
        let extents = [out.c, from.c, window.kernel, window.kernel];
        let filter = FilterShape::square(format, extents)?;
        let convolution = Convolution::square(&geometry, precision)?;
        let problem = Problem { shared, filter, convolution, geometry, format };
        let mut remaining = problem.candidates(precision)?.into_iter();
        let variant =
            problem.next(&mut remaining, variants::WORKSPACE_BYTES_MAX)?.ok_or_else(|| {
                let call = format!("a convolution of {geometry:?}");
                Fault::new(call, "cuDNN has no algorithm for it", FaultKind::Unsupported)
            })?;
        let bias = Tensor::dense(format, [1, out.c, 1, 1])?;
        Ok(Fused {
            problem,
            bias,
            workspace_bytes: variant.workspace_bytes().max(WORKSPACE_BYTES),
            variant: RefCell::new(variant),
            remaining: RefCell::new(remaining),
        })
    }

    /// The address of the channels that are written.
    fn part(&self, dst: DevicePtr) -> DevicePtr {
        let Geometry { out, h_out, w_out, .. } = self.problem.geometry;
        let elements = match self.problem.format {
            Format::NchwF32 => out.c_first * h_out * w_out,
            Format::NhwcF32 | Format::NhwcF16 => out.c_first,
        };
        dst.offset(elements * self.problem.format.element().bytes())
    }

    fn forward_all(&self, variant: &Variant, call: Call<'_>) -> Result<(), Fault> {
        let Geometry { from, out, h_out, w_out, .. } = self.problem.geometry;
        let element = self.problem.format.element().bytes();
        let (src_bytes, dst_bytes) =
            (element * from.c * from.h * from.w, element * out.c_slot * h_out * w_out);
        for first in (0..from.images).step_by(variant.images) {
            let src = call.src.offset(first * src_bytes);
            let place = self.part(call.dst).offset(first * dst_bytes);
            match variant.target {
                Target::Place => self.forward(variant, call, src, place)?,
                Target::Scratch => {
                    let scratch = call.workspace.offset(rounded_up(variant.bytes, ALIGNMENT));
                    self.forward(variant, call, src, scratch)?;
                    self.copy_to_place(variant.images, call.stream, place, scratch)?;
                }
            }
        }
        match variant.relu {
            Relu::Fused => Ok(()),
            Relu::Ours => {
                let (format, all) = (self.problem.format, (from.images, h_out * w_out));
                let zeros = self.problem.shared.zeros.ptr();
                call.kernels.bias_relu(call.stream, format, call.dst, zeros, all, out)
            }
        }
    }

    fn forward(
        &self,
        variant: &Variant,
        call: Call<'_>,
        src: DevicePtr,
        target: DevicePtr,
    ) -> Result<(), Fault> {
        let (one, zero) = (1.0f32, 0.0f32);
        let workspace = match variant.bytes {
            0 => std::ptr::null_mut(),
            _ => call.workspace.as_mut_ptr(),
        };
        let activation = match variant.relu {
            Relu::Fused => &self.problem.shared.relu,
            Relu::Ours => &self.problem.shared.identity,
        };
        // SAFETY: the walk's buffers hold all images of the geometry, the workspace what
        // `workspace_bytes` says; descriptors and the two scalars are read before the call returns.
        // `z` is the output itself, multiplied by zero.
        let status = unsafe {
            call!(sys::cudnnConvolutionBiasActivationForward(
                self.problem.shared.handle.0,
                (&raw const one).cast::<c_void>(),
                variant.from.0,
                src.as_ptr(),
                self.problem.filter.0,
                call.filter.weight.as_ptr(),
                self.problem.convolution.0,
                variant.algorithm,
                workspace,
                variant.bytes,
                (&raw const zero).cast::<c_void>(),
                variant.output.0,
                target.as_ptr(),
                self.bias.0,
                call.filter.bias.as_ptr(),
                activation.0,
                variant.output.0,
                target.as_mut_ptr(),
            ))
        };
        let name = format!("cudnnConvolutionBiasActivationForward, {:?}", variant.algorithm);
        check(&name, status)
    }

    fn copy_to_place(
        &self,
        images: usize,
        stream: &Stream,
        place: DevicePtr,
        scratch: DevicePtr,
    ) -> Result<(), Fault> {
        let Geometry { out, h_out, w_out, .. } = self.problem.geometry;
        let element = self.problem.format.element().bytes();
        let positions = h_out * w_out;
        let (row, pitch, rows) = match self.problem.format {
            Format::NchwF32 => (out.c * positions, out.c_slot * positions, images),
            Format::NhwcF32 | Format::NhwcF16 => (out.c, out.c_slot, images * positions),
        };
        // SAFETY: the previous call wrote the source; the target is a buffer of the walk.
        unsafe {
            let (target, source) = ((place, pitch * element), (scratch, row * element));
            stream.copy_rows(target, source, row * element, rows)
        }
    }
}

impl Conv for Fused {
    fn workspace_bytes(&self) -> usize {
        self.workspace_bytes
    }

    fn run(&self, call: Call<'_>) -> Result<(), Fault> {
        self.forward_all(&self.variant.borrow(), call)
    }

    fn switch_to_next(&self) -> Result<bool, Fault> {
        let next = self.problem.next(&mut *self.remaining.borrow_mut(), self.workspace_bytes)?;
        Ok(next.map(|variant| *self.variant.borrow_mut() = variant).is_some())
    }
}
