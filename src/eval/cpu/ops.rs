//! The operations of a walk other than convolutions and taps: normalising the input, and poolings.

use super::team::Team;
use super::tensor::{BEFORE, Layout, Tensor};
use crate::batch::Batch;
use crate::eval::Affine;
use crate::image::Depth;
use crate::isa::{Isa, Plain, dispatch_plain};
use crate::net::INPUT_CHANNELS;
use crate::net::weights::Version;

/// Converts samples to the trunk's input: `affine`, then [`Version::scaling`]. Every operation is
/// rounded to float32 on its own, as in PyTorch.
pub(super) fn normalise(
    batch: &Batch,
    images: &[usize],
    affine: Affine,
    version: Version,
    input: &mut Tensor,
    team: &Team,
) {
    let size = batch.shape().size;
    let layout = Layout { c: INPUT_CHANNELS, h: size.height, w: size.width };
    input.resize(images.len(), layout);
    let scaled = |channel: usize, x: f32| {
        let v = affine.of(x);
        match version.scaling() {
            Some((shift, scale)) => (v - shift[channel]) / scale[channel],
            None => v,
        }
    };
    let table: [[f32; 256]; INPUT_CHANNELS] = std::array::from_fn(|channel| {
        std::array::from_fn(|sample| scaled(channel, sample as f32 / 255.0))
    });
    let work: Vec<_> = images.iter().zip(input.images_mut()).collect();
    team.for_each(work, |(&image, dst)| {
        let bytes = batch.image(image);
        let rows = dst.chunks_exact_mut(layout.row_len()).skip(BEFORE).take(layout.h);
        let row_samples = layout.w * layout.c;
        for (y, row) in rows.enumerate() {
            let dst = &mut row[BEFORE * layout.c..][..row_samples];
            let samples = y * row_samples..(y + 1) * row_samples;
            match batch.shape().depth {
                Depth::U8 => {
                    let pixels = bytes[samples].chunks_exact(INPUT_CHANNELS);
                    for (dst, pixel) in dst.chunks_exact_mut(INPUT_CHANNELS).zip(pixels) {
                        for channel in 0..INPUT_CHANNELS {
                            dst[channel] = table[channel][usize::from(pixel[channel])];
                        }
                    }
                }
                Depth::F32 => {
                    let source: &[f32] = bytemuck::cast_slice(bytes);
                    for (index, (dst, &x)) in dst.iter_mut().zip(&source[samples]).enumerate() {
                        *dst = scaled(index % INPUT_CHANNELS, x);
                    }
                }
            }
        }
    });
}

/// Computes every row of `dst` from the image of `src` that it belongs to: its number, and its
/// pixels without the border.
fn for_each_row(
    src: &Tensor,
    dst: &mut Tensor,
    team: &Team,
    compute: impl Fn(&[f32], usize, &mut [f32]) + Sync,
) {
    let to = dst.layout();
    let mut work = Vec::new();
    for (image, dst) in dst.images_mut().enumerate() {
        let rows = to.inner(dst).chunks_exact_mut(to.row_len());
        work.extend(rows.enumerate().map(|(y, row)| (image, y, row)));
    }
    team.for_each(work, |(image, y, row)| {
        compute(src.image(image), y, &mut row[BEFORE * to.c..][..to.w * to.c]);
    });
}

/// Max-pooling. Windows that extend over the far edges use only the pixels inside.
pub(super) fn max_pool(
    src: &Tensor,
    dst: &mut Tensor,
    kernel: usize,
    stride: usize,
    isa: Isa,
    team: &Team,
) {
    let (from, to) = (src.layout(), dst.layout());
    for_each_row(src, dst, team, |src, y, dst| {
        let inside = y * stride..(y * stride + kernel).min(from.h);
        let window: Vec<&[f32]> =
            inside.map(|y| &src[from.at(y as isize, 0)..][..from.w * from.c]).collect();
        dispatch_plain(isa, PoolRow { window: &window, dst, c: to.c, kernel, stride });
    });
}

/// L2 pooling ([`crate::net::Layer::L2Pool`]). The border of the source is its padding.
pub(super) fn l2_pool(src: &Tensor, dst: &mut Tensor, isa: Isa, team: &Team) {
    let (from, to) = (src.layout(), dst.layout());
    for_each_row(src, dst, team, |src, y, dst| {
        let len = (2 * to.w + 1) * from.c;
        let window = [-1, 0, 1].map(|dy| &src[from.at(2 * y as isize + dy, -1)..][..len]);
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
