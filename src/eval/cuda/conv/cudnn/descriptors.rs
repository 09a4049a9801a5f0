//! cuDNN's handle and descriptors, each with an owner.
#![expect(unsafe_code, reason = "calls of cuDNN")]

use std::ffi::c_int;

use cudarc::cudnn::result::{self, CudnnError};
use cudarc::cudnn::sys;

use super::super::super::driver::{Fault, FaultKind};
use super::super::super::kernels::Format;
use super::super::super::signature::Element;
use super::super::Geometry;
use crate::eval::Precision;

fn fault(call: &str, CudnnError(status): CudnnError) -> Fault {
    let remedy = remedy(status);
    // cuDNN 9 numbers its codes by category: 2xxx bad parameters, 3xxx not supported. Where it is
    // the installation that does not support something, another algorithm would give other bits
    // than the same GPU gives elsewhere.
    let kind = match status as u32 {
        _ if remedy.is_some() => FaultKind::Fatal,
        2000..4000 => FaultKind::Unsupported,
        4003..=4004 => FaultKind::OutOfMemory,
        _ => FaultKind::Fatal,
    };
    Fault::new(call, format!("{status:?}"), kind).with_remedy(remedy)
}

/// What helps where the reason is the installation, not the request.
fn remedy(status: sys::cudnnStatus_t) -> Option<&'static str> {
    use sys::cudnnStatus_t::{
        CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH as ARCHITECTURE,
        CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER as DRIVER,
        CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART as CUDA,
        CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING as PREREQUISITE,
        CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE as NO_PART,
        CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED as UNREADABLE_PART,
        CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH as OTHER_PART,
    };
    match status {
        DRIVER | CUDA => Some(
            "install a newer driver, or the cuDNN for the CUDA that this one supports (pip: \
             nvidia-cudnn-cu12), or use `--conv cublas`",
        ),
        ARCHITECTURE => Some(
            "install a version of cuDNN that supports this GPU (9.10 for CUDA 12 is the last one \
             for Volta, and new GPUs need new versions), or use `--conv cublas`",
        ),
        PREREQUISITE => Some(
            "install CUDA's run-time compiler, NVRTC, for the CUDA of cuDNN (pip: \
             nvidia-cuda-nvrtc-cu12, or nvidia-cuda-nvrtc for CUDA 13), or use `--conv cublas`",
        ),
        NO_PART | UNREADABLE_PART | OTHER_PART => Some(
            "install cuDNN again (pip: install --force-reinstall nvidia-cudnn-cu12 or -cu13), and \
             take others out of LD_LIBRARY_PATH, or use `--conv cublas`",
        ),
        _ => None,
    }
}

pub(super) fn check<T>(call: &str, result: Result<T, CudnnError>) -> Result<T, Fault> {
    result.map_err(|error| fault(call, error))
}

