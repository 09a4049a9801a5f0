//! The parameters of a model on one GPU.

use std::rc::Rc;
use std::sync::Arc;

use super::conv::{Filter, Geometry, Packed, Packing, to_bytes};
use super::driver::{DeviceBuffer, Fault, Stream};
use super::kernels::{Channels, Extents, Format, Scaling, Window};
use super::packs::Packs;
use super::signature::Element;
use crate::eval::dists::layer_table;
use crate::eval::{Epsilon, Metric, Model, Precision, Wanted};
use crate::net::INPUT_CHANNELS;
use crate::net::NetSpec;
use crate::net::plan::{Shape, Slot, View};

/// The parameters of a model on one GPU, in one precision.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) net: &'static NetSpec,
    pub(super) precision: Precision,
    pub(super) format: Format,
    /// Channels of the trunk's input in memory, padding included.
    pub(super) input_channels: usize,
    /// Shared by models with the same trunk.
    pub(super) convs: Rc<[Filter]>,
    pub(super) taps: Taps,
    pub(super) scaling: Scaling,
    pub(super) wanted: Wanted,
}

/// How the taps are compared.
#[derive(Debug)]
pub(super) enum Taps {
    /// LPIPS. Channel weights per layer, ones without lin; f32.
    Features { lin: Vec<DeviceBuffer>, epsilon: Epsilon },
    /// DISTS. A table per layer, f64 (channel, (alpha, beta, gain, bias)).
    Channels(Vec<DeviceBuffer>),
}

impl Taps {
    fn upload(model: &Model, stream: &Stream) -> Result<Taps, Fault> {
        let channels = model.spec().tap_channels().into_iter().enumerate();
        match &model.metric {
            Metric::Lpips(lpips) => {
                let lin = |(layer, channels): (usize, usize)| {
                    let ones = vec![1.0; channels];
                    let lin = lpips.lin.as_ref().map_or(&ones, |lin| &lin[layer]);
                    resident(&to_bytes(lin, Element::F32), stream)
                };
                let lin = channels.map(lin).collect::<Result<_, _>>()?;
                Ok(Taps::Features { lin, epsilon: lpips.epsilon })
            }
            Metric::Dists(weights) => {
                let table = |(layer, _)| {
                    let table = layer_table(weights, layer);
                    resident(bytemuck::cast_slice(&table), stream)
                };
                Ok(Taps::Channels(channels.map(table).collect::<Result<_, _>>()?))
            }
        }
    }
}

impl Parameters {
    /// Uploads the parameters of every model, and waits until that is done. A trunk of several
    /// models is uploaded once.
    pub(super) fn upload_all(packs: &Packs, stream: &Stream) -> Result<Vec<Parameters>, Fault> {
        let packed = packs.packed();
        let mut all: Vec<Parameters> = Vec::with_capacity(packed.len());
        for (model, own) in packs.models.iter().zip(packed) {
            let mut others = packed.iter().zip(&all);
            let convs = match others.find(|(other, _)| Arc::ptr_eq(other, own)) {
                Some((_, same)) => Rc::clone(&same.convs),
                None => filters(own, stream)?,
            };
            all.push(Parameters::new(model, convs, packs, stream)?);
        }
        Ok(all)
    }

    fn new(
        model: &Model,
        convs: Rc<[Filter]>,
        packs: &Packs,
        stream: &Stream,
    ) -> Result<Parameters, Fault> {
        let (shift, scale) = model.version.scaling().unwrap_or(([0.0; 3], [1.0; 3]));
        let Packing { format, input_channels, .. } = packs.packing;
        Ok(Parameters {
            net: model.spec(),
            precision: packs.precision,
            format,
            input_channels,
            convs,
            taps: Taps::upload(model, stream)?,
            scaling: Scaling { gain: model.input.gain, bias: model.input.bias, shift, scale },
            wanted: model.wanted(),
        })
    }

    /// The net and the convolution, for error messages.
    pub(super) fn conv_name(&self, weight: usize) -> String {
        format!("{} {}", self.net.name, self.net.convs()[weight].name)
    }

    /// Channels in memory: the image may have padding channels.
    pub(super) fn channels(&self, src: View) -> usize {
        match src.slot {
            Slot::Input if src.shape.c == INPUT_CHANNELS => self.input_channels,
            Slot::Input | Slot::Buffer(_) => src.shape.c,
        }
    }

    pub(super) fn geometry(&self, images: usize, src: View, dst: View, window: Window) -> Geometry {
        debug_assert_eq!(src.c_slot, src.shape.c, "convolutions read whole activations");
        let Shape { h, w, .. } = src.shape;
        Geometry {
            from: Extents { images, c: self.channels(src), h, w },
            out: Channels { c: dst.shape.c, c_slot: dst.c_slot, c_first: dst.c_first },
            h_out: dst.shape.h,
            w_out: dst.shape.w,
            window,
        }
    }
}

/// Uploads the filters of a trunk.
fn filters(packed: &[Packed], stream: &Stream) -> Result<Rc<[Filter]>, Fault> {
    let filter = |packed: &Packed| {
        let weight = resident(&packed.weight, stream)?;
        Ok(Filter { weight, bias: resident(&packed.bias, stream)? })
    };
    packed.iter().map(filter).collect()
}

/// Copies bytes to the device, and waits until that is done.
pub(super) fn resident(bytes: &[u8], stream: &Stream) -> Result<DeviceBuffer, Fault> {
    let buffer = DeviceBuffer::new(bytes.len())?;
    // SAFETY: the source outlives the copy, which is waited for; the buffer has its length.
    #[expect(unsafe_code, reason = "a call of the driver")]
    let queued = unsafe { stream.upload(buffer.ptr(), bytes) };
    // Also if queueing failed: no copy may be running when the buffer is dropped.
    queued.and(stream.synchronize())?;
    Ok(buffer)
}
