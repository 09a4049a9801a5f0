//! The number of images of an item that are walked at once. All pairs of them are compared while
//! the activations of all are in memory, so that each image goes through the trunk once.

use super::passes::{Pass, image_bytes};
use super::stage::pair_bytes;
use super::tensor::Layout;
use crate::batch::BatchShape;
use crate::eval::Wanted;
use crate::isa::Isa;
use crate::net::NetSpec;
use crate::net::plan::{Plan, Shape};

/// Largest number of images, unless `--batch` sets another: more of them save little, and no row is
/// saved before all pairs of a batch are compared.
const IMAGES_MAX: usize = 256;
/// The images of an item take at most 1/4 of the memory that is available.
const AVAILABLE_PARTS: u64 = 4;
/// It also takes at most this many bytes.
const BYTES_MAX: u64 = 4 << 30;
/// Bytes of a pair other than its maps: distances, its record, and the facts about its files.
const PAIR_BYTES: usize = 1 << 10;

/// Bytes that an item takes for each image and for each pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    image: usize,
    pair: usize,
}

impl Cost {
    /// The cost for images of `shape`, walked by `threads` threads.
    pub(super) fn new(
        nets: &[(&NetSpec, Wanted)],
        shape: BatchShape,
        threads: usize,
        isa: Isa,
    ) -> Cost {
        let costs = nets.iter().filter_map(|&(net, wanted)| {
            let plan = Plan::new(net, shape.size.height, shape.size.width).ok()?;
            let image = image_bytes(&plan, net, isa, threads);
            Some(Cost::of(&plan, image, &Pass::all(&plan, net, isa), wanted))
        });
        let add = |a: Cost, b: Cost| Cost { image: a.image + b.image, pair: a.pair + b.pair };
        costs.fold(Cost { image: 0, pair: PAIR_BYTES }, add)
    }

    /// Images that are walked at once in so much memory, at least two.
    pub(super) fn images_max(self, available: u64) -> usize {
        let bytes = BYTES_MAX.min(available / AVAILABLE_PARTS);
        self.images(bytes).clamp(2, IMAGES_MAX)
    }

    /// Bytes of so many images.
    pub(super) fn bytes(self, images: usize) -> usize {
        images * self.image + images * images / 2 * self.pair
    }

    fn of(plan: &Plan, image: usize, passes: &[Pass<'_>], wanted: Wanted) -> Cost {
        let stages = passes.iter().filter_map(|pass| match pass {
            Pass::Stage { conv, .. } => Some(Layout::of(conv.dst)),
            _ => None,
        });
        let pair = stages.map(pair_bytes).max().unwrap_or(0);
        let map_bytes = |tap: &Shape| size_of::<f32>() * tap.h * tap.w;
        let maps = plan.taps.iter().filter(|_| wanted.layers).map(map_bytes);
        let sum = wanted.reference_sum.map(|layer| map_bytes(&plan.taps[layer]));
        Cost { image, pair: pair + maps.chain(sum).sum::<usize>() }
    }

    /// The largest number of images whose [`bytes`](Self::bytes) are at most `bytes`.
    fn images(self, bytes: u64) -> usize {
        let (image, pair) = (self.image as f64, self.pair as f64);
        let root = (image * image + 2.0 * pair * bytes as f64).sqrt();
        ((root - image) / pair) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Depth, Size};
    use crate::net::Net;

    #[test]
    fn the_largest_item_fits_and_a_larger_one_does_not() {
        for (image, pair, bytes) in [(1000, 1000, 1 << 30), (22_000_000, 350_000, 4 << 30)] {
            let cost = Cost { image, pair };
            let count = cost.images(bytes);
            assert!(cost.bytes(count) as u64 <= bytes && cost.bytes(count + 1) as u64 > bytes);
        }
    }

    /// The maps of every pair are kept until a batch is done, so fewer images are walked at once.
    #[test]
    fn kept_maps_of_pairs_limit_the_images() {
        let size = Size { width: 256, height: 256 };
        let shape = BatchShape { size, depth: Depth::U8 };
        let cost = |nets: &[(&NetSpec, Wanted)]| Cost::new(nets, shape, 2, Isa::best());
        let images = |nets: &[(&NetSpec, Wanted)]| cost(nets).images_max(16 << 30);
        let plain = [(Net::Vgg.spec(), Wanted::default())];
        let mapped = [(Net::Vgg.spec(), Wanted { layers: true, reference_sum: None })];
        assert!(images(&plain) <= IMAGES_MAX && images(&mapped) < images(&plain));
        let size = Size { width: 20_000, height: 20_000 };
        let huge = Cost::new(&plain, BatchShape { size, ..shape }, 2, Isa::best());
        assert_eq!(huge.images_max(16 << 30), 2);
    }
}
