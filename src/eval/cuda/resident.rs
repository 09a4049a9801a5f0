//! The speed of a GPU with the data already in its memory: of walks without uploads and batches,
//! and of the taps with their poolings, beside that of plain copies.

use std::sync::Arc;
use std::time::Instant;

use super::conv::Packing;
use super::device::{Device, micro_batch_of};
use super::driver::Fault;
use super::nets::PreparedSize;
use super::open_batch::ScoringPass;
use super::packs::Packs;
use super::probe::Probe;
use super::thread::refusal;
use super::{Config, Settings};
use crate::batch::{Batch, BatchShape, Frame, Group, Grouping, Lender, Pair};
use crate::eval::Model;
use crate::image::{Depth, Size};

/// Medians of three rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rates {
    /// Pairs of one micro-batch.
    pub pairs: usize,
    /// Rate of whole walks.
    pub pairs_per_second: f64,
    /// Bytes that the taps and the poolings that are computed with them move, when they run alone.
    pub tap_bytes_per_second: f64,
    /// Bytes that are read and written when a large buffer of the device is copied to another.
    pub copy_bytes_per_second: f64,
}

/// Measures one model on the first GPU of `config`, in rounds of about `round_s` seconds.
///
/// # Errors
/// A [`Refusal`](crate::error::Refusal) when the GPU cannot be used.
pub fn resident_rates(
    model: &Model,
    probe: &Probe,
    config: &Config,
    size: Size,
    round_s: f64,
) -> anyhow::Result<Rates> {
    let gpus = probe.choose(&config.gpus)?;
    let engine = probe.engine(config.conv, &gpus, std::slice::from_ref(model))?;
    let Config { precision, limits, .. } = *config;
    let settings = Settings { precision, limits, engine };
    let gpu = gpus[0].clone();
    let ordinal = gpu.ordinal;
    let packing = Packing::new(settings.engine.engine, settings.precision, gpu.capability);
    let packs = Packs::new(Arc::new(vec![model.clone()]), packing, settings.precision);
    let measured = Device::open(gpu, &packs, &settings)
        .and_then(|(mut device, _)| device.resident_rates(size, round_s));
    measured.map_err(|fault| refusal(ordinal, &fault, settings.engine.engine).into())
}

impl Device {
    fn resident_rates(&mut self, size: Size, round_s: f64) -> Result<Rates, Fault> {
        let shape = BatchShape { size, depth: Depth::U8 };
        let prepared = self.prepare(shape, Grouping::Pair, ScoringPass::First)?;
        let images = prepared.capacity.images;
        let lender = Lender::ordinary();
        let capacity = Group { grouping: Grouping::Pair, images, pairs: images / 2 };
        let mut batch = Batch::new(shape, capacity);
        for index in 0..images {
            let factor = 31 + index % 8;
            let mut frame = Frame::lent(shape, &lender);
            for (at, sample) in frame.bytes_mut().iter_mut().enumerate() {
                *sample = (at * factor % 251) as u8;
            }
            batch.push_image(Arc::new(frame));
            if index % 2 == 1 {
                batch.push_pair(0, Pair { reference: index - 1, distorted: index });
            }
        }
        self.take(batch)?;
        self.finish_all()?;
        let walks = times_per_second(round_s, |times| self.walk_again(&prepared, times))?;
        let taps = times_per_second(round_s, |times| self.tap_again(&prepared, times))?;
        let copied_bytes = self.copy_again(0)?;
        let copies = times_per_second(round_s, |times| self.copy_again(times).map(drop))?;
        Ok(Rates {
            pairs: images / 2,
            pairs_per_second: walks * (images / 2) as f64,
            tap_bytes_per_second: taps * self.tap_bytes(&prepared) as f64,
            // Read and written.
            copy_bytes_per_second: copies * 2.0 * copied_bytes as f64,
        })
    }

    /// Walks the full micro-batch of the last slot again `times` times, and waits.
    fn walk_again(&self, shape: &PreparedSize, times: usize) -> Result<(), Fault> {
        let Some(slot) = self.slots.last() else { return Ok(()) };
        let device = (&self.compute, &self.kernels, &self.activations);
        let pairs = shape.capacity.full_pairs(shape.capacity.images / 2);
        let (resources, micro) = micro_batch_of((slot, shape), device, Depth::U8, pairs);
        for _ in 0..times {
            self.nets.walk(shape, resources, micro)?;
        }
        self.compute.synchronize()
    }

    /// As above, with the taps alone.
    fn tap_again(&self, shape: &PreparedSize, times: usize) -> Result<(), Fault> {
        let Some(slot) = self.slots.last() else { return Ok(()) };
        let device = (&self.compute, &self.kernels, &self.activations);
        let pairs = shape.capacity.full_pairs(shape.capacity.images / 2);
        let (resources, micro) = micro_batch_of((slot, shape), device, Depth::U8, pairs);
        for _ in 0..times {
            for (parameters, prepared) in self.nets.parameters.iter().zip(&shape.nets) {
                if let Ok(prepared) = prepared {
                    prepared.walk_taps(parameters, resources, micro)?;
                }
            }
        }
        self.compute.synchronize()
    }

    /// Bytes that [`Self::tap_again`] moves each time.
    fn tap_bytes(&self, shape: &PreparedSize) -> usize {
        let pairs = shape.capacity.full_pairs(shape.capacity.images / 2);
        let nets = self.nets.parameters.iter().zip(&shape.nets);
        let bytes = nets.filter_map(|(parameters, prepared)| {
            Some(prepared.as_ref().ok()?.tap_bytes(parameters, pairs))
        });
        bytes.sum()
    }

    /// Copies one buffer of activations to another `times` times, and waits. Returns the bytes of
    /// one copy.
    #[expect(unsafe_code, reason = "copies within the device")]
    fn copy_again(&self, times: usize) -> Result<usize, Fault> {
        let mut buffers: Vec<_> = self.activations.buffers.iter().collect();
        buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.len_bytes()));
        // The driver limits the length of a row.
        let bytes = buffers[1].len_bytes().min(1 << 30);
        for _ in 0..times {
            // SAFETY: both buffers have that length and live as long as the device; the copy is
            // waited for.
            unsafe {
                let (target, source) = ((buffers[0].ptr(), bytes), (buffers[1].ptr(), bytes));
                self.compute.copy_rows(target, source, bytes, 1)?;
            }
        }
        self.compute.synchronize()?;
        Ok(bytes)
    }
}

/// How often per second the work is done. `work` does it the given number of times and waits. The
/// first call is not counted.
fn times_per_second(
    round_s: f64,
    mut work: impl FnMut(usize) -> Result<(), Fault>,
) -> Result<f64, Fault> {
    work(1)?;
    let mut rates = Vec::new();
    let mut times = 1;
    while rates.len() < 3 {
        let started = Instant::now();
        work(times)?;
        let elapsed_s = started.elapsed().as_secs_f64();
        if elapsed_s < round_s / 2.0 {
            times *= 2;
        } else {
            rates.push(times as f64 / elapsed_s);
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[1])
}
