//! Convolution as matrix products of cuBLAS, for machines without cuDNN.
//!
//! A 1x1 convolution already is a product. For any other, im2col first writes a matrix of patches,
//! one row per output position, in chunks that fit into the workspace. Every image is a separate
//! product within a batched call of fixed size, so that its result does not depend on its position
//! in the micro-batch.
#![expect(unsafe_code, reason = "calls of cuBLAS")]

use std::ffi::{c_int, c_longlong, c_void};
use std::rc::Rc;

use cudarc::cublas::result::{self, CublasError};
use cudarc::cublas::sys::{self, cublasStatus_t};

use super::super::driver::{DeviceBuffer, DevicePtr, Fault, FaultKind, Stream};
use super::super::kernels::{Format, Rows};
use super::{Call, Conv, Engine, Geometry, Packing, rounded_up};
use crate::eval::Precision;
use crate::eval::cuda::signature::Element;

/// Scratch memory of cuBLAS itself. Its size is fixed, so that the choice of algorithm does not
/// depend on earlier calls.
const HANDLE_BYTES: usize = 32 << 20;
/// Limit for the matrix of patches, independent of free memory.
const WORKSPACE_BYTES_MAX: usize = 256 << 20;
/// The elements of a row of the patch matrix are a multiple of this (16 bytes in fp16).
const ROW_UNIT: usize = 8;

/// Names the call in the error.
fn check(call: &str, result: Result<(), CublasError>) -> Result<(), Fault> {
    result.map_err(|CublasError(status)| {
        let kind = match status {
            cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => FaultKind::OutOfMemory,
            cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED => FaultKind::Unsupported,
            _ => FaultKind::Fatal,
        };
        let remedy = (status == cublasStatus_t::CUBLAS_STATUS_ARCH_MISMATCH)
            .then_some("install a version of cuBLAS that supports this GPU");
        Fault::new(call, format!("{status:?}"), kind).with_remedy(remedy)
    })
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
        let _ = unsafe { result::destroy_handle(self.raw) };
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
        let raw = result::create_handle()
            .map_err(|error| check("cublasCreate", Err(error)).expect_err("it is an error"))?;
        let pointer = workspace.ptr().as_mut_ptr();
        let handle = Handle { raw, _workspace: workspace };
        // SAFETY: the handle and the stream are alive; cudarc has two names for one type of CUDA.
        check("cublasSetStream", unsafe { result::set_stream(raw, stream.handle().cast()) })?;
        // SAFETY: the workspace lives as long as the handle.
        let set = unsafe { sys::cublasSetWorkspace_v2(raw, pointer, HANDLE_BYTES) };
        check("cublasSetWorkspace", set.result())?;
        // The default mode, in which only the compute type of a call enables TF32; and sums that
        // are split among processors are added in float32, not in half.
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is alive.
        let set = unsafe { sys::cublasSetMathMode(raw, mode) };
        check("cublasSetMathMode", set.result())?;
        Ok(Cublas { handle: Rc::new(handle) })
    }
}

/// The input has whole vectors of 16 bytes.
pub(super) fn packing(precision: Precision) -> Packing {
    let (format, input_channels) = match precision {
        Precision::Fp32 | Precision::Tf32 => (Format::NhwcF32, 4),
        Precision::Fp16 => (Format::NhwcF16, 8),
    };
    Packing { format, input_channels, row_unit: ROW_UNIT, bias: Element::F32 }
}

impl Engine for Cublas {
    fn prepare(&self, geometry: Geometry, precision: Precision) -> Result<Box<dyn Conv>, Fault> {
        let format = packing(precision).format;
        let rows = Chunks::new(&geometry, format);
        Ok(Box::new(Product { handle: Rc::clone(&self.handle), geometry, precision, format, rows }))
    }
}

/// How the patch matrix is divided. Every image gets the same chunks: either several whole images
/// at once, a number that divides the micro-batch, or equal parts of one image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Chunks {
    /// Elements of a row.
    row_len: usize,
    /// Images at once.
    images: usize,
    /// Rows of an image at once; all of them if `images` is more than one.
    rows: usize,
    /// Whether the source itself serves as the patch matrix.
    direct: bool,
}

impl Chunks {
    fn new(geometry: &Geometry, format: Format) -> Chunks {
        let Geometry { from, window, .. } = *geometry;
        let row_len = rounded_up(window.kernel * window.kernel * from.c, ROW_UNIT);
        let positions = geometry.h_out * geometry.w_out;
        if window.kernel == 1 && window.stride == 1 && window.pad == 0 && row_len == from.c {
            return Chunks { row_len, images: from.images, rows: positions, direct: true };
        }
        let rows_max = (WORKSPACE_BYTES_MAX / (row_len * format.element().bytes())).max(1);
        let fits =
            |&images: &usize| from.images.is_multiple_of(images) && images * positions <= rows_max;
        let images = (1..=from.images).rev().find(fits).unwrap_or(1);
        Chunks { row_len, images, rows: positions.min(rows_max), direct: false }
    }
}

