//! Taps of LPIPS: compares the two images of a pair at one layer, row by row.
#![expect(unsafe_code, reason = "vectors are loaded by pointer")]

use std::ops::Range;

use super::simd::{Kernel, Simd, Vector, dispatch};
use super::team::Team;
use super::tensor::{Layout, Tensor};
use crate::batch::Pair;
use crate::eval::{Distance, Epsilon, Lpips, Map, Wanted};
use crate::isa::Isa;

/// Partial sums of a tap. The number is fixed, so that the order of summation does not depend on
/// the width of the instruction set. The channels of every tap are a multiple of it.
const LANES: usize = 16;
/// Largest number of vectors that hold the lanes.
const VECTORS_MAX: usize = 4;

/// How one model compares its taps, and which maps it keeps.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Channel weights per layer.
    lin: Vec<Vec<f32>>,
    epsilon: Epsilon,
    wanted: Wanted,
    isa: Isa,
}

/// The results of one layer for one pair, while they are computed. Each row has a sum of its own,
/// and the sums are added in order, in float64, so the result does not depend on which thread
/// computes which row.
#[derive(Debug)]
pub(super) struct LayerResult {
    /// Of all rows before those that are computed now.
    sum: f64,
    /// Of the rows that are computed now.
    row_sums: Vec<f64>,
    map: Option<Map>,
    reference_sum: Option<Map>,
}

/// Where the results of one row go; `sum` is that of the columns before.
pub(super) struct RowResult<'a> {
    sum: &'a mut f64,
    map: Option<&'a mut [f32]>,
    reference_sum: Option<&'a mut [f32]>,
}

impl RowResult<'_> {
    /// The part for some columns. These must be compared from left to right.
    pub(super) fn part(&mut self, columns: Range<usize>) -> RowResult<'_> {
        RowResult {
            sum: self.sum,
            map: self.map.as_deref_mut().map(|map| &mut map[columns.clone()]),
            reference_sum: self.reference_sum.as_deref_mut().map(|map| &mut map[columns]),
        }
    }
}

impl LayerResult {
    /// Where the results of each of the next rows of the map go.
    pub(super) fn rows(&mut self, rows: Range<usize>) -> Vec<RowResult<'_>> {
        fn of(map: &mut Option<Map>, first: usize) -> impl Iterator<Item = Option<&mut [f32]>> {
            let rows = map
                .iter_mut()
                .flat_map(move |map| map.values.chunks_exact_mut(map.width).skip(first));
            rows.map(Some).chain(std::iter::repeat_with(|| None))
        }
        self.row_sums.clear();
        self.row_sums.resize(rows.len(), 0.0);
        let maps = of(&mut self.map, rows.start).zip(of(&mut self.reference_sum, rows.start));
        let rows = self.row_sums.iter_mut().zip(maps);
        rows.map(|(sum, (map, reference_sum))| RowResult { sum, map, reference_sum }).collect()
    }

    /// Adds the sums of the rows that were computed.
    pub(super) fn add_rows(&mut self) {
        self.sum = self.row_sums.drain(..).fold(self.sum, |sum, of_row| sum + of_row);
    }

    /// Adds the layer to the distance of the pair. All rows of `tap` were computed.
    pub(super) fn finish(self, tap: Layout, distance: &mut Distance) {
        distance.layers.push(self.sum / (tap.h * tap.w) as f64);
        distance.maps.extend(self.map);
        distance.reference_sum = distance.reference_sum.take().or(self.reference_sum);
    }
}

impl Comparison {
    /// Of a net with the channels of these taps.
    pub(super) fn new(lpips: Lpips, tap_channels: &[usize], isa: Isa) -> Comparison {
        let Lpips { lin, epsilon, wanted } = lpips;
        let ones = || tap_channels.iter().map(|&c| vec![1.0; c]).collect();
        Comparison { lin: lin.unwrap_or_else(ones), epsilon, wanted, isa }
    }

