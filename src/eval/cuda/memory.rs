//! Memory of one GPU: what a shape needs, and buffers that only ever grow.
//!
//! A micro-batch is what runs through a trunk at once. Its size is a function of the images' size
//! alone, and every micro-batch is treated as if it were full, so that a pair's bits do not depend
//! on how many others there are. What may vary with the memory that is free is only how many
//! [`Slot`]s there are, micro-batches whose pixels are uploaded while others are computed.

use std::ops::Range;
use std::sync::Arc;

use super::driver::{Context, DeviceBuffer, Event, Fault, Pinned, Stream};
use crate::batch::Batch;
use crate::eval::chunk::Chunk;
use crate::image::Size;
use crate::net::plan::BUFFERS;

/// Pixels of a micro-batch: enough to keep a large GPU busy, little enough that a lone pair of an
/// odd size wastes little.
const MICRO_PIXELS: usize = 2 << 20;
/// Images of a micro-batch at the most, however small they are.
const MICRO_IMAGES_MAX: usize = 512;
/// Device addresses within a buffer are multiples of this.
const ALIGNMENT: usize = 256;

/// Images of a micro-batch of images of `size`: even, so that pairs fill it.
#[must_use]
pub fn micro_images(size: Size) -> usize {
    let fitting = MICRO_PIXELS / (size.width * size.height).max(1);
    (fitting / 2 * 2).clamp(2, MICRO_IMAGES_MAX)
}

/// What the results of a clique's pairs may take in each slot, unless a pair for each image takes
/// more.
const CLIQUE_RESULT_BYTES: usize = 64 << 20;

/// Images and pairs that a micro-batch has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    pub(super) images: usize,
    pub(super) pairs: usize,
}

impl Room {
    /// In a clique every two images may be a pair; `pair_bytes` are the results of one.
    pub(super) fn new(size: Size, is_clique: bool, pair_bytes: usize) -> Room {
        let images = micro_images(size);
        let fitting = CLIQUE_RESULT_BYTES / pair_bytes.max(1);
        let pairs = if is_clique { fitting.min(images * (images - 1) / 2) } else { images };
        Room { images, pairs: pairs.max(images) }
    }
}

/// `bytes` rounded up so that what follows is aligned.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.div_ceil(ALIGNMENT) * ALIGNMENT
}

/// Bytes that are needed for micro-batches of one shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Needs {
    /// The trunk's input.
    pub(super) input: usize,
    /// Activations.
    pub(super) buffers: [usize; BUFFERS],
    /// Scratch of convolutions.
    pub(super) workspace: usize,
    /// Partial sums of taps.
    pub(super) partial: usize,
    /// Pixels, in each slot.
    pub(super) pixels: usize,
    /// Indices of pairs, in each slot.
    pub(super) indices: usize,
    /// Results, in each slot.
    pub(super) results: usize,
}

impl Needs {
    /// What serves both.
    pub(super) fn max(self, other: Needs) -> Needs {
        let mut buffers = self.buffers;
        for (bytes, other) in buffers.iter_mut().zip(other.buffers) {
            *bytes = other.max(*bytes);
        }
        Needs {
            input: self.input.max(other.input),
            buffers,
            workspace: self.workspace.max(other.workspace),
            partial: self.partial.max(other.partial),
            pixels: self.pixels.max(other.pixels),
            indices: self.indices.max(other.indices),
            results: self.results.max(other.results),
        }
    }

    /// Device memory with one slot.
    pub(super) fn total(self) -> u64 {
        let Needs { input, buffers, workspace, partial, pixels, indices, results } = self;
        let bytes = [input, workspace, partial, pixels, indices, results].iter().sum::<usize>();
        (bytes + buffers.iter().sum::<usize>()) as u64
    }
}

/// What a walk reads and writes. One walk runs at a time, so there is one of each.
#[derive(Debug)]
pub(super) struct Activations {
    pub(super) input: DeviceBuffer,
    pub(super) buffers: [DeviceBuffer; BUFFERS],
    pub(super) workspace: DeviceBuffer,
    pub(super) partial: DeviceBuffer,
}

impl Activations {
    pub(super) const EMPTY: Activations = Activations {
        input: DeviceBuffer::EMPTY,
        buffers: [const { DeviceBuffer::EMPTY }; BUFFERS],
        workspace: DeviceBuffer::EMPTY,
        partial: DeviceBuffer::EMPTY,
    };