/// A convolution of one shape as products.
#[derive(Debug)]
struct Product {
    handle: Rc<Handle>,
    geometry: Geometry,
    precision: Precision,
    format: Format,
    rows: Chunks,
}

impl Conv for Product {
    fn workspace_bytes(&self) -> usize {
        let Chunks { row_len, images, rows, direct } = self.rows;
        if direct { 0 } else { images * rows * row_len * self.format.element().bytes() }
    }

    fn run(&self, call: Call<'_>) -> Result<(), Fault> {
        let Geometry { from, out, h_out, w_out, window } = self.geometry;
        let Chunks { row_len, images, rows, direct } = self.rows;
        let element = self.format.element().bytes();
        let positions = h_out * w_out;
        let part = call.dst.offset(out.c_first * element);
        if direct {
            self.product(call, part, call.src, (positions, images))?;
        } else {
            for first_image in (0..from.images).step_by(images) {
                for first_row in (0..positions).step_by(rows) {
                    let count = rows.min(positions - first_row);
                    let first = first_image * positions + first_row;
                    let (format, to) = (self.format, (h_out, w_out));
                    let patches = Rows { first, count: images * count };
                    let (stream, target) = (call.stream, call.workspace);
                    call.kernels.im2col(
                        stream, format, target, call.src, from, to, window, patches, row_len,
                    )?;
                    let target = part.offset(first * out.c_slot * element);
                    self.product(call, target, call.workspace, (count, images))?;
                }
            }
        }
        let bias = call.filter.bias;
        let all = (from.images, positions);
        call.kernels.bias_relu(call.stream, self.format, call.dst, bias, all, out)
    }

    /// There is no other: every image is a separate product already.
    fn switch_to_next(&self) -> Result<bool, Fault> {
        Ok(false)
    }
}

impl Product {
    /// Computes `rows` rows of outputs of each of `images` images: rows of patches times the
    /// weights.
    ///
    /// cuBLAS is column-major: a row-major (rows, c) matrix is a (c, rows) matrix there.
    fn product(
        &self,
        call: Call<'_>,
        outputs: DevicePtr,
        patches: DevicePtr,
        (rows, images): (usize, usize),
    ) -> Result<(), Fault> {
        let Geometry { out, h_out, w_out, .. } = self.geometry;
        let row_len = self.rows.row_len;
        let (one, zero) = (1.0f32, 0.0f32);
        let kind = match self.precision {
            Precision::Fp32 | Precision::Tf32 => sys::cudaDataType::CUDA_R_32F,
            Precision::Fp16 => sys::cudaDataType::CUDA_R_16F,
        };
        let compute = match self.precision {
            Precision::Fp32 | Precision::Fp16 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            Precision::Tf32 => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        };
        let patch_stride = rows * row_len;
        let output_stride = h_out * w_out * out.c_slot;
        // SAFETY: the walk's buffers hold all images of the geometry, the workspace what
        // `workspace_bytes` says; extents are those of the plan; the two scalars are read before
        // the call returns (pointer mode host).
        let result = unsafe {
            result::gemm_strided_batched_ex(
                self.handle.raw,
                sys::cublasOperation_t::CUBLAS_OP_T,
                sys::cublasOperation_t::CUBLAS_OP_N,
                out.c as c_int,
                rows as c_int,
                row_len as c_int,
                (&raw const one).cast::<c_void>(),
                call.filter.weight.as_ptr(),
                kind,
                row_len as c_int,
                0,
                patches.as_ptr(),
                kind,
                row_len as c_int,
                patch_stride as c_longlong,
                (&raw const zero).cast::<c_void>(),
                outputs.as_mut_ptr(),
                kind,
                out.c_slot as c_int,
                output_stride as c_longlong,
                images as c_int,
                compute,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        check("cublasGemmStridedBatchedEx", result)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::kernels::{Channels, Extents, Window};
    use super::*;

    fn geometry(images: usize, side: usize, kernel: usize) -> Geometry {
        Geometry {
            from: Extents { images, c: 64, h: side, w: side },
            out: Channels { c: 64, c_slot: 64, c_first: 0 },
            h_out: side,
            w_out: side,
            window: Window { kernel, stride: 1, pad: kernel / 2 },
        }
    }

    #[test]
    fn chunks_are_the_same_for_every_image_and_fit_the_workspace() {
        for (images, side, kernel) in [(32, 256, 3), (30, 100, 3), (2, 1024, 3), (2, 3000, 5)] {
            let geometry = geometry(images, side, kernel);
            for format in [Format::NhwcF32, Format::NhwcF16] {
                let Chunks { row_len, images: at_once, rows, .. } = Chunks::new(&geometry, format);
                assert!(images.is_multiple_of(at_once));
                assert!(at_once == 1 || rows == side * side);
                let bytes = at_once * rows * row_len * format.element().bytes();
                assert!(bytes <= WORKSPACE_BYTES_MAX, "{bytes}");
            }
        }
        assert!(Chunks::new(&geometry(32, 256, 1), Format::NhwcF32).direct);
    }
}
