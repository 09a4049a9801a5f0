//! What images of a shape take in memory, and how many of them are in flight.
//!
//! The memory that there is decides only how much is in flight: what a pair scores depends on its
//! pixels alone. A pair that does not fit alone is refused before its images are decoded.

use std::sync::Arc;

use super::bands::Bands;
use super::capacity::Cost;
use super::plans::Plans;
use crate::batch::{BatchShape, Group, Grouping};
use crate::eval::{HostMemory, Wanted};
use crate::image::Size;
use crate::memory::Available;
use crate::net::NetSpec;
use crate::net::plan::TooSmall;

/// Batches that may be open or in flight at once.
const BATCHES_MAX: u64 = 6;
/// As above, of items: these are large.
const ITEM_BATCHES_MAX: u64 = 2;
/// About so many samples make a batch, unless `--batch` sets its size: enough to share what is read
/// of the weights. Larger batches score no faster, and a job waits for the first and last.
const BATCH_SAMPLES: usize = 5 * 2 * 3 * 256 * 256;
/// Limit for the activations of the images that are walked together, unless two images need more.
/// Small images stay far below it: their batches are large enough to share each read of the
/// weights.
const ACTIVATION_BYTES: u64 = 256 << 20;
/// They also take at most 1/8 of the memory.
const ACTIVATION_PARTS: u64 = 8;
/// A batch takes at most 1/8 of the memory, unless a pair needs more.
const BATCH_PARTS: u64 = 8;
/// Copies of the weights as they were read: in a file or the program, and as values.
const WEIGHT_COPIES: u64 = 2;
/// What threads, files and tables take beside images and weights.
const PROGRAM_BYTES: u64 = 32 << 20;
/// Decoded images that wait at least: those of a pair, and for each as much again while it is
/// decoded.
const WAITING_IMAGES_MIN: u64 = 4;

/// The memory of an evaluator, and what it is for.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) nets: Vec<(&'static NetSpec, Wanted)>,
    /// Bytes of the weights as they were read. Nets that share a trunk count it once.
    pub(super) weight_bytes: u64,
    pub(super) threads: usize,
    /// At most so many pairs a batch; chosen from the size of the images if absent.
    pub(super) pairs_max: Option<usize>,
    pub(super) available: Available,
    pub(super) plans: Plans,
}

impl Budget {
    /// How a net is computed for images of `size`.
    ///
    /// # Errors
    /// When the images are too small.
    pub(super) fn bands(&self, net: &'static NetSpec, size: Size) -> Result<Arc<Bands>, TooSmall> {
        self.plans.bands(net, size)
    }

    /// The bands of all nets that accept images of this shape, and the maps that are wanted.
    fn of_nets(&self, shape: BatchShape) -> impl Iterator<Item = (Arc<Bands>, Wanted)> {
        let bands = move |&(net, wanted): &(&'static NetSpec, Wanted)| {
            Some((self.bands(net, shape.size).ok()?, wanted))
        };
        self.nets.iter().filter_map(bands)
    }

    /// Bytes that are planned with. A tenth is left to what the plan does not count.
    fn bytes(&self) -> u64 {
        self.available.bytes / 10 * 9
    }

    /// Largest number of images of `image_bytes` that are walked together.
    pub(super) fn images_at_once(&self, image_bytes: usize) -> usize {
        let bytes = ACTIVATION_BYTES.min(self.bytes() / ACTIVATION_PARTS) as usize;
        (bytes / image_bytes.max(1)).max(2)
    }

    /// What a batch for `group` holds. One for an item holds as many of its images as are walked at
    /// once. Otherwise images are what costs, so they bound the pairs, unless `--batch` does; what
    /// is kept of pairs is bounded, too.
    pub(super) fn capacity(&self, shape: BatchShape, group: Group) -> Group {
        let fitting = (self.bytes() / BATCH_PARTS / shape.image_bytes().max(1) as u64).max(2);
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        match group.grouping {
            Grouping::Item => {
                let wanted = match self.pairs_max {
                    Some(pairs_max) => pairs_max.saturating_mul(2).min(fitting),
                    None => self.item_cost(shape).images_max(self.bytes()),
                };
                let images = group.images.clamp(2, wanted.max(2));
                Group { grouping: Grouping::Item, images, pairs: usize::MAX }
            }
            Grouping::Pair | Grouping::Reference => {
                let chosen = BATCH_SAMPLES.div_ceil(2 * shape.size.samples());
                let pairs_max = self.pairs_max.unwrap_or(chosen).max(1);
                let images = pairs_max.saturating_mul(2).min(fitting);
                let pairs = self.pairs_max.unwrap_or(images);
                Group { grouping: Grouping::Reference, images, pairs }
            }
        }
    }

    /// At most so many batches of this capacity are open or in flight.
    pub(super) fn batches_max(&self, shape: BatchShape, capacity: Group) -> usize {
        let most = match capacity.grouping {
            Grouping::Pair | Grouping::Reference => BATCHES_MAX,
            Grouping::Item => ITEM_BATCHES_MAX,
        };
        let taken = self.fixed_bytes(shape) + self.activation_bytes(shape, capacity);
        let batch = self.batch_bytes(shape, capacity.images, pairs_of(capacity));
        (self.bytes().saturating_sub(taken) / batch.max(1)).clamp(1, most) as usize
    }

