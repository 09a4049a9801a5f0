//! Convolution as matrix products of cuBLAS: all of them on machines without cuDNN, and beside
//! cuDNN those with windows of one position, which already are products (`pointwise`). For others,
//! im2col first writes a matrix of patches (`patches`).
//!
//! Every image is a separate product within a batched call of fixed size, so that its result does
//! not depend on its position in the micro-batch.
#![expect(unsafe_code, reason = "calls of cuBLAS")]

mod patches;
mod pointwise;

use std::cell::Cell;
use std::ffi::{c_int, c_longlong, c_void};
use std::rc::Rc;

use cudarc::cublas::sys::{self, cublasStatus_t};

use self::patches::Patches;
use self::pointwise::Pointwise;
use super::super::driver::{DeviceBuffer, DevicePtr, Fault, FaultKind, Stream};
use super::super::kernels::Format;
use super::{Conv, Engine, Geometry, Packing, is_pointwise};
use crate::eval::Precision;
use crate::eval::cuda::signature::Element;
use crate::eval::cuda::status::{call, named};

/// Scratch memory of cuBLAS itself. Its size is fixed, so that the choice of algorithm does not
/// depend on earlier calls.
const HANDLE_BYTES: usize = 32 << 20;
/// The elements of a row of the patch matrix are a multiple of this (16 bytes in fp16).
const ROW_UNIT: usize = 8;

/// Names the call and its status in the error.
fn check(call: &str, status: c_int) -> Result<(), Fault> {
    const NO_MEMORY: c_int = cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED as c_int;
    const NOT_SUPPORTED: c_int = cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED as c_int;
    const OTHER_ARCHITECTURE: c_int = cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH as c_int;
    let kind = match status {
        0 => return Ok(()),
        NO_MEMORY => FaultKind::OutOfMemory,
        NOT_SUPPORTED => FaultKind::Unsupported,
        _ => FaultKind::Fatal,
    };
    let remedy = (status == OTHER_ARCHITECTURE)
        .then_some("install a version of cuBLAS that supports this GPU");
    // SAFETY: that is what the function takes and returns.
    let reason = unsafe { named(sys::culib(), "cublasGetStatusName", status) };
    Err(Fault::new(call, reason, kind).with_remedy(remedy))
}

/// Calls a function of cuBLAS, and names it in the error.
macro_rules! cublas {
    ($name:ident($($argument:expr),* $(,)?)) => {
        check(stringify!($name).trim_end_matches("_v2"), call!(sys::$name($($argument),*)))
    };
}

/// A handle of cuBLAS on one GPU; it works on one stream.
#[derive(Debug)]
struct Handle {
    raw: sys::cublasHandle_t,
    /// Freed after the handle, which `drop` destroys first.
    _workspace: DeviceBuffer,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made in `Cublas::new`, destroyed once. A lost device returns an error.
        let _ = unsafe { call!(sys::cublasDestroy_v2(self.raw)) };
    }
}

/// The engine.
#[derive(Debug)]
pub(in crate::eval::cuda) struct Cublas {
    handle: Rc<Handle>,
}

impl Cublas {
    /// Makes a handle that works on `stream`, in the current context.
    pub(in crate::eval::cuda) fn new(stream: &Stream) -> Result<Cublas, Fault> {
        let workspace = DeviceBuffer::new(HANDLE_BYTES)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: cuBLAS writes one handle, which is destroyed in drop.
        unsafe { cublas!(cublasCreate_v2(&raw mut raw))? };
        let pointer = workspace.ptr().as_mut_ptr();
        let handle = Handle { raw, _workspace: workspace };
        // The default mode, in which only the compute type of a call enables TF32; and sums that
        // are split among processors are added in float32, not in half.
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle and the stream are alive (cudarc has two names for one type of CUDA);
        // the workspace lives as long as the handle.
        unsafe {
            cublas!(cublasSetStream_v2(raw, stream.handle().cast()))?;
            cublas!(cublasSetWorkspace_v2(raw, pointer, HANDLE_BYTES))?;
            cublas!(cublasSetMathMode(raw, mode))?;
        }
        Ok(Cublas { handle: Rc::new(handle) })
    }
}

