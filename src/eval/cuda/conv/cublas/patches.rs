//! Convolutions with larger windows: im2col writes a matrix of patches, one row for each output
//! position, in chunks that fit into the workspace; rows times weights are outputs.
#![expect(unsafe_code, reason = "products in the walk's buffers")]

use std::rc::Rc;

use super::super::{Call, Conv, Geometry, rounded_up};
use super::{Handle, Matrices, ROW_UNIT};
use crate::eval::Precision;
use crate::eval::cuda::driver::{DevicePtr, Fault};
use crate::eval::cuda::kernels::{Format, Rows};

/// Limit for the matrix of patches, independent of free memory.
const WORKSPACE_BYTES_MAX: usize = 256 << 20;

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
}

impl Chunks {
    fn new(geometry: &Geometry, format: Format) -> Chunks {
        let Geometry { from, window, .. } = *geometry;
        let row_len = rounded_up(window.kernel * window.kernel * from.c, ROW_UNIT);
        let positions = geometry.h_out * geometry.w_out;
        let rows_max = (WORKSPACE_BYTES_MAX / (row_len * format.element().bytes())).max(1);
        let fits =
            |&images: &usize| from.images.is_multiple_of(images) && images * positions <= rows_max;
        let images = (1..=from.images).rev().find(fits).unwrap_or(1);
        Chunks { row_len, images, rows: positions.min(rows_max) }
    }
}

/// A convolution of one shape as products.
#[derive(Debug)]
pub(super) struct Patches {
    handle: Rc<Handle>,
    geometry: Geometry,
    precision: Precision,
    format: Format,
    chunks: Chunks,
}

impl Patches {
    pub(super) fn new(
        handle: Rc<Handle>,
        geometry: Geometry,
        precision: Precision,
        format: Format,
    ) -> Patches {
        let chunks = Chunks::new(&geometry, format);
        Patches { handle, geometry, precision, format, chunks }
    }

    /// Queues `rows` rows of outputs of each of `images` images.
    fn product(
        &self,
        call: Call<'_>,
        outputs: DevicePtr,
        (rows, images): (usize, usize),
    ) -> Result<(), Fault> {
        let Geometry { out, h_out, w_out, .. } = self.geometry;
        let row_len = self.chunks.row_len;
        let matrices = |first, leading, stride, is_transposed| Matrices {
            first,
            leading,
            stride,
            is_transposed,
        };
        let outputs = matrices(outputs, out.c_slot, h_out * w_out * out.c_slot, false);
        let weights = matrices(call.filter.weight, row_len, 0, true);
        let patches = matrices(call.workspace, row_len, rows * row_len, false);
        let (all, extents) = ([outputs, weights, patches], [out.c, rows, row_len]);
        // SAFETY: the walk's buffers hold all images of the geometry, the workspace what
        // `workspace_bytes` says.
        unsafe { self.handle.multiply(self.precision, all, extents, images) }
    }
}

impl Conv for Patches {
    fn workspace_bytes(&self) -> usize {
        let Chunks { row_len, images, rows } = self.chunks;
        images * rows * row_len * self.format.element().bytes()
    }

    fn run(&self, call: Call<'_>) -> Result<(), Fault> {
        let Geometry { from, out, h_out, w_out, window } = self.geometry;
        let Chunks { row_len, images, rows } = self.chunks;
        let (format, element) = (self.format, self.format.element().bytes());
        let positions = h_out * w_out;
        for first_image in (0..from.images).step_by(images) {
            for first_row in (0..positions).step_by(rows) {
                let count = rows.min(positions - first_row);
                let first = first_image * positions + first_row;
                let (to, patches) = ((h_out, w_out), Rows { first, count: images * count });
                let (stream, target) = (call.stream, call.workspace);
                call.kernels
                    .im2col(stream, format, target, call.src, from, to, window, patches, row_len)?;
                let outputs = call.dst.offset((first * out.c_slot + out.c_first) * element);
                self.product(call, outputs, (count, images))?;
            }
        }
        let (bias, all) = (call.filter.bias, (from.images, positions));
        call.kernels.bias_relu(call.stream, format, call.dst, bias, all, out)
    }

    /// There is no other: every image is a separate product already.
    fn switch_to_next(&self) -> Result<bool, Fault> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cuda::kernels::{Channels, Extents, Window};

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
                let Chunks { row_len, images: at_once, rows } = Chunks::new(&geometry, format);
                assert!(images.is_multiple_of(at_once));
                assert!(at_once == 1 || rows == side * side);
                let bytes = at_once * rows * row_len * format.element().bytes();
                assert!(bytes <= WORKSPACE_BYTES_MAX, "{bytes}");
            }
        }
    }
}