    /// The memory of scoring batches for `group`, beside the pixels that wait outside.
    pub(super) fn host_memory(&self, shape: BatchShape, group: Group) -> HostMemory {
        let capacity = self.capacity(shape, group);
        let batches = self.batches_max(shape, capacity);
        let images = (batches * capacity.images).min(group.images.max(2));
        let pairs = (batches * pairs_of(capacity)).min(group.pairs);
        let at_once = Group { images: capacity.images.min(images), ..capacity };
        HostMemory {
            fixed: PROGRAM_BYTES + self.all_weight_bytes(shape),
            staging: self.batch_bytes(shape, images, pairs),
            scoring: self.activation_bytes(shape, at_once),
            images: capacity.images,
        }
    }

    /// Why a pair of this shape can never be scored, if it cannot.
    pub(super) fn refusal(&self, shape: BatchShape) -> Option<String> {
        let capacity = Group { grouping: Grouping::Reference, images: 2, pairs: 1 };
        let staging = self.batch_bytes(shape, 2, 1);
        let needed = self.fixed_bytes(shape) + self.activation_bytes(shape, capacity) + staging;
        self.available.admit(needed, self.bytes()).err()
    }

    /// Bytes of the pixels of batches and of the maps that are given back.
    fn batch_bytes(&self, shape: BatchShape, images: usize, pairs: usize) -> u64 {
        let maps: usize = self.of_nets(shape).map(|(bands, wanted)| bands.map_bytes(wanted)).sum();
        (images * shape.image_bytes() + pairs * maps) as u64
    }

    /// Bytes that do not depend on what is in flight.
    fn fixed_bytes(&self, shape: BatchShape) -> u64 {
        let least = WAITING_IMAGES_MIN * shape.image_bytes() as u64;
        PROGRAM_BYTES + self.all_weight_bytes(shape) + self.available.decoded_bytes().max(least)
    }

    /// Bytes of the weights, with those that are packed for images of this shape.
    fn all_weight_bytes(&self, shape: BatchShape) -> u64 {
        let packed = self.of_nets(shape).map(|(bands, _)| bands.weight_bytes as u64);
        WEIGHT_COPIES * self.weight_bytes + packed.sum::<u64>()
    }

    fn item_cost(&self, shape: BatchShape) -> Cost {
        Cost::new(self.of_nets(shape), self.threads)
    }

    fn activation_bytes(&self, shape: BatchShape, capacity: Group) -> u64 {
        if capacity.grouping == Grouping::Item {
            return self.item_cost(shape).bytes(capacity.images) as u64;
        }
        let of_net = |(bands, _): (Arc<Bands>, Wanted)| {
            let bytes = bands.image_bytes(self.threads);
            (bytes * self.images_at_once(bytes).min(capacity.images)) as u64
        };
        self.of_nets(shape).map(of_net).sum()
    }
}

/// Pairs of a batch, except for one of an item, whose pairs are counted with its activations.
fn pairs_of(capacity: Group) -> usize {
    match capacity.grouping {
        Grouping::Item => 0,
        Grouping::Pair | Grouping::Reference => capacity.pairs.min(capacity.images),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cpu::bands::Limits;
    use crate::image::Depth;
    use crate::isa::Isa;
    use crate::net::Net;

    fn budget(bytes: u64) -> Budget {
        let nets = [Net::Alex, Net::Vgg];
        let weight_bytes = nets.map(|net| net.weight_bytes() as u64).iter().sum();
        let nets = nets.map(|net| (net.spec(), Wanted::default())).to_vec();
        let available = Available { bytes, limit: "`--memory`".to_owned() };
        let plans = Plans::new(Isa::best(), Limits::USUAL);
        Budget { nets, weight_bytes, threads: 2, pairs_max: None, available, plans }
    }

    fn shape(side: usize) -> BatchShape {
        BatchShape { size: Size { width: side, height: side }, depth: Depth::U8 }
    }

    const PAIR: Group = Group { grouping: Grouping::Reference, images: 2, pairs: 1 };

    #[test]
    fn less_memory_means_less_in_flight_and_then_a_refusal() {
        let ample = budget(64 << 30);
        assert_eq!(ample.batches_max(shape(1024), ample.capacity(shape(1024), PAIR)), 6);
        assert!(ample.refusal(shape(1024)).is_none());
        let mut seen = Vec::new();
        for megabytes in (100..2000).step_by(4) {
            let budget = budget(megabytes << 20);
            let batches = budget.batches_max(shape(1024), budget.capacity(shape(1024), PAIR));
            match budget.refusal(shape(1024)) {
                Some(text) => assert!(text.contains("`--memory`") && seen.is_empty(), "{text}"),
                None => {
                    let bytes = budget.host_memory(shape(1024), PAIR).total();
                    assert!(bytes <= megabytes << 20, "{megabytes}");
                    seen.push(batches);
                }
            }
        }
        assert!(seen.is_sorted() && seen.first() < seen.last(), "{seen:?}");
        assert!(ample.refusal(shape(60_000)).is_some());
    }

    #[test]
    fn no_number_of_pairs_makes_a_batch_exceed_the_memory() {
        for pairs_max in [1, 1 << 20, usize::MAX] {
            for grouping in [Grouping::Reference, Grouping::Item] {
                let budget = Budget { pairs_max: Some(pairs_max), ..budget(2 << 30) };
                let group = Group { grouping, images: usize::MAX, pairs: usize::MAX };
                let capacity = budget.capacity(shape(256), group);
                assert!(capacity.images * shape(256).image_bytes() <= 2 << 30, "{capacity:?}");
                assert!(capacity.images >= 2);
            }
        }
    }
}
