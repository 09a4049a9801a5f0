//! Memory of one GPU: what each shape needs, and buffers that only ever grow.
//!
//! A micro-batch is a set of images that go through a trunk together. Its size depends on the size
//! of the images alone, and every micro-batch is full: images that are missing repeat those that
//! are there, and pairs up to a power of two. So the bits of a pair do not depend on the number of
//! other pairs, and launches for one size have few different extents. Free memory decides only the
//! number of [`Slot`]s: micro-batches whose pixels are uploaded while others are computed.

use std::sync::Arc;

use super::driver::{Context, DeviceBuffer, Event, Fault, Pinned, Stream};
use crate::batch::{Batch, Grouping};
use crate::eval::chunk::Chunk;
use crate::image::Size;
use crate::net::plan::BUFFERS;

/// Numbers of images of a micro-batch. They are few, so that images of similar sizes have the same
/// convolutions behind their first layers. They have many divisors, because convolutions that need
/// much memory compute a part of the images at once. They are even, so that pairs fill them.
const MICRO_IMAGES: [usize; 16] = [2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
/// Device addresses within a buffer are multiples of this.
const ALIGNMENT: usize = 256;

/// How large micro-batches may be. Tests make them small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Approximate pixels of a micro-batch, at most a quarter more, unless a pair has more.
    pub micro_pixels: usize,
    /// Bytes of activations. Images that take more are computed in bands of rows: in bands that
    /// keep to the limit, or in the lowest if none does.
    pub activation_bytes: usize,
    /// Sizes of images that stay prepared. The one that was used least recently is dropped first.
    pub sizes: usize,
}

impl Limits {
    /// Enough pixels to keep a large GPU busy, and few enough that a single pair of an unusual size
    /// wastes little. A pair of any height, and of up to about 20,000 columns, fits a GPU of 8 GB.
    pub const USUAL: Limits =
        Limits { micro_pixels: 2 << 20, activation_bytes: 4 << 30, sizes: 256 };

    /// The number of images of a micro-batch, for images of `size`.
    #[must_use]
    pub fn micro_images(self, size: Size) -> usize {
        let fitting = self.micro_pixels / 4 * 5 / (size.width * size.height).max(1);
        MICRO_IMAGES.into_iter().rfind(|&images| images <= fitting).unwrap_or(MICRO_IMAGES[0])
    }
}

/// Limit for the results of an item's pairs in each slot, in bytes, unless one pair for each image
/// needs more.
const ITEM_RESULT_BYTES: usize = 64 << 20;

/// Images and pairs that a micro-batch has capacity for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Capacity {
    pub(super) images: usize,
    pub(super) pairs: usize,
}

impl Capacity {
    /// For micro-batches of `images`. Every two images of an item may be a pair. `pair_bytes` is
    /// the size of one pair's results.
    pub(super) fn new(images: usize, grouping: Grouping, pair_bytes: usize) -> Capacity {
        let fitting = ITEM_RESULT_BYTES / pair_bytes.max(1);
        let pairs = match grouping {
            Grouping::Pair | Grouping::Reference => images,
            Grouping::Item => fitting.min(images * (images - 1) / 2),
        };
        Capacity { images, pairs: pairs.max(images) }
    }

    /// Pairs of a full micro-batch that holds `pairs`: a power of two, or all. One number for all
    /// would double the work of taps for pairs that share no image.
    pub(super) fn full_pairs(self, pairs: usize) -> usize {
        pairs.next_power_of_two().min(self.pairs)
    }
}

/// `bytes` rounded up to the alignment.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.div_ceil(ALIGNMENT) * ALIGNMENT
}

/// The memory that micro-batches of one shape need, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Needs {
    /// The input of a section.
    pub(super) input: usize,
    /// The map that is kept between two sections.
    pub(super) kept: usize,
    /// Activations.
    pub(super) buffers: [usize; BUFFERS],
    /// Scratch of convolutions.
    pub(super) workspace: usize,
    /// Partial sums of taps.
    pub(super) partial: usize,
    /// Pixels, in each slot.
    pub(super) pixels: usize,
    /// Tables and indices of pairs, in each slot.
    pub(super) indices: usize,
    /// Results, in each slot.
    pub(super) results: usize,
}

impl Needs {
    /// The needs that meet both.
    pub(super) fn max(self, other: Needs) -> Needs {
        let mut buffers = self.buffers;
        for (bytes, other) in buffers.iter_mut().zip(other.buffers) {
            *bytes = other.max(*bytes);
        }
        Needs {
            input: self.input.max(other.input),
            kept: self.kept.max(other.kept),
            buffers,
            workspace: self.workspace.max(other.workspace),
            partial: self.partial.max(other.partial),
            pixels: self.pixels.max(other.pixels),
            indices: self.indices.max(other.indices),
            results: self.results.max(other.results),
        }
    }