/// The input has whole vectors of 16 bytes.
pub(super) fn packing(precision: Precision) -> Packing {
    let (format, input_channels) = match precision {
        Precision::Fp32 | Precision::Tf32 => (Format::NhwcF32, 4),
        Precision::Fp16 => (Format::NhwcF16, 8),
    };
    let bias = Element::F32;
    Packing { format, input_channels, row_unit: ROW_UNIT, bias, pointwise_bias: bias }
}

impl Cublas {
    /// A convolution with windows of one position, in any layout. Its biases are f32.
    pub(super) fn pointwise(
        &self,
        geometry: Geometry,
        precision: Precision,
        format: Format,
    ) -> Box<dyn Conv> {
        let (handle, at_once) = (Rc::clone(&self.handle), Cell::new(geometry.from.images));
        Box::new(Pointwise { handle, geometry, precision, format, at_once })
    }
}

impl Engine for Cublas {
    fn prepare(&self, geometry: Geometry, precision: Precision) -> Result<Box<dyn Conv>, Fault> {
        let format = packing(precision).format;
        if is_pointwise(geometry.window.kernel, geometry.from.c) {
            return Ok(self.pointwise(geometry, precision, format));
        }
        Ok(Box::new(Patches::new(Rc::clone(&self.handle), geometry, precision, format)))
    }
}

/// The matrices of a batch, column-major as everything of cuBLAS: a row-major (rows, columns)
/// matrix is a (columns, rows) matrix here.
#[derive(Clone, Copy, Debug)]
struct Matrices {
    first: DevicePtr,
    /// Elements from one column to the next.
    leading: usize,
    /// Elements from one matrix to the next; 0 if there is but one.
    stride: usize,
    /// Whether its transpose is multiplied.
    is_transposed: bool,
}

impl Matrices {
    fn operation(self) -> sys::cublasOperation_t {
        match self.is_transposed {
            true => sys::cublasOperation_t::CUBLAS_OP_T,
            false => sys::cublasOperation_t::CUBLAS_OP_N,
        }
    }
}

impl Handle {
    /// Queues `c = a * b` for each of `count` images; `a` is (m, k), `b` is (k, n).
    ///
    /// # Safety
    /// The matrices must be allocated, and stay so until it is done.
    unsafe fn multiply(
        &self,
        precision: Precision,
        [c, a, b]: [Matrices; 3],
        [m, n, k]: [usize; 3],
        count: usize,
    ) -> Result<(), Fault> {
        let (one, zero) = (1.0f32, 0.0f32);
        let kind = match precision {
            Precision::Fp32 | Precision::Tf32 => sys::cudaDataType::CUDA_R_32F,
            Precision::Fp16 => sys::cudaDataType::CUDA_R_16F,
        };
        let compute = match precision {
            Precision::Fp32 | Precision::Fp16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        // SAFETY: guaranteed by the caller; the two scalars are read before the call returns
        // (pointer mode host).
        unsafe {
            cublas!(cublasGemmStridedBatchedEx(
                self.raw,
                a.operation(),
                b.operation(),
                m as c_int,
                n as c_int,
                k as c_int,
                (&raw const one).cast::<c_void>(),
                a.first.as_ptr(),
                kind,
                a.leading as c_int,
                a.stride as c_longlong,
                b.first.as_ptr(),
                kind,
                b.leading as c_int,
                b.stride as c_longlong,
                (&raw const zero).cast::<c_void>(),
                c.first.as_mut_ptr(),
                kind,
                c.leading as c_int,
                c.stride as c_longlong,
                count as c_int,
                compute,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            ))
        }
    }
}
