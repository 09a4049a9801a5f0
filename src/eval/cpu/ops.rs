//! Everything of a walk but the convolutions: input, pooling, taps.

use rayon::prelude::*;

use super::simd::{Isa, Plain, dispatch};
use super::tensor::{BORDER, Layout, Tensor};
use crate::batch::{Batch, Depth, Pair};
use crate::net::INPUT_CHANNELS;
use crate::net::weights::Version;

/// Samples in [0, 1] -> what the trunk expects (see [`Version::scaling`]), one rounding after the
/// other as PyTorch does it.
pub(super) fn normalise(batch: &Batch, images: &[usize], version: Version, input: &mut Tensor) {
    let size = batch.shape().size;
    let layout = Layout { c: INPUT_CHANNELS, h: size.height, w: size.width };
    input.resize(images.len(), layout);
    let scaled = |channel: usize, x: f32| {
        let v = 2.0 * x - 1.0;
        match version.scaling() {
            Some((shift, scale)) => (v - shift[channel]) / scale[channel],
            None => v,
        }
    };
    let table: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|sample| scaled(channel, sample as f32 / 255.0))
    });
    let work: Vec<_> = images.iter().zip(input.images_mut()).collect();
    work.into_par_iter().for_each(|(&image, dst)| {
        let bytes = batch.image(image);
        let rows = dst.chunks_exact_mut(layout.row_len()).skip(BORDER).take(layout.h);
        let row_samples = layout.w * layout.c;
        for (y, row) in rows.enumerate() {
            let dst = &mut row[BORDER * layout.c..][..row_samples];
            let samples = y * row_samples..(y + 1) * row_samples;
            match batch.shape().depth {
                Depth::U8 => {
                    for (index, (dst, &sample)) in dst.iter_mut().zip(&bytes[samples]).enumerate() {
                        *dst = table[index % 3][usize::from(sample)];
                    }
                }
                Depth::F32 => {
                    let source: &[f32] = bytemuck::cast_slice(bytes);
                    for (index, (dst, &x)) in dst.iter_mut().zip(&source[samples]).enumerate() {
                        *dst = scaled(index % 3, x);
                    }
                }
            }
        }
    });
}

/// Max-pooling; windows that reach over the far edges see only what is inside. Activations follow
/// a ReLU, so the zeros of the border change no maximum.
pub(super) fn max_pool(src: &Tensor, dst: &mut Tensor, kernel: usize, stride: usize, isa: Isa) {
    let to = dst.layout();
    let mut work = Vec::new();
    for (image, dst) in dst.images_mut().enumerate() {
        let rows = dst.chunks_exact_mut(to.row_len()).skip(BORDER).take(to.h);
        work.extend(rows.enumerate().map(|(y, row)| (image, y, row)));
    }
    work.into_par_iter().for_each(|(image, y, row)| {
        let (src, from) = (src.image(image), src.layout());
        dispatch(
            isa,
            Plain(|| pool_row(src, from, y, &mut row[BORDER * to.c..], to, kernel, stride)),
        );
    });
}

#[inline(always)]
fn pool_row(
    src: &[f32],
    from: Layout,
    y: usize,
    dst: &mut [f32],
    to: Layout,
    kernel: usize,
    stride: usize,
) {
    for (x, dst) in dst.chunks_exact_mut(to.c).take(to.w).enumerate() {
        dst.fill(0.0);
        for wy in y * stride..(y * stride + kernel).min(from.h) {
            for wx in x * stride..(x * stride + kernel).min(from.w) {
                let src = &src[from.at(wy as isize, wx as isize)..][..to.c];
                for (dst, &src) in dst.iter_mut().zip(src) {
                    *dst = if src > *dst { src } else { *dst };
                }
            }
        }
    }
}

/// Lanes of the tap's sums: a fixed order whatever the instruction set's width.
const LANES: usize = 16;

/// For each pair the mean over positions of `sum over channels of lin (a/|a| - b/|b|)^2`, where the
/// norms are `sqrt(sum a^2) + 1e-10`. Rows are summed on their own and added in order, in float64.
pub(super) fn tap(src: &Tensor, pairs: &[Pair], lin: Option<&[f32]>, isa: Isa) -> Vec<f64> {
    let layout = src.layout();
    let ones = vec![1.0; if lin.is_none() { layout.c } else { 0 }];
    let lin = lin.unwrap_or(&ones);
    pairs
        .iter()
        .map(|pair| {
            let (a, b) = (src.image(pair.reference), src.image(pair.distorted));
            let row_sum = |y: usize| -> f64 {
                let mut sum = 0.0;
                dispatch(
                    isa,
                    Plain(|| {
                        for x in 0..layout.w {
                            let at = layout.at(y as isize, x as isize);
                            let (a, b) = (&a[at..][..layout.c], &b[at..][..layout.c]);
                            sum += f64::from(position(a, b, lin));
                        }
                    }),
                );
                sum
            };
            let rows: Vec<f64> = (0..layout.h).into_par_iter().map(row_sum).collect();
            rows.iter().sum::<f64>() / (layout.h * layout.w) as f64
        })
        .collect()
}

/// The value of the map D_l at one position.
#[inline(always)]
fn position(a: &[f32], b: &[f32], lin: &[f32]) -> f32 {
    let (scale_a, scale_b) = (1.0 / (norm(a) + 1e-10), 1.0 / (norm(b) + 1e-10));
    let mut sums = [0.0f32; LANES];
    let lanes = a.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(lin.chunks_exact(LANES));
    for ((a, b), lin) in lanes {
        for lane in 0..LANES {
            // Both products are rounded alike, so that equal features differ by exactly nothing.
            let difference = a[lane] * scale_a - b[lane] * scale_b;
            sums[lane] += lin[lane] * (difference * difference);
        }
    }
    sums.iter().sum()
}

/// Channels of every tap are a multiple of [`LANES`].
#[inline(always)]
fn norm(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for values in values.chunks_exact(LANES) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    sums.iter().sum::<f32>().sqrt()
}
