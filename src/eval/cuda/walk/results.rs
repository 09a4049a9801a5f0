//! Where the results and the tables of a net are among those of a slot.

use crate::eval::cuda::memory::aligned;
use crate::eval::{Distance, Map, Wanted};
use crate::net::plan::Shape;

/// What a slot holds for all nets of one size: how many bytes of results, and tables of numbers
/// that kernels read, which are uploaded with the pairs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::eval::cuda) struct SlotLayout {
    pub(in crate::eval::cuda) results_bytes: usize,
    pub(in crate::eval::cuda) tables: Vec<u8>,
}

impl SlotLayout {
    /// Adds a table of u32, and returns its offset.
    pub(super) fn add_table(&mut self, values: impl Iterator<Item = usize>) -> usize {
        let at = self.tables.len();
        self.tables.extend(values.flat_map(|value| (value as u32).to_ne_bytes()));
        self.tables.resize(aligned(self.tables.len()), 0);
        at
    }
}

/// Offsets of the results of one net within a slot's results, for a full micro-batch. All of them
/// are aligned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    /// f64 (pair, layer).
    pub(super) means: usize,
    /// f32 (pair, position), per layer.
    pub(super) maps: Vec<usize>,
    /// The layer, and f32 (pair, position).
    pub(super) reference_sum: Option<(usize, usize)>,
    /// First byte after all of them.
    pub(super) end: usize,
}

impl Layout {
    pub(super) fn new(start: usize, taps: &[Shape], pairs_max: usize, wanted: Wanted) -> Layout {
        let mut end = start;
        let mut take = |bytes: usize| {
            let at = end;
            end = aligned(end + bytes);
            at
        };
        let map_bytes = |tap: &Shape| size_of::<f32>() * pairs_max * tap.h * tap.w;
        let means = take(size_of::<f64>() * pairs_max * taps.len());
        let mapped = if wanted.layers { taps } else { &[] };
        let maps = mapped.iter().map(|tap| take(map_bytes(tap))).collect();
        let reference_sum =
            wanted.reference_sum.map(|layer| (layer, take(map_bytes(&taps[layer]))));
        Layout { means, maps, reference_sum, end }
    }

    /// Reads the distance of one pair from `results`, a copy of the slot's results.
    pub(super) fn distance(&self, taps: &[Shape], results: &[u8], pair: usize) -> Distance {
        let map = |layer: usize, at: usize| {
            let Shape { h: height, w: width, .. } = taps[layer];
            let values = values(results, at, pair * height * width, height * width);
            Map { height, width, values }
        };
        let maps = self.maps.iter().enumerate();
        Distance {
            layers: values(results, self.means, pair * taps.len(), taps.len()),
            maps: maps.map(|(layer, &at)| map(layer, at)).collect(),
            reference_sum: self.reference_sum.map(|(layer, at)| map(layer, at)),
            ..Distance::default()
        }
    }
}

/// `count` values, beginning with index `first`, of the array that starts at byte `at`.
fn values<T: bytemuck::Pod>(bytes: &[u8], at: usize, first: usize, count: usize) -> Vec<T> {
    let start = at + first * size_of::<T>();
    bytemuck::pod_collect_to_vec(&bytes[start..][..count * size_of::<T>()])
}