    /// Makes everything large enough. Nothing on the device may be using it.
    pub(super) fn grow(&mut self, needs: &Needs, stream: &Stream) -> Result<(), Fault> {
        if grow(&mut self.input, needs.input)? {
            // A micro-batch that is not full walks with what is there: let it be numbers.
            // SAFETY: allocated just now, and kept until the device was synchronised.
            #[expect(unsafe_code, reason = "a call of the driver")]
            unsafe {
                stream.zero(self.input.ptr(), self.input.len_bytes())?;
            }
        }
        for (buffer, bytes) in self.buffers.iter_mut().zip(needs.buffers) {
            grow(buffer, bytes)?;
        }
        grow(&mut self.workspace, needs.workspace)?;
        grow(&mut self.partial, needs.partial)?;
        Ok(())
    }
}

/// Replaces a buffer that is too small; the old one is freed first. Whether it was.
fn grow(buffer: &mut DeviceBuffer, len_bytes: usize) -> Result<bool, Fault> {
    if buffer.len_bytes() >= len_bytes {
        return Ok(false);
    }
    *buffer = DeviceBuffer::EMPTY;
    *buffer = DeviceBuffer::new(len_bytes)?;
    Ok(true)
}

/// A micro-batch on its way: its pixels, and what comes back.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) pixels: DeviceBuffer,
    /// u32 [pair][reference, distorted], and where they come from.
    pub(super) indices: DeviceBuffer,
    pub(super) indices_host: Pinned,
    /// What the walks give back, and where it goes.
    pub(super) results: DeviceBuffer,
    pub(super) results_host: Pinned,
    /// Pixels and indices are on the device.
    pub(super) uploaded: Event,
    /// Results are on the host, and nothing uses the slot any more.
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
    /// Queues pixels of the chunk's images and indices of its pairs.
    ///
    /// # Safety
    /// Nothing uses the slot, and it serves the chunk; it and `batch` stay until the copies are
    /// done.
    #[expect(unsafe_code, reason = "copies from pinned memory")]
    pub(super) unsafe fn upload(
        &mut self,
        stream: &Stream,
        batch: &Batch,
        chunk: &Chunk,
    ) -> Result<(), Fault> {
        let image_bytes = batch.shape().image_bytes();
        for (place, images) in runs(&chunk.images) {
            let target = self.pixels.ptr().offset(place * image_bytes);
            let source = &batch.bytes()[images.start * image_bytes..images.end * image_bytes];
            // SAFETY: the caller's promise.
            unsafe { stream.upload(target, source)? };
        }
        let indices = chunk.pairs.iter().flat_map(|pair| [pair.reference, pair.distorted]);
        let bytes = size_of::<u32>() * 2 * chunk.pairs.len();
        let host = &mut self.indices_host.bytes_mut()[..bytes];
        for (four, index) in host.chunks_exact_mut(size_of::<u32>()).zip(indices) {
            four.copy_from_slice(&(index as u32).to_ne_bytes());
        }
        // SAFETY: the caller's promise.
        unsafe { stream.upload(self.indices.ptr(), &self.indices_host.bytes()[..bytes]) }
    }
}

/// Runs of consecutive images: the place of a run's first image, and the images.
fn runs(images: &[usize]) -> Vec<(usize, Range<usize>)> {
    let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
    for (place, &image) in images.iter().enumerate() {
        match runs.last_mut() {
            Some((_, run)) if run.end == image => run.end += 1,
            _ => runs.push((place, image..image + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_micro_batch_has_about_two_megapixels_and_at_least_a_pair() {
        let images = |width, height| micro_images(Size { width, height });
        assert_eq!(images(256, 256), 32);
        assert_eq!(images(1024, 1024), 2);
        assert_eq!(images(4000, 3000), 2);
        assert_eq!(images(31, 31), 512);
        assert_eq!(images(400, 300), 16);
    }

    #[test]
    fn a_clique_has_room_for_all_pairs_whose_results_are_small() {
        let size = Size { width: 256, height: 256 };
        let pairs = |is_clique, pair_bytes| Room::new(size, is_clique, pair_bytes).pairs;
        assert_eq!(pairs(false, 256), 32);
        assert_eq!(pairs(true, 256), 32 * 31 / 2);
        assert_eq!(pairs(true, 1 << 20), 64);
        assert_eq!(pairs(true, 1 << 30), 32);
    }

    #[test]
    fn images_that_follow_each_other_are_copied_at_once() {
        assert_eq!(runs(&[0, 1, 2]), [(0, 0..3)]);
        assert_eq!(runs(&[4, 5, 0, 2, 1]), [(0, 4..6), (2, 0..1), (3, 2..3), (4, 1..2)]);
        assert!(runs(&[]).is_empty());
    }
}