/// `None` where the library reports that it does not support the request. Any other failure is a
/// fault and no reason to choose another algorithm, because bits would depend on it.
pub(super) fn unless_refused<T>(
    call: &str,
    result: Result<T, CudnnError>,
) -> Result<Option<T>, Fault> {
    match check(call, result) {
        Ok(value) => Ok(Some(value)),
        Err(refused) if refused.kind == FaultKind::Unsupported => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Owners of cuDNN's objects, made by `$create` and destroyed once by `$destroy`. The result of
/// destroying is ignored: only a lost device returns an error, and nothing can be done about it.
macro_rules! owner {
    ($name:ident, $raw:ty, $create:path, $destroy:path) => {
        #[derive(Debug)]
        pub(super) struct $name(pub(super) $raw);

        impl $name {
            pub(super) fn new() -> Result<$name, Fault> {
                check(concat!("making a cuDNN ", stringify!($name)), $create()).map($name)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made in `new`, destroyed once.
                let _ = unsafe { $destroy(self.0) };
            }
        }
    };
}

owner!(Handle, sys::cudnnHandle_t, result::create_handle, result::destroy_handle);
owner!(
    Tensor,
    sys::cudnnTensorDescriptor_t,
    result::create_tensor_descriptor,
    result::destroy_tensor_descriptor
);
owner!(
    FilterShape,
    sys::cudnnFilterDescriptor_t,
    result::create_filter_descriptor,
    result::destroy_filter_descriptor
);
owner!(
    Convolution,
    sys::cudnnConvolutionDescriptor_t,
    result::create_convolution_descriptor,
    result::destroy_convolution_descriptor
);
owner!(
    Activation,
    sys::cudnnActivationDescriptor_t,
    result::create_activation_descriptor,
    sys::cudnnDestroyActivationDescriptor
);

pub(super) fn layout(format: Format) -> sys::cudnnTensorFormat_t {
    match format {
        Format::NchwF32 => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
        Format::NhwcF32 | Format::NhwcF16 => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
    }
}

pub(super) fn data_type(format: Format) -> sys::cudnnDataType_t {
    match format.element() {
        Element::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// Extents or strides in cuDNN's order: image, channel, row, column.
pub(super) fn four(values: [usize; 4]) -> Result<[c_int; 4], Fault> {
    let mut converted = [0; 4];
    for (to, from) in converted.iter_mut().zip(values) {
        *to = c_int::try_from(from).map_err(|_| {
            Fault::new("a tensor for cuDNN", format!("{from} is too long"), FaultKind::Unsupported)
        })?;
    }
    Ok(converted)
}

impl Tensor {
    pub(super) fn dense(format: Format, extents: [usize; 4]) -> Result<Tensor, Fault> {
        let tensor = Tensor::new()?;
        // SAFETY: the descriptor is alive.
        let set = unsafe {
            result::set_tensor4d_descriptor(
                tensor.0,
                layout(format),
                data_type(format),
                four(extents)?,
            )
        };
        check("cudnnSetTensor4dDescriptor", set)?;
        Ok(tensor)
    }

    /// `c` channels of a buffer that has `c_slot`.
    pub(super) fn part(
        format: Format,
        extents: [usize; 4],
        c_slot: usize,
    ) -> Result<Tensor, Fault> {
        let [_, _, h, w] = extents;
        let strides = match format {
            Format::NchwF32 => [c_slot * h * w, h * w, w, 1],
            Format::NhwcF32 | Format::NhwcF16 => [c_slot * h * w, 1, w * c_slot, c_slot],
        };
        let tensor = Tensor::new()?;
        // SAFETY: the descriptor is alive.
        let set = unsafe {
            result::set_tensor4d_descriptor_ex(
                tensor.0,
                data_type(format),
                four(extents)?,
                four(strides)?,
            )
        };
        check("cudnnSetTensor4dDescriptorEx", set)?;
        Ok(tensor)
    }
}

impl Activation {
    /// NaN must propagate, or an overflow in fp16 would disappear in the next layer. Not every
    /// algorithm heeds that.
    pub(super) fn of(mode: sys::cudnnActivationMode_t) -> Result<Activation, Fault> {
        let activation = Activation::new()?;
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        // SAFETY: the descriptor is alive.
        let set = unsafe { result::set_activation_descriptor(activation.0, mode, nan, 0.0) };
        check("cudnnSetActivationDescriptor", set)?;
        Ok(activation)
    }
}

impl Convolution {
    pub(super) fn square(geometry: &Geometry, precision: Precision) -> Result<Convolution, Fault> {
        let [pad, stride, ..] = four([geometry.window.pad, geometry.window.stride, 0, 0])?;
        let math = match precision {
            Precision::Fp32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            Precision::Tf32 => sys::cudnnMathType_t::CUDNN_DEFAULT_MATH,
            Precision::Fp16 => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let convolution = Convolution::new()?;
        // SAFETY: the descriptor is alive.
        let set = unsafe {
            result::set_convolution2d_descriptor(
                convolution.0,
                pad,
                pad,
                stride,
                stride,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )
        };
        check("cudnnSetConvolution2dDescriptor", set)?;
        // SAFETY: as above.
        let set = unsafe { result::set_convolution_math_type(convolution.0, math) };
        check("cudnnSetConvolutionMathType", set)?;
        Ok(convolution)
    }
}