    /// With some room, an eighth at most, so that images that are a little larger need no other
    /// buffers.
    pub(super) fn with_room(self) -> Needs {
        let roomy = |bytes: usize| bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(1));
        let Needs { input, kept, buffers, workspace, partial, pixels, indices, results } = self;
        Needs {
            input: roomy(input),
            kept: roomy(kept),
            buffers: buffers.map(roomy),
            workspace: roomy(workspace),
            partial: roomy(partial),
            pixels: roomy(pixels),
            indices: roomy(indices),
            results: roomy(results),
        }
    }

    /// Device memory in total, with one slot.
    pub(super) fn total(self) -> u64 {
        let Needs { input, kept, buffers, workspace, partial, pixels, indices, results } = self;
        let of_walk = [input, kept, workspace, partial].iter().chain(&buffers).sum::<usize>();
        (of_walk + pixels + indices + results) as u64
    }
}

/// The buffers that a walk reads and writes. One walk runs at a time, so there is one of each.
#[derive(Debug)]
pub(super) struct Activations {
    pub(super) input: DeviceBuffer,
    pub(super) kept: DeviceBuffer,
    pub(super) buffers: [DeviceBuffer; BUFFERS],
    pub(super) workspace: DeviceBuffer,
    pub(super) partial: DeviceBuffer,
}

impl Activations {
    pub(super) const EMPTY: Activations = Activations {
        input: DeviceBuffer::EMPTY,
        kept: DeviceBuffer::EMPTY,
        buffers: [const { DeviceBuffer::EMPTY }; BUFFERS],
        workspace: DeviceBuffer::EMPTY,
        partial: DeviceBuffer::EMPTY,
    };

    /// Makes every buffer large enough. Nothing on the device may be using them.
    pub(super) fn grow(&mut self, needs: &Needs, stream: &Stream) -> Result<(), Fault> {
        for (buffer, bytes) in self.buffers.iter_mut().zip(needs.buffers) {
            if grow(buffer, bytes)? {
                // Images that no pair has are not pooled, but go through the convolutions behind
                // poolings: no memory is read that was never written.
                // SAFETY: the buffer was just allocated, and is kept until the device was
                // synchronised.
                #[expect(unsafe_code, reason = "a call of the driver")]
                unsafe {
                    stream.zero(buffer.ptr(), buffer.len_bytes())?;
                }
            }
        }
        grow(&mut self.input, needs.input)?;
        grow(&mut self.kept, needs.kept)?;
        grow(&mut self.workspace, needs.workspace)?;
        grow(&mut self.partial, needs.partial)?;
        Ok(())
    }
}

/// Replaces a buffer that is too small, freeing the old one first. Returns whether it did.
fn grow(buffer: &mut DeviceBuffer, len_bytes: usize) -> Result<bool, Fault> {
    if buffer.len_bytes() >= len_bytes {
        return Ok(false);
    }
    *buffer = DeviceBuffer::EMPTY;
    *buffer = DeviceBuffer::new(len_bytes)?;
    Ok(true)
}

/// The buffers of one micro-batch in flight: its pixels, its pairs and its results.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) pixels: DeviceBuffer,
    /// The tables of a size, then u32 [pair][reference, distorted], then as many u32: 1 for the
    /// first index of each image, else 0. And their source on the host.
    pub(super) indices: DeviceBuffer,
    pub(super) indices_host: Pinned,
    /// The results of the walks, and their copy on the host.
    pub(super) results: DeviceBuffer,
    pub(super) results_host: Pinned,
    /// Pixels and indices are on the device.
    pub(super) uploaded: Event,
    /// Results are on the host, and the slot is free.
    pub(super) done: Event,
}

impl Slot {
    pub(super) fn new(context: &Arc<Context>, needs: &Needs) -> Result<Slot, Fault> {
        Ok(Slot {
            pixels: DeviceBuffer::new(needs.pixels)?,
            indices: DeviceBuffer::new(needs.indices)?,
            indices_host: Pinned::new(context, needs.indices)?,
            results: DeviceBuffer::new(needs.results)?,
            results_host: Pinned::new(context, needs.results)?,
            uploaded: Event::new()?,
            done: Event::new()?,
        })
    }

    /// Whether its buffers are large enough.
    pub(super) fn meets(&self, needs: &Needs) -> bool {
        let Slot { pixels, indices, results, .. } = self;
        let has = [pixels, indices, results].map(DeviceBuffer::len_bytes);
        let needed = [needs.pixels, needs.indices, needs.results];
        has.iter().zip(needed).all(|(&has, needed)| has >= needed)
    }

