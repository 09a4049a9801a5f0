//! Convolutions with windows of one position: one product for each image, of its activations as
//! they are.
#![expect(unsafe_code, reason = "products in the walk's buffers")]

use std::cell::Cell;
use std::rc::Rc;

use super::super::{Call, Conv, Geometry};
use super::{Handle, Matrices};
use crate::eval::Precision;
use crate::eval::cuda::driver::Fault;
use crate::eval::cuda::kernels::Format;

/// A convolution of one shape; see the module's head.
#[derive(Debug)]
pub(super) struct Pointwise {
    pub(super) handle: Rc<Handle>,
    pub(super) geometry: Geometry,
    pub(super) precision: Precision,
    pub(super) format: Format,
    /// Images of one call of cuBLAS. One, if it computes those of a larger call differently.
    pub(super) at_once: Cell<usize>,
}

impl Conv for Pointwise {
    fn workspace_bytes(&self) -> usize {
        0
    }

    fn run(&self, call: Call<'_>) -> Result<(), Fault> {
        let Geometry { from, out, h_out, w_out, .. } = self.geometry;
        let positions = h_out * w_out;
        // First element of the output, and elements from one column of each matrix to the next.
        let (first, [of_output, of_input], weights_first) = match self.format {
            Format::NchwF32 => (out.c_first * positions, [positions, positions], false),
            Format::NhwcF32 | Format::NhwcF16 => (out.c_first, [out.c_slot, from.c], true),
        };
        let element = self.format.element().bytes();
        let output = |image: usize| Matrices {
            first: call.dst.offset((image * out.c_slot * positions + first) * element),
            leading: of_output,
            stride: out.c_slot * positions,
            is_transposed: false,
        };
        let input = |image: usize| Matrices {
            first: call.src.offset(image * from.c * positions * element),
            leading: of_input,
            stride: from.c * positions,
            is_transposed: false,
        };
        let weights = Matrices {
            first: call.filter.weight,
            leading: from.c,
            stride: 0,
            is_transposed: weights_first,
        };
        let count = self.at_once.get();
        for image in (0..from.images).step_by(count) {
            let (output, input) = (output(image), input(image));
            // In columns: (c_out, positions) = (c_out, c_in) x (c_in, positions), or its transpose.
            let (all, extents) = match weights_first {
                true => ([output, weights, input], [out.c, positions, from.c]),
                false => ([output, input, weights], [positions, out.c, from.c]),
            };
            // SAFETY: the walk's buffers hold all images of the geometry.
            unsafe { self.handle.multiply(self.precision, all, extents, count)? };
        }
        let (bias, all) = (call.filter.bias, (from.images, positions));
        call.kernels.bias_relu(call.stream, self.format, call.dst, bias, all, out)
    }

    /// One image in each call.
    fn switch_to_next(&self) -> Result<bool, Fault> {
        Ok(self.at_once.replace(1) > 1)
    }
}
