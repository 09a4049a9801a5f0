//! Convolution, bias and ReLU behind one small interface, with two engines.
//!
//! An [`Engine`] chooses the layout of activations and weights, and prepares a convolution of one
//! shape; a prepared [`Conv`] runs. The algorithm depends on the shape, the precision, the model of
//! the GPU and the version of the library, never on timings or on free memory, because the bits
//! depend on the algorithm. `walk::rehearsal` tests whether it treats all images of a batch alike
//! before any is scored.

mod cublas;
mod cudnn;
mod shared;

pub(super) use self::cublas::Cublas;
pub(super) use self::cudnn::Cudnn;
pub(super) use self::shared::{SharedConv, SharedConvs};

use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::ConvEngine;
use super::driver::{DeviceBuffer, DevicePtr, Fault, Stream};
use super::kernels::{Channels, Extents, Format, Kernels, Window};
use super::signature::Element;
use crate::eval::Precision;
use crate::net::weights;

/// How an engine reads activations and parameters in one precision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packing {
    /// The layout of activations and of weights.
    pub(super) format: Format,
    /// Channels of the trunk's input: three of the pixels, and padding channels of zeros.
    pub(super) input_channels: usize,
    /// The weights of an output are padded with zeros to a multiple of so many elements.
    row_unit: usize,
    /// The type of biases.
    bias: Element,
    /// That of convolutions with windows of one position.
    pointwise_bias: Element,
}

impl Packing {
    /// That of an engine on GPUs of this compute capability.
    pub(super) fn new(engine: ConvEngine, precision: Precision, capability: (i32, i32)) -> Packing {
        match engine {
            ConvEngine::Cudnn => cudnn::packing(precision, capability),
            ConvEngine::CudnnAndCublas => {
                let packing = cudnn::packing(precision, capability);
                Packing { pointwise_bias: cublas::packing(precision).bias, ..packing }
            }
            ConvEngine::Cublas => cublas::packing(precision),
        }
    }

    /// The parameters of a net's convolutions, by all threads of the pool.
    pub(super) fn pack_all(self, convs: &[Arc<weights::Conv>]) -> Vec<Packed> {
        let pack = |(index, conv): (usize, &Arc<weights::Conv>)| {
            let c_in = if index == 0 { self.input_channels } else { conv.spec.c_in };
            self.pack(conv, c_in)
        };
        convs.par_iter().enumerate().map(pack).collect()
    }

    /// Parameters for an input of `c_in` channels. Channels beyond those of the weights are zeros.
    fn pack(self, conv: &weights::Conv, c_in: usize) -> Packed {
        let (element, area) = (self.format.element(), conv.spec.kernel * conv.spec.kernel);
        let weight = match self.format {
            Format::NchwF32 => to_bytes(&conv.weight, element),
            Format::NhwcF32 | Format::NhwcF16 => {
                let row_len = rounded_up(area * c_in, self.row_unit);
                to_bytes(&channels_last(conv, c_in, row_len), element)
            }
        };
        let bias = match is_pointwise(conv.spec.kernel, c_in) {
            true => self.pointwise_bias,
            false => self.bias,
        };
        Packed { weight, bias: to_bytes(&conv.bias, bias) }
    }
}

/// Prepares convolutions on one GPU.
pub(super) trait Engine {
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

    /// Switches to the next algorithm, because the rehearsal found that the current one cannot be
    /// used. Returns false if there is no other.
    fn switch_to_next(&self) -> Result<bool, Fault>;
}

/// Shapes of a convolution. The source is a whole buffer; `out` may be a part of the channels of
/// its buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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
    let outputs = packed.par_chunks_exact_mut(row_len).zip(conv.weight.par_chunks_exact(c * area));
    outputs.for_each(|(row, weights)| {
        for (input, window) in weights.chunks_exact(area).enumerate() {
            for (at, &weight) in window.iter().enumerate() {
                row[at * c_in + input] = weight;
            }
        }
    });
    packed
}

/// Values as bytes of `element`, which is a float.
pub(super) fn to_bytes(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F16 => {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            bytemuck::cast_slice(halves.reinterpret_cast()).to_vec()
        }
        _ => bytemuck::cast_slice(values).to_vec(),
    }
}

/// Whether a convolution is a product of its input as it is, in whole vectors. Windows of one
/// position have stride 1 and no padding in every net.
fn is_pointwise(kernel: usize, c_in: usize) -> bool {
    const VECTOR: usize = 8;
    kernel == 1 && c_in.is_multiple_of(VECTOR)
}

/// `value` rounded up to a multiple of `unit`.
fn rounded_up(value: usize, unit: usize) -> usize {
    value.div_ceil(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::plan::{ConvStep, Plan, Step};
    use crate::net::{ConvSpec, Net};

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
    fn windows_of_one_position_have_stride_1_and_no_padding() {
        for net in Net::ALL {
            let spec = net.spec();
            let plan = Plan::new(spec, 64, 64).unwrap();
            for step in plan.steps {
                let Step::Conv(ConvStep { kernel: 1, stride, pad, src, .. }) = step else {
                    continue;
                };
                assert_eq!((stride, pad), (1, 0), "{}", spec.name);
                assert!(is_pointwise(1, src.shape.c), "{}", spec.name);
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_nearest() {
        assert_eq!(to_bytes(&[1.0, 65520.0], Element::F16), [0x00, 0x3c, 0x00, 0x7c]);
        assert_eq!(to_bytes(&[1.0], Element::F32), 1.0f32.to_ne_bytes());
    }
}