    /// Queues a full micro-batch: pixels of the chunk's images, `tables`, and indices of the
    /// chunk's pairs; then repetitions, up to `full`.
    ///
    /// # Safety
    /// The slot must be free and large enough. The slot and `batch` must live, unchanged, until the
    /// copies are done.
    #[expect(unsafe_code, reason = "copies from pinned memory")]
    pub(super) unsafe fn upload(
        &mut self,
        stream: &Stream,
        batch: &Batch,
        chunk: &Chunk,
        tables: &[u8],
        full: Capacity,
    ) -> Result<(), Fault> {
        let image_bytes = batch.shape().image_bytes();
        for (place, &image) in chunk.images.iter().enumerate() {
            let target = self.pixels.ptr().offset(place * image_bytes);
            // SAFETY: guaranteed by the caller.
            unsafe { stream.upload(target, batch.image(image))? };
        }
        let [there, all] = [chunk.images.len(), full.images].map(|images| images * image_bytes);
        // SAFETY: guaranteed by the caller.
        unsafe { stream.repeat(self.pixels.ptr(), there, all)? };
        let pairs = chunk.pairs.iter().cycle().take(full.pairs);
        let indices = pairs.flat_map(|pair| [pair.reference, pair.distorted]);
        // A chunk has its images in the order of their first use.
        let firsts = indices.clone().scan(0, |images, index| {
            let is_first = usize::from(index == *images);
            *images += is_first;
            Some(is_first)
        });
        let bytes = tables.len() + pairs_bytes(full.pairs);
        let (of_tables, of_pairs) =
            self.indices_host.bytes_mut()[..bytes].split_at_mut(tables.len());
        of_tables.copy_from_slice(tables);
        let (of_indices, of_firsts) = of_pairs.split_at_mut(of_pairs.len() / 2);
        write_u32s(of_indices, indices);
        write_u32s(of_firsts, firsts);
        // SAFETY: guaranteed by the caller.
        unsafe { stream.upload(self.indices.ptr(), &self.indices_host.bytes()[..bytes]) }
    }
}

/// Bytes of the indices of pairs, and of as many other numbers behind them.
pub(super) fn pairs_bytes(pairs: usize) -> usize {
    2 * aligned(size_of::<u32>() * 2 * pairs)
}

fn write_u32s(bytes: &mut [u8], values: impl Iterator<Item = usize>) {
    for (four, value) in bytes.chunks_exact_mut(size_of::<u32>()).zip(values) {
        four.copy_from_slice(&(value as u32).to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_batch_has_about_two_megapixels_and_at_least_a_pair() {
        let images = |width, height| Limits::USUAL.micro_images(Size { width, height });
        assert_eq!(images(256, 256), 32);
        assert_eq!(images(1024, 1024), 2);
        assert_eq!(images(4000, 3000), 2);
        assert_eq!(images(31, 31), 512);
        assert_eq!(images(400, 300), 16);
        assert_eq!(images(300, 300), 24);
        assert_eq!(images(700, 700), 4);
    }

    #[test]
    fn an_item_has_room_for_all_pairs_whose_results_are_small() {
        let pairs = |grouping, pair_bytes| Capacity::new(32, grouping, pair_bytes).pairs;
        assert_eq!(pairs(Grouping::Pair, 256), 32);
        assert_eq!(pairs(Grouping::Item, 256), 32 * 31 / 2);
        assert_eq!(pairs(Grouping::Item, 1 << 20), 64);
        assert_eq!(pairs(Grouping::Item, 1 << 30), 32);
    }

    #[test]
    fn a_full_micro_batch_has_few_numbers_of_pairs() {
        let of_pairs = Capacity::new(32, Grouping::Pair, 256);
        let full = |capacity: Capacity, pairs| capacity.full_pairs(pairs);
        assert_eq!([1, 16, 17, 32].map(|pairs| full(of_pairs, pairs)), [1, 16, 32, 32]);
        let of_item = Capacity::new(32, Grouping::Item, 256);
        assert_eq!([3, 33, 256, 257].map(|pairs| full(of_item, pairs)), [4, 64, 256, 496]);
    }

    #[test]
    fn room_is_an_eighth_at_most() {
        for bytes in [0, 1, 15, 16, 17, 1000, 1 << 20, (1 << 20) + 1, (1 << 31) - 1] {
            let Needs { input, .. } = Needs { input: bytes, ..Needs::default() }.with_room();
            assert!(input >= bytes && input <= bytes + bytes / 8, "{bytes}: {input}");
        }
    }
}