    /// Compares some rows of the tap of `layer`, which `src` holds, for each pair.
    pub(super) fn run(
        &self,
        layer: usize,
        src: &Tensor,
        rows: Range<usize>,
        pairs: &[Pair],
        results: &mut [LayerResult],
        team: &Team,
    ) {
        for (pair, result) in pairs.iter().zip(results) {
            let work = rows.clone().zip(result.rows(rows.clone()));
            team.for_each(work, |(y, of_row)| {
                let row = |image: usize| src.image(image).row(y);
                self.row(layer, row(pair.reference), row(pair.distorted), of_row);
            });
            result.add_rows();
        }
    }

    /// Memory for the results of one pair.
    pub(super) fn start(&self, layer: usize, Layout { h, w, .. }: Layout) -> LayerResult {
        let map =
            |wanted: bool| wanted.then(|| Map { height: h, width: w, values: vec![0.0; h * w] });
        LayerResult {
            sum: 0.0,
            row_sums: Vec::new(),
            map: map(self.wanted.layers),
            reference_sum: map(self.wanted.reference_sum == Some(layer)),
        }
    }

    /// Compares a row of a map.
    pub(super) fn row(&self, layer: usize, a: &[f32], b: &[f32], result: RowResult<'_>) {
        let row = Row { a, b, lin: &self.lin[layer], epsilon: self.epsilon, result };
        dispatch(self.isa, row);
    }
}

/// A row of both activations.
struct Row<'a> {
    a: &'a [f32],
    b: &'a [f32],
    lin: &'a [f32],
    epsilon: Epsilon,
    result: RowResult<'a>,
}

impl Kernel for Row<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(self, simd: S) {
        let Row { a, b, lin, epsilon, mut result } = self;
        let c = lin.len();
        let mut sum = *result.sum;
        for (x, (a, b)) in a.chunks_exact(c).zip(b.chunks_exact(c)).enumerate() {
            let value = position(simd, a, b, lin, epsilon);
            sum += f64::from(value);
            if let Some(map) = &mut result.map {
                map[x] = value;
            }
            if let Some(map) = &mut result.reference_sum {
                map[x] = in_lanes(simd, [a], |sum, [a]| sum.add(a));
            }
        }
        *result.sum = sum;
    }
}

/// The map D_l at one position: `sum over channels of lin (a/|a| - b/|b|)^2`, with the norms of
/// [`Epsilon`].
#[inline(always)]
fn position<S: Simd>(simd: S, a: &[f32], b: &[f32], lin: &[f32], epsilon: Epsilon) -> f32 {
    let scale = |values| {
        let squares = in_lanes(simd, [values], |sum, [value]| value.mul_add(value, sum));
        simd.splat(1.0 / ((squares + epsilon.inside).sqrt() + epsilon.outside))
    };
    let (scale_a, scale_b) = (scale(a), scale(b));
    in_lanes(simd, [a, b, lin], |sum, [a, b, lin]| {
        // Both products are rounded alike, so that equal features differ by exactly 0.
        let difference = a.mul(scale_a).sub(b.mul(scale_b));
        lin.mul_add(difference.mul(difference), sum)
    })
}

/// Folds all channels with `add` into [`LANES`] sums, then adds the upper half of the sums to the
/// lower half until one is left.
#[inline(always)]
fn in_lanes<S: Simd, const N: usize>(
    simd: S,
    values: [&[f32]; N],
    mut add: impl FnMut(S::Vector, [S::Vector; N]) -> S::Vector,
) -> f32 {
    const { assert!(LANES.is_multiple_of(S::LEN) && LANES / S::LEN <= VECTORS_MAX) };
    let len = values[0].len();
    assert!(values.iter().all(|values| values.len() == len));
    let mut sums = [simd.splat(0.0); VECTORS_MAX];
    for first in (0..len / LANES * LANES).step_by(LANES) {
        for (vector, sum) in sums.iter_mut().enumerate().take(LANES / S::LEN) {
            let at = first + vector * S::LEN;
            // SAFETY: the group of lanes that begins at `first` ends within all of the values, and
            // the vector ends within the group.
            let load = |values: &[f32]| unsafe { simd.load(values.as_ptr().add(at)) };
            *sum = add(*sum, values.map(load));
        }
    }
    let mut count = LANES / S::LEN;
    while count > 1 {
        count /= 2;
        for vector in 0..count {
            sums[vector] = sums[vector].add(sums[vector + count]);
        }
    }
    sums[0].total()
}
