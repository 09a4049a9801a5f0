//! The operations of a walk other than convolutions and taps: normalising the input, and poolings.

use super::team::Team;
use super::tensor::{Source, Target, Tensor};
use crate::batch::Batch;
use crate::eval::Affine;
use crate::image::Depth;
use crate::isa::{Isa, Plain, dispatch_plain};
use crate::net::INPUT_CHANNELS;
use crate::net::weights::Version;

/// Least number of samples of a task that converts them.
const TASK_SAMPLES: usize = 16 << 10;

/// Makes the trunk's input of samples.
#[derive(Debug)]
pub(super) struct Normaliser {
    affine: Affine,
    version: Version,
    /// The value of each byte, by channel.
    table: Box<[[f32; 256]; INPUT_CHANNELS]>,
}

impl Normaliser {
    /// `affine`, then [`Version::scaling`]. Every operation is rounded to float32 on its own, as in
    /// PyTorch.
    pub(super) fn new(affine: Affine, version: Version) -> Normaliser {
        let scaled =
            |channel: usize, sample: usize| scaled(affine, version, channel, sample as f32 / 255.0);
        let table = |channel: usize| std::array::from_fn(|sample| scaled(channel, sample));
        Normaliser { affine, version, table: Box::new(std::array::from_fn(table)) }
    }

    /// Converts some rows of these images of a batch.
    pub(super) fn run(&self, batch: &Batch, images: &[usize], mut input: Target<'_>, team: &Team) {
        let (layout, first) = (input.layout(), input.rows.start);
        let row_samples = layout.w * layout.c;
        let rows_per_task = TASK_SAMPLES.div_ceil(row_samples);
        let mut work = Vec::new();
        for (&image, rows) in images.iter().zip(input.images()) {
            let tasks = rows.chunks_mut(rows_per_task * layout.row_len()).enumerate();
            work.extend(tasks.map(|(task, rows)| (image, first + task * rows_per_task, rows)));
        }
        team.for_each(work, |(image, first, rows)| {
            let bytes = batch.image(image);
            for (y, row) in (first..).zip(rows.chunks_exact_mut(layout.row_len())) {
                let dst = layout.pixels_mut(row);
                let samples = y * row_samples..(y + 1) * row_samples;
                match batch.shape().depth {
                    Depth::U8 => {
                        let pixels = bytes[samples].chunks_exact(INPUT_CHANNELS);
                        for (dst, pixel) in dst.chunks_exact_mut(INPUT_CHANNELS).zip(pixels) {
                            for channel in 0..INPUT_CHANNELS {
                                dst[channel] = self.table[channel][usize::from(pixel[channel])];
                            }
                        }
                    }
                    Depth::F32 => {
                        let source: &[f32] = bytemuck::cast_slice(bytes);
                        for (index, (dst, &x)) in dst.iter_mut().zip(&source[samples]).enumerate() {
                            *dst = scaled(self.affine, self.version, index % INPUT_CHANNELS, x);
                        }
                    }
                }
            }
        });
    }
}

fn scaled(affine: Affine, version: Version, channel: usize, x: f32) -> f32 {
    let v = affine.of(x);
    match version.scaling() {
        Some((shift, scale)) => (v - shift[channel]) / scale[channel],
        None => v,
    }
}

/// Computes each of some rows of `dst` from the image of `src` that it belongs to: its number, and
/// its pixels.
pub(super) fn for_each_row(
    src: &Tensor,
    mut dst: Target<'_>,
    team: &Team,
    compute: impl Fn(Source<'_>, usize, &mut [f32]) + Sync,
) {
    let (to, rows) = (dst.layout(), dst.rows.clone());
    let mut work = Vec::new();
    for (image, of_image) in dst.images().enumerate() {
        let of_image = of_image.chunks_exact_mut(to.row_len());
        work.extend(rows.clone().zip(of_image).map(|(y, row)| (image, y, row)));
    }
    team.for_each(work, |(image, y, row)| {
        compute(src.image(image), y, to.pixels_mut(row));
    });
}

/// Max-pooling. Windows that extend over the far edges use only the pixels inside.
pub(super) fn max_pool(
    src: &Tensor,
    dst: Target<'_>,
    [kernel, stride]: [usize; 2],
    isa: Isa,
    team: &Team,
) {
    let (from, to) = (src.layout(), dst.layout());
    for_each_row(src, dst, team, |src, y, dst| {
        let inside = y * stride..(y * stride + kernel).min(from.h);
        let window: Vec<&[f32]> = inside.map(|y| src.row(y)).collect();
        dispatch_plain(isa, PoolRow { window: &window, dst, c: to.c, kernel, stride });
    });
}

/// L2 pooling ([`crate::net::Layer::L2Pool`]). The border of the source is its padding.
pub(super) fn l2_pool(src: &Tensor, dst: Target<'_>, isa: Isa, team: &Team) {
    let (from, to) = (src.layout(), dst.layout());
    for_each_row(src, dst, team, |src, y, dst| {
        let len = (2 * to.w + 1) * from.c;
        let window = [-1, 0, 1].map(|dy| &src.data[src.at(2 * y as isize + dy, -1)..][..len]);
        dispatch_plain(isa, L2PoolRow { window, dst, c: to.c });
    });
}

/// One row of L2-pooled pixels. The rows of its windows begin one pixel before the first pixel.
struct L2PoolRow<'a> {
    window: [&'a [f32]; 3],
    dst: &'a mut [f32],
    c: usize,
}

impl Plain for L2PoolRow<'_> {
    #[inline(always)]
    fn run(self) {
        let L2PoolRow { window, dst, c } = self;
        for (x, dst) in dst.chunks_exact_mut(c).enumerate() {
            for (group, dst) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let lanes = |row: &[f32], column: usize| {
                    row[(2 * x + column) * c..][..c].as_chunks::<LANES>().0[group]
                };
                // Weights of 1 2 1 in both directions add up to 16.
                let [above, here, below] = window.map(|row| {
                    let [left, middle, right] = [0, 1, 2].map(|column| lanes(row, column));
                    let square = |lane: usize| {
                        left[lane] * left[lane]
                            + 2.0 * (middle[lane] * middle[lane])
                            + right[lane] * right[lane]
                    };
                    std::array::from_fn::<f32, LANES, _>(square)
                });
                for (lane, dst) in dst.iter_mut().enumerate() {
                    let sum = above[lane] + 2.0 * here[lane] + below[lane];
                    *dst = (sum / 16.0 + 1e-12).sqrt();
                }
            }
        }
    }
}

/// Channels that are pooled together. The channels of every pooled map are a multiple of it.
const LANES: usize = 16;

/// One row of pooled pixels from the rows of their windows.
pub(super) struct PoolRow<'a> {
    pub(super) window: &'a [&'a [f32]],
    pub(super) dst: &'a mut [f32],
    pub(super) c: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
}

impl Plain for PoolRow<'_> {
    #[inline(always)]
    fn run(self) {
        let PoolRow { window, dst, c, kernel, stride } = self;
        for (x, dst) in dst.chunks_exact_mut(c).enumerate() {
            let first = x * stride * c;
            for (group, dst) in dst.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                let lanes = |pixel: &[f32]| pixel.as_chunks::<LANES>().0[group];
                let mut largest = lanes(&window[0][first..][..c]);
                for row in window {
                    let end = row.len().min(first + kernel * c);
                    for src in row[first..end].chunks_exact(c) {
                        for (largest, src) in largest.iter_mut().zip(lanes(src)) {
                            *largest = if src > *largest { src } else { *largest };
                        }
                    }
                }
                *dst = largest;
            }
        }
    }
}
