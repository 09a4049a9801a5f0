//! How fast a GPU scores what is in its memory already: walks alone, without uploads and batches.

use std::sync::Arc;
use std::time::Instant;

use super::device::Device;
use super::driver::Fault;
use super::open::Which;
use super::probe::Probe;
use super::{Config, Settings, refusal};
use crate::batch::{Batch, BatchShape, Depth, Pair, Size};
use crate::eval::Model;
use crate::image::{Image, Pixels};

/// A rate, and how many pairs ran at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// Pairs of one micro-batch.
    pub pairs: usize,
    /// Median of three rounds.
    pub pairs_per_second: f64,
}

/// Measures one model on the first GPU of `config`, for rounds of about `round_s` seconds.
///
/// # Errors
/// A [`Refusal`](crate::error::Refusal) when the GPU cannot be used.
pub fn resident_rate(
    model: &Model,
    config: &Config,
    size: Size,
    round_s: f64,
) -> anyhow::Result<Rate> {
    let probe = Probe::new(&config.libraries);
    let gpus = probe.choose(&config.gpus)?;
    let (engine, engine_name) = probe.engine(config.conv)?;
    let settings = Settings { precision: config.precision, engine, engine_name };
    let gpu = gpus[0].clone();
    let ordinal = gpu.ordinal;
    let measured = Device::open(gpu, Arc::new(vec![model.clone()]), &settings)
        .and_then(|(mut device, _)| device.resident_rate(size, round_s));
    measured.map_err(|fault| refusal(ordinal, &fault).into())
}

impl Device {
    fn resident_rate(&mut self, size: Size, round_s: f64) -> Result<Rate, Fault> {
        let shape = BatchShape { size, depth: Depth::U8 };
        let prepared = self.prepare(shape, false, Which::First)?;
        let images = prepared.room.images;
        let staging = vec![0f32; (images * shape.image_bytes()).div_ceil(size_of::<f32>())];
        let mut batch = Batch::new(shape, Box::new(staging), images / 2);
        for index in 0..images {
            let samples = (0..size.samples()).map(|at| (at * (31 + index) % 251) as u8).collect();
            batch.push_image(&Image::new(size, Pixels::U8(samples)));
            if index % 2 == 1 {
                batch.push_pair(0, Pair { reference: index - 1, distorted: index });
            }
        }
        self.take(batch)?;
        self.land_all()?;
        self.walk_again(&prepared, 1)?;
        let mut rates = Vec::new();
        let mut walks = 1;
        while rates.len() < 3 {
            let started = Instant::now();
            self.walk_again(&prepared, walks)?;
            let elapsed_s = started.elapsed().as_secs_f64();
            if elapsed_s < round_s / 2.0 {
                walks *= 2;
            } else {
                rates.push((walks * images / 2) as f64 / elapsed_s);
            }
        }
        rates.sort_by(f64::total_cmp);
        Ok(Rate { pairs: images / 2, pairs_per_second: rates[1] })
    }
}
