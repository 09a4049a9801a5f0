//! Taps: the two images of a pair compared at one layer.

use rayon::prelude::*;

use super::simd::{Isa, Plain, dispatch};
use super::tensor::{Layout, Tensor};
use crate::batch::Pair;
use crate::eval::{Distance, Epsilon, Map, Model, Wanted};

/// Lanes of the tap's sums: a fixed order whatever the instruction set's width.
const LANES: usize = 16;

/// How one model compares its taps, and what it keeps of them.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Channel weights per layer.
    lin: Vec<Vec<f32>>,
    epsilon: Epsilon,
    wanted: Wanted,
    isa: Isa,
}

impl Comparison {
    pub(super) fn new(model: &Model, isa: Isa) -> Comparison {
        let ones = || model.trunk.net.spec().tap_channels().into_iter().map(|c| vec![1.0; c]);
        let lin = model.lin.clone().unwrap_or_else(|| ones().collect());
        Comparison { lin, epsilon: model.epsilon, wanted: model.wanted, isa }
    }

    /// Adds what `layer` says of each pair to its distance; `src` holds the layer's activations.
    pub(super) fn run(
        &self,
        layer: usize,
        src: &Tensor,
        pairs: &[Pair],
        distances: &mut [Distance],
    ) {
        for (pair, distance) in pairs.iter().zip(distances) {
            let (a, b) = (src.image(pair.reference), src.image(pair.distorted));
            let difference = Difference { a, b, lin: &self.lin[layer], epsilon: self.epsilon };
            if self.wanted.layers {
                let map = map(src.layout(), self.isa, &difference);
                distance.layers.push(mean_of(&map));
                distance.maps.push(map);
            } else {
                distance.layers.push(mean(src.layout(), self.isa, &difference));
            }
            if self.wanted.reference_sum == Some(layer) {
                distance.reference_sum = Some(map(src.layout(), self.isa, &ChannelSum(a)));
            }
        }
    }
}

/// A value per position. `of` must be `#[inline(always)]`, as a kernel's `run`.
trait Value: Sync {
    /// The value of the position whose `c` channels start at `at`.
    fn of(&self, at: usize, c: usize) -> f32;
}

/// The map D_l: `sum over channels of lin (a/|a| - b/|b|)^2`, with the norms of [`Epsilon`].
struct Difference<'a> {
    a: &'a [f32],
    b: &'a [f32],
    lin: &'a [f32],
    epsilon: Epsilon,
}

impl Value for Difference<'_> {
    #[inline(always)]
    fn of(&self, at: usize, c: usize) -> f32 {
        position(&self.a[at..][..c], &self.b[at..][..c], self.lin, self.epsilon)
    }
}

/// The map S_k.
struct ChannelSum<'a>(&'a [f32]);

impl Value for ChannelSum<'_> {
    #[inline(always)]
    fn of(&self, at: usize, c: usize) -> f32 {
        channel_sum(&self.0[at..][..c])
    }
}

/// The mean over positions. Rows are summed on their own and added in order, in float64.
fn mean(layout: Layout, isa: Isa, value: &impl Value) -> f64 {
    let row_sum = |y: usize| -> f64 {
        let mut sum = 0.0;
        dispatch(
            isa,
            Plain(|| {
                for x in 0..layout.w {
                    sum += f64::from(value.of(layout.at(y as isize, x as isize), layout.c));
                }
            }),
        );
        sum
    };
    let rows: Vec<f64> = (0..layout.h).into_par_iter().map(row_sum).collect();
    rows.iter().sum::<f64>() / (layout.h * layout.w) as f64
}

/// The values that [`mean`] averages.
fn map(layout: Layout, isa: Isa, value: &impl Value) -> Map {
    let mut values = vec![0.0; layout.h * layout.w];
    values.par_chunks_exact_mut(layout.w).enumerate().for_each(|(y, row)| {
        dispatch(
            isa,
            Plain(|| {
                for (x, dst) in row.iter_mut().enumerate() {
                    *dst = value.of(layout.at(y as isize, x as isize), layout.c);
                }
            }),
        );
    });
    Map { height: layout.h, width: layout.w, values }
}

/// The mean of a map, bit for bit as [`mean`] makes it.
fn mean_of(map: &Map) -> f64 {
    let row_sum = |row: &[f32]| row.iter().fold(0.0, |sum, &value| sum + f64::from(value));
    let rows = map.values.chunks_exact(map.width).map(row_sum);
    rows.sum::<f64>() / map.values.len() as f64
}

/// See [`Difference`].
#[inline(always)]
fn position(a: &[f32], b: &[f32], lin: &[f32], epsilon: Epsilon) -> f32 {
    let scale = |values| 1.0 / ((square_sum(values) + epsilon.inside).sqrt() + epsilon.outside);
    let (scale_a, scale_b) = (scale(a), scale(b));
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
fn square_sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for values in values.chunks_exact(LANES) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value * value;
        }
    }
    sums.iter().sum()
}

#[inline(always)]
fn channel_sum(values: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    for values in values.chunks_exact(LANES) {
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    sums.iter().sum()
}
