//! Taps: the two images of a pair compared at one layer, row by row.
#![expect(unsafe_code, reason = "kernels are unsafe to run without their instruction set")]

use super::simd::{Isa, Kernel, Vector, dispatch};
use super::team::Team;
use super::tensor::{Layout, Tensor};
use crate::batch::Pair;
use crate::eval::{Distance, Epsilon, Map, Model, Wanted};

/// Lanes of the tap's sums: a fixed order whatever the instruction set's width. Channels of every
/// tap are a multiple of it.
const LANES: usize = 16;
/// Vectors that hold the lanes, at the most.
const VECTORS_MAX: usize = 4;

/// How one model compares its taps, and what it keeps of them.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Channel weights per layer.
    lin: Vec<Vec<f32>>,
    epsilon: Epsilon,
    wanted: Wanted,
    isa: Isa,
}

/// What one layer says of one pair, in the making. Rows are summed on their own and added in order,
/// in float64, so that it does not matter who computes which.
pub(super) struct Compared {
    row_sums: Vec<f64>,
    map: Option<Map>,
    reference_sum: Option<Map>,
}

/// Where the results of one row go.
pub(super) struct RowResult<'a> {
    sum: &'a mut f64,
    map: Option<&'a mut [f32]>,
    reference_sum: Option<&'a mut [f32]>,
}

impl Compared {
    /// One for each row of the map.
    pub(super) fn rows(&mut self) -> Vec<RowResult<'_>> {
        fn of(map: &mut Option<Map>) -> impl Iterator<Item = Option<&mut [f32]>> {
            let rows = map.iter_mut().flat_map(|map| map.values.chunks_exact_mut(map.width));
            rows.map(Some).chain(std::iter::repeat_with(|| None))
        }
        let rows = self.row_sums.iter_mut().zip(of(&mut self.map)).zip(of(&mut self.reference_sum));
        rows.map(|((sum, map), reference_sum)| RowResult { sum, map, reference_sum }).collect()
    }

    /// Adds the layer to the distance of the pair; `width` is that of the map.
    pub(super) fn finish(self, width: usize, distance: &mut Distance) {
        let positions = (self.row_sums.len() * width) as f64;
        distance.layers.push(self.row_sums.iter().sum::<f64>() / positions);
        distance.maps.extend(self.map);
        distance.reference_sum = distance.reference_sum.take().or(self.reference_sum);
    }
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
        team: &Team,
    ) {
        let layout = src.layout();
        for (pair, distance) in pairs.iter().zip(distances) {
            let mut compared = self.start(layer, layout);
            team.for_each(compared.rows().into_iter().enumerate(), |(y, result)| {
                let row = |image: usize| &src.image(image)[layout.at(y as isize, 0)..];
                self.row(layer, row(pair.reference), row(pair.distorted), layout, result);
            });
            compared.finish(layout.w, distance);
        }
    }

    /// Room for the results of one pair.
    pub(super) fn start(&self, layer: usize, Layout { h, w, .. }: Layout) -> Compared {
        let map =
            |wanted: bool| wanted.then(|| Map { height: h, width: w, values: vec![0.0; h * w] });
        Compared {
            row_sums: vec![0.0; h],
            map: map(self.wanted.layers),
            reference_sum: map(self.wanted.reference_sum == Some(layer)),
        }
    }

    /// Compares a row of a map; `a` and `b` begin with its first pixel.
    pub(super) fn row(
        &self,
        layer: usize,
        a: &[f32],
        b: &[f32],
        Layout { c, w, .. }: Layout,
        result: RowResult<'_>,
    ) {
        let (a, b) = (&a[..w * c], &b[..w * c]);
        let row = Row { a, b, lin: &self.lin[layer], epsilon: self.epsilon, result };
        dispatch(self.isa, row);
    }
}

/// A row of both images.
struct Row<'a> {
    a: &'a [f32],
    b: &'a [f32],
    lin: &'a [f32],
    epsilon: Epsilon,
    result: RowResult<'a>,
}

impl Kernel for Row<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const TILE: usize>(self) {
        let Row { a, b, lin, epsilon, mut result } = self;
        let c = lin.len();
        let mut sum = 0.0;
        for (x, (a, b)) in a.chunks_exact(c).zip(b.chunks_exact(c)).enumerate() {
            // SAFETY: the caller vouches for the instruction set.
            let value = unsafe { position::<V>(a, b, lin, epsilon) };
            sum += f64::from(value);
            if let Some(map) = &mut result.map {
                map[x] = value;
            }
            if let Some(map) = &mut result.reference_sum {
                // SAFETY: the caller vouches for the instruction set.
                map[x] = unsafe { in_lanes::<V, _>([a], |sum, [a]| sum.add(a)) };
            }
        }
        *result.sum = sum;
    }
}

/// The map D_l at one position: `sum over channels of lin (a/|a| - b/|b|)^2`, with the norms of
/// [`Epsilon`].
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
unsafe fn position<V: Vector>(a: &[f32], b: &[f32], lin: &[f32], epsilon: Epsilon) -> f32 {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let scale = |values| {
            let squares = in_lanes::<V, _>([values], |sum, [value]| value.mul_add(value, sum));
            V::splat(1.0 / ((squares + epsilon.inside).sqrt() + epsilon.outside))
        };
        let (scale_a, scale_b) = (scale(a), scale(b));
        in_lanes::<V, _>([a, b, lin], |sum, [a, b, lin]| {
            // Both products are rounded alike, so that equal features differ by exactly nothing.
            let difference = a.mul(scale_a).sub(b.mul(scale_b));
            lin.mul_add(difference.mul(difference), sum)
        })
    }
}

/// What `add` makes of all channels, in [`LANES`] sums that are added halves onto halves.
///
/// # Safety
/// The instruction set of `V` must be available.
#[inline(always)]
unsafe fn in_lanes<V: Vector, const N: usize>(
    values: [&[f32]; N],
    mut add: impl FnMut(V, [V; N]) -> V,
) -> f32 {
    const { assert!(LANES.is_multiple_of(V::LEN) && LANES / V::LEN <= VECTORS_MAX) };
    let len = values[0].len();
    assert!(values.iter().all(|values| values.len() == len));
    // SAFETY: a vector that begins below `len`, which is a multiple of its length, is inside; the
    // caller vouches for the instruction set.
    unsafe {
        let mut sums = [V::splat(0.0); VECTORS_MAX];
        for first in (0..len / LANES * LANES).step_by(LANES) {
            for (vector, sum) in sums.iter_mut().enumerate().take(LANES / V::LEN) {
                let at = first + vector * V::LEN;
                *sum = add(*sum, values.map(|values| V::load(values.as_ptr().add(at))));
            }
        }
        let mut count = LANES / V::LEN;
        while count > 1 {
            count /= 2;
            for vector in 0..count {
                sums[vector] = sums[vector].add(sums[vector + count]);
            }
        }
        sums[0].total()
    }
}
