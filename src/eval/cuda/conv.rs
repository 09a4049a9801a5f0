//! Convolution, bias and ReLU behind one small interface, with two engines.
//!
//! An [`Engine`] chooses the layout of activations and weights, and prepares a convolution of one
//! shape; a prepared [`Conv`] runs. The algorithm depends on the shape, the precision, the model of
//! the GPU and the version of the library, never on timings or on free memory, because the bits
//! depend on the algorithm. `walk::rehearsal` tests whether it treats all images of a batch alike
//! before any is scored.

mod cublas;
mod cudnn;

pub(super) use self::cublas::Cublas;
pub(super) use self::cudnn::Cudnn;

use super::driver::{DeviceBuffer, DevicePtr, Fault, Stream};
use super::kernels::{Channels, Extents, Format, Kernels, Window};
use super::signature::Element;
use crate::eval::Precision;
use crate::net::weights;

/// Prepares convolutions on one GPU.
pub(super) trait Engine {
    /// The layout of activations.
    fn format(&self, precision: Precision) -> Format;

    /// Channels of the trunk's input: three of the pixels, and padding channels of zeros.
    fn input_channels(&self, precision: Precision) -> usize;

    /// Parameters in the layout that the engine reads, for an input of `c_in` channels. Channels
    /// beyond those of the weights are zeros.
    fn pack(&self, conv: &weights::Conv, c_in: usize, precision: Precision) -> Packed;

    /// A convolution of one shape.
    ///
    /// # Errors
    /// [`FaultKind::Unsupported`](super::driver::FaultKind) when the library has no algorithm for
    /// it.
    fn prepare(&self, geometry: Geometry, precision: Precision) -> Result<Box<dyn Conv>, Fault>;
}

/// A convolution of one shape.
pub(super) trait Conv {
    /// Scratch that [`Self::run`] needs.
    fn workspace_bytes(&self) -> usize;

    /// Queues convolution, bias and ReLU.
    fn run(&self, call: Call<'_>) -> Result<(), Fault>;

    /// Switches to the next algorithm, because the current one cannot be used. Returns false if
    /// there is no other.
    fn switch_to_next(&self) -> Result<bool, Fault>;
}

/// Shapes of a convolution. The source is a whole buffer; `out` may be a part of the channels of
/// its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    pub(super) from: Extents,
    pub(super) out: Channels,
    pub(super) h_out: usize,
    pub(super) w_out: usize,
    pub(super) window: Window,
}

/// One run of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) stream: &'a Stream,
    pub(super) kernels: &'a Kernels,
    pub(super) filter: FilterPtr,
    pub(super) src: DevicePtr,
    /// The whole buffer, not the part that is written.
    pub(super) dst: DevicePtr,
    pub(super) workspace: DevicePtr,
}

/// Parameters on the device.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) weight: DeviceBuffer,
    pub(super) bias: DeviceBuffer,
}

/// Addresses of parameters on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct FilterPtr {
    pub(super) weight: DevicePtr,
    pub(super) bias: DevicePtr,
}

impl Filter {
    pub(super) fn ptr(&self) -> FilterPtr {
        FilterPtr { weight: self.weight.ptr(), bias: self.bias.ptr() }
    }
}

/// Parameters as bytes, ready for upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Packed {
    pub(super) weight: Vec<u8>,
    pub(super) bias: Vec<u8>,
}

/// OIHW -> (output, row, column, input) with `c_in` input channels, each output padded with zeros
/// to `row_len`.
fn channels_last(conv: &weights::Conv, c_in: usize, row_len: usize) -> Vec<f32> {
    let [c_out, c, kernel, _] = conv.spec.weight_shape();
    let area = kernel * kernel;
    let mut packed = vec![0.0; c_out * row_len];
    for (output, row) in packed.chunks_exact_mut(row_len).enumerate() {
        for input in 0..c {
            for at in 0..area {
                row[at * c_in + input] = conv.weight[(output * c + input) * area + at];
            }
        }
    }
    packed
}

/// Values as bytes of `element`, which is a float.
pub(super) fn to_bytes(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F16 => {
            values.iter().flat_map(|&value| half::f16::from_f32(value).to_ne_bytes()).collect()
        }
        _ => bytemuck::cast_slice(values).to_vec(),
    }
}

/// `value` rounded up to a multiple of `unit`.
fn rounded_up(value: usize, unit: usize) -> usize {
    value.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ConvSpec;

    #[test]
    fn weights_are_packed_with_channels_last_and_padded_with_zeros() {
        let spec = ConvSpec { name: "c".to_owned(), c_in: 2, c_out: 2, kernel: 2 };
        let weight = (0..16u8).map(f32::from).collect();
        let conv = weights::Conv { spec, weight, bias: vec![0.0; 2] };
        let packed = channels_last(&conv, 3, 14);
        // (output, input, place) is number 8 * output + 4 * input + place.
        let expected = [
            [0, 4, -1, 1, 5, -1, 2, 6, -1, 3, 7, -1, -1, -1],
            [8, 12, -1, 9, 13, -1, 10, 14, -1, 11, 15, -1, -1, -1],
        ];
        let expected = expected.concat().into_iter().map(|number| number.max(0) as f32);
        assert_eq!(packed, expected.collect::<Vec<f32>>());
    }

    #[test]
    fn halves_are_rounded_to_nearest() {
        assert_eq!(to_bytes(&[1.0, 65520.0], Element::F16), [0x00, 0x3c, 0x00, 0x7c]);
        assert_eq!(to_bytes(&[1.0], Element::F32), 1.0f32.to_ne_bytes());
    }
}
