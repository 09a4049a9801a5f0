//! The number of images of an item that are walked at once. All pairs of them are compared while
//! the activations of all are in memory, so that each image goes through the trunk once.

use std::sync::Arc;

use super::bands::{Band, Bands};
use super::passes::Op;
use super::stage;
use crate::eval::Wanted;

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
    /// The cost for some nets, computed by `threads` threads, each with the maps that are wanted.
    pub(super) fn new(nets: impl Iterator<Item = (Arc<Bands>, Wanted)>, threads: usize) -> Cost {
        let costs = nets.map(|(bands, wanted)| Cost::of(&bands, threads, wanted));
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

    fn of(bands: &Bands, threads: usize, wanted: Wanted) -> Cost {
        let of_band = |band: &Band| match bands.passes[band.pass].op {
            Op::Stage { .. } => stage::pair_bytes(band.rows.len()),
            // What a tap in several bands keeps between them: at most a sum for each channel.
            Op::Tap { layer } if band.rows.len() < bands.taps[layer].h => {
                size_of::<f64>() * bands.taps.iter().map(|tap| tap.c).sum::<usize>()
            }
            _ => 0,
        };
        let pair = bands.bands.iter().map(of_band).max().unwrap_or(0);
        let image = bands.image_bytes(threads);
        Cost { image, pair: pair + bands.map_bytes(wanted) }
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
    use crate::eval::cpu::bands::Limits;
    use crate::eval::cpu::plans::Plans;
    use crate::image::Size;
    use crate::isa::Isa;
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
        let plans = Plans::new(Isa::best(), Limits::USUAL);
        let cost = |side: usize, wanted: Wanted| {
            let bands = plans.bands(Net::Vgg.spec(), Size { width: side, height: side }).unwrap();
            Cost::new(std::iter::once((bands, wanted)), 2)
        };
        let images = |wanted: Wanted| cost(256, wanted).images_max(16 << 30);
        let mapped = images(Wanted { layers: true, reference_sum: None });
        let plain = images(Wanted::default());
        assert!(plain <= IMAGES_MAX && mapped < plain);
        assert_eq!(cost(20_000, Wanted::default()).images_max(1 << 30), 2);
    }
}
