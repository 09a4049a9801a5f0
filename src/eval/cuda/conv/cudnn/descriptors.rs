//! cuDNN's handle and descriptors, each with an owner.
#![expect(unsafe_code, reason = "calls of cuDNN")]

use std::ffi::c_int;

use cudarc::cudnn::sys::{self, cudnnStatus_t};

use super::super::super::driver::{Fault, FaultKind};
use super::super::super::kernels::Format;
use super::super::super::signature::Element;
use super::super::Geometry;
use crate::eval::Precision;
use crate::eval::cuda::status::{call, named};

/// Names the call and its status in the error.
pub(super) fn check(call: &str, status: c_int) -> Result<(), Fault> {
    let remedy = remedy(status);
    // cuDNN 9 numbers its codes by category: 2xxx bad parameters, 3xxx not supported. Where it is
    // the installation that does not support something, another algorithm would give other bits
    // than the same GPU gives elsewhere.
    let kind = match status {
        0 => return Ok(()),
        _ if remedy.is_some() => FaultKind::Fatal,
        2000..4000 => FaultKind::Unsupported,
        4003..=4004 => FaultKind::OutOfMemory,
        _ => FaultKind::Fatal,
    };
    // SAFETY: that is what the function takes and returns.
    let reason = unsafe { named(sys::culib(), "cudnnGetErrorString", status) };
    Err(Fault::new(call, reason, kind).with_remedy(remedy))
}

/// Calls a function of cuDNN, and names it in the error.
macro_rules! cudnn {
    ($name:ident($($argument:expr),* $(,)?)) => {
        check(stringify!($name), call!(sys::$name($($argument),*)))
    };
}
pub(super) use cudnn;

/// What helps where the reason is the installation, not the request.
fn remedy(status: c_int) -> Option<&'static str> {
    use cudnnStatus_t as Status;
    const DRIVER: c_int = Status::CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER as c_int;
    const CUDA: c_int = Status::CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART as c_int;
    const ARCHITECTURE: c_int = Status::CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH as c_int;
    const PREREQUISITE: c_int =
        Status::CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING as c_int;
    const NO_PART: c_int = Status::CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE as c_int;
    const UNREADABLE_PART: c_int = Status::CUDNN_STATUS_SUBLIBRARY_LOADING_FAILED as c_int;
    const OTHER_PART: c_int = Status::CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH as c_int;
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

/// False where the library reports that it does not support the request. Any other failure is a
/// fault and no reason to choose another algorithm, because bits would depend on it.
pub(super) fn is_supported(checked: Result<(), Fault>) -> Result<bool, Fault> {
    match checked {
        Err(refused) if refused.kind == FaultKind::Unsupported => Ok(false),
        checked => checked.map(|()| true),
    }
}

/// Owners of cuDNN's objects, made by `$create` and destroyed once by `$destroy`. The result of
/// destroying is ignored: only a lost device returns an error, and nothing can be done about it.
macro_rules! owner {
    ($name:ident, $raw:ident, $create:ident, $destroy:ident) => {
        #[derive(Debug)]
        pub(super) struct $name(pub(super) sys::$raw);

        impl $name {
            pub(super) fn new() -> Result<$name, Fault> {
                let mut made = std::ptr::null_mut();
                // SAFETY: cuDNN writes one handle, which is destroyed in drop.
                unsafe { cudnn!($create(&raw mut made))? };
                Ok($name(made))
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: made in `new`, destroyed once.
                let _ = unsafe { call!(sys::$destroy(self.0)) };
            }
        }
    };
}

owner!(Handle, cudnnHandle_t, cudnnCreate, cudnnDestroy);
owner!(Tensor, cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor);
owner!(
    FilterShape,
    cudnnFilterDescriptor_t,
    cudnnCreateFilterDescriptor,
    cudnnDestroyFilterDescriptor
);
owner!(
    Convolution,
    cudnnConvolutionDescriptor_t,
    cudnnCreateConvolutionDescriptor,
    cudnnDestroyConvolutionDescriptor
);
owner!(
    Activation,
    cudnnActivationDescriptor_t,
    cudnnCreateActivationDescriptor,
    cudnnDestroyActivationDescriptor
);

fn layout(format: Format) -> sys::cudnnTensorFormat_t {
    match format {
        Format::NchwF32 => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW,
        Format::NhwcF32 | Format::NhwcF16 => sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC,
    }
}

fn data_type(format: Format) -> sys::cudnnDataType_t {
    match format.element() {
        Element::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        _ => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
    }
}

/// Extents or strides in cuDNN's order: image, channel, row, column.
fn four(values: [usize; 4]) -> Result<[c_int; 4], Fault> {
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
        let (layout, kind, [n, c, h, w]) = (layout(format), data_type(format), four(extents)?);
        // SAFETY: the descriptor is alive.
        unsafe { cudnn!(cudnnSetTensor4dDescriptor(tensor.0, layout, kind, n, c, h, w))? };
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
        let (kind, [n, c, h, w], [ns, cs, hs, ws]) =
            (data_type(format), four(extents)?, four(strides)?);
        // SAFETY: the descriptor is alive.
        unsafe {
            cudnn!(cudnnSetTensor4dDescriptorEx(tensor.0, kind, n, c, h, w, ns, cs, hs, ws))?;
        }
        Ok(tensor)
    }
}

impl FilterShape {
    /// Weights (output, input, row, column), in the order of the format.
    pub(super) fn square(format: Format, extents: [usize; 4]) -> Result<FilterShape, Fault> {
        let filter = FilterShape::new()?;
        let (kind, layout, [k, c, h, w]) = (data_type(format), layout(format), four(extents)?);
        // SAFETY: the descriptor is alive.
        unsafe { cudnn!(cudnnSetFilter4dDescriptor(filter.0, kind, layout, k, c, h, w))? };
        Ok(filter)
    }
}

impl Activation {
    /// NaN must propagate, or an overflow in fp16 would disappear in the next layer. Not every
    /// algorithm heeds that.
    pub(super) fn of(mode: sys::cudnnActivationMode_t) -> Result<Activation, Fault> {
        let activation = Activation::new()?;
        let nan = sys::cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN;
        // SAFETY: the descriptor is alive.
        unsafe { cudnn!(cudnnSetActivationDescriptor(activation.0, mode, nan, 0.0))? };
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
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        let convolution = Convolution::new()?;
        // SAFETY: the descriptor is alive.
        unsafe {
            cudnn!(cudnnSetConvolution2dDescriptor(
                convolution.0,
                pad,
                pad,
                stride,
                stride,
                1,
                1,
                mode,
                sums,
            ))?;
            cudnn!(cudnnSetConvolutionMathType(convolution.0, math))?;
        }
        Ok(convolution)
    }
}
