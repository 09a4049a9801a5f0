//! A batch: unique images of one size, and pairs of indices into them.
//!
//! The batch is the seam between the pipeline and the evaluators. It carries the numbers of the
//! manifest's rows, which no evaluator reads, and images in the evaluator's own memory (pinned on a
//! GPU). That memory is lent image by image, to any thread: a decoder writes its samples there, and
//! the batch that holds the image shares it. K methods against one reference are K + 1 images and K
//! pairs.

use std::sync::Arc;

use crate::image::{AsPixels, Depth, PixelSlice, PixelStore, Size};

/// What all images of a batch have in common.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BatchShape {
    /// Extents of every image.
    pub size: Size,
    /// Storage of every sample.
    pub depth: Depth,
}

impl BatchShape {
    /// Bytes of one image.
    #[must_use]
    pub fn image_bytes(self) -> usize {
        self.size.samples() * self.depth.bytes()
    }
}

/// An evaluator's memory for the samples of one image. It must be aligned for `f32`.
pub trait Staging: Send + Sync + std::fmt::Debug {
    /// The whole buffer.
    fn bytes(&self) -> &[u8];
    /// The whole buffer, to be written.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// Ordinary memory, aligned for `f32`.
impl Staging for Vec<f32> {
    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self)
    }
}

/// Lends memory for images. Any thread may borrow, and may keep it longer than the evaluator lives.
#[derive(Clone)]
pub struct Lender(Arc<Lend>);

type Lend = dyn Fn(usize) -> Box<dyn Staging> + Send + Sync;

impl Lender {
    /// Lends what `lend` gives: at least so many bytes, of unspecified content.
    #[must_use]
    pub fn new(lend: impl Fn(usize) -> Box<dyn Staging> + Send + Sync + 'static) -> Lender {
        Lender(Arc::new(lend))
    }

    /// Lends ordinary memory, which is freed when it is given back.
    #[must_use]
    pub fn ordinary() -> Lender {
        Lender::new(|bytes| Box::new(vec![0f32; bytes.div_ceil(size_of::<f32>())]))
    }
}

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lender")
    }
}

/// An image in an evaluator's memory: (row, column, RGB), each sample as the shape says.
#[derive(Debug)]
pub struct Frame {
    shape: BatchShape,
    memory: Box<dyn Staging>,
}

impl Frame {
    /// An image of which the samples are to be written.
    ///
    /// # Panics
    /// When the memory that was lent is too small: a fault of the evaluator.
    #[must_use]
    pub fn lent(shape: BatchShape, lender: &Lender) -> Frame {
        let memory = (lender.0)(shape.image_bytes());
        assert!(memory.bytes().len() >= shape.image_bytes(), "memory of an image is too small");
        Frame { shape, memory }
    }

    /// A copy of `image`, stored as `depth` says.
    ///
    /// # Panics
    /// When the image has more depth than that.
    #[must_use]
    pub fn copy_of(image: &impl AsPixels, depth: Depth, lender: &Lender) -> Frame {
        let mut frame = Frame::lent(BatchShape { size: image.size(), depth }, lender);
        let to = frame.bytes_mut();
        match (image.pixels(), depth) {
            (PixelSlice::U8(samples), Depth::U8) => to.copy_from_slice(samples),
            (PixelSlice::F32(samples), Depth::F32) => {
                to.copy_from_slice(bytemuck::cast_slice(samples));
            }
            (PixelSlice::U8(samples), Depth::F32) => {
                let to: &mut [f32] = bytemuck::cast_slice_mut(to);
                to.iter_mut().zip(samples).for_each(|(value, &sample)| *value = unit(sample));
            }
            (PixelSlice::F32(_), Depth::U8) => panic!("a float image in a batch of bytes"),
        }
        frame
    }

    /// Whether it is a copy of `image`, which has its size.
    #[must_use]
    pub fn holds(&self, image: &impl AsPixels) -> bool {
        match (image.pixels(), self.slice()) {
            (PixelSlice::U8(given), PixelSlice::U8(held)) => given == held,
            (PixelSlice::F32(given), PixelSlice::F32(held)) => given == held,
            (PixelSlice::U8(given), PixelSlice::F32(held)) => {
                given.iter().zip(held).all(|(&sample, &value)| value == unit(sample))
            }
            (PixelSlice::F32(_), PixelSlice::U8(_)) => false,
        }
    }

    /// Extents, and how samples are stored.
    #[must_use]
    pub fn shape(&self) -> BatchShape {
        self.shape
    }

    /// The samples.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[..self.shape.image_bytes()]
    }

    /// The samples, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.shape.image_bytes()]
    }
}

/// A byte as a float. Evaluators divide bytes by 255 in the same way, so that a pair's bits do not
/// depend on the depth of its neighbours.
fn unit(sample: u8) -> f32 {
    f32::from(sample) / 255.0
}

impl AsMut<[u8]> for Frame {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl PixelStore for Frame {
    fn slice(&self) -> PixelSlice<'_> {
        match self.shape.depth {
            Depth::U8 => PixelSlice::U8(self.bytes()),
            Depth::F32 => PixelSlice::F32(bytemuck::cast_slice(self.bytes())),
        }
    }
}

/// Indices of the two images of a pair within a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Image of the reference.
    pub reference: usize,
    /// Image of the distorted one; may be the same.
    pub distorted: usize,
}

impl Pair {
    /// The position of the pair on a Z-shaped curve through all pairs: pairs that follow each other
    /// on it name few images, about 2 sqrt(k) for k pairs, however many images there are.
    #[must_use]
    pub fn z_order(self) -> u64 {
        let spread = |index: usize| {
            (0..u32::BITS).fold(0, |bits, bit| bits | (index as u64 >> bit & 1) << (2 * bit))
        };
        spread(self.reference) << 1 | spread(self.distorted)
    }
}

/// Number of a row of the manifest, from 0.
pub type Row = u32;

/// Which pairs share images. To cut them apart costs further passes of these images through the
/// trunk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Grouping {
    /// Nothing is known to be shared.
    Pair,
    /// All pairs of one reference.
    Reference,
    /// All pairs of one item, any two of whose images may be a pair.
    Item,
}

/// Some unique images and pairs of them: what the pipeline wants to score together, and what a
/// batch holds at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Which pairs share images.
    pub grouping: Grouping,
    /// Images, each counted once.
    pub images: usize,
    /// Pairs.
    pub pairs: usize,
}

impl Group {
    /// One pair of two images.
    pub const PAIR: Group = Group { grouping: Grouping::Pair, images: 2, pairs: 1 };
}

/// Unique images of one size and the pairs among them. See the module's head.
pub struct Batch {
    shape: BatchShape,
    images: Vec<Arc<Frame>>,
    pairs: Vec<Pair>,
    rows: Vec<Row>,
    capacity: Group,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Batch { shape, images, pairs, .. } = self;
        write!(f, "Batch({shape:?}, {} images, {} pairs)", images.len(), pairs.len())
    }
}

impl Batch {
    /// An empty batch of at most `capacity`, and at least one pair of two images. Its grouping says
    /// what the evaluator wants whole: with [`Grouping::Pair`], batches are filled; with
    /// [`Grouping::Reference`], the pairs of a reference begin a new batch rather than be cut; a
    /// batch of [`Grouping::Item`] has memory to walk all of its images at once.
    #[must_use]
    pub fn new(shape: BatchShape, capacity: Group) -> Batch {
        let Group { grouping, images, pairs } = capacity;
        let capacity = Group { grouping, images: images.max(2), pairs: pairs.max(1) };
        Batch { shape, images: Vec::new(), pairs: Vec::new(), rows: Vec::new(), capacity }
    }

    /// Which of its pairs share images.
    #[must_use]
    pub fn grouping(&self) -> Grouping {
        self.capacity.grouping
    }

    /// What all images have in common.
    #[must_use]
    pub fn shape(&self) -> BatchShape {
        self.shape
    }

    /// The pairs, in the order in which they were added.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Number of unique images.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// Whether `images` more images and one more pair fit.
    #[must_use]
    pub fn has_room(&self, images: usize) -> bool {
        self.pairs.len() < self.capacity.pairs && self.images.len() + images <= self.capacity.images
    }

    /// Whether `group` would be cut here, but not in an empty batch like this one, and the
    /// evaluator wants it whole.
    #[must_use]
    pub fn would_cut(&self, group: Group) -> bool {
        let Group { grouping, images, pairs } = self.capacity;
        let fits = |taken_images: usize, taken_pairs: usize| {
            taken_images + group.images <= images && taken_pairs + group.pairs <= pairs
        };
        grouping == Grouping::Reference && fits(0, 0) && !fits(self.images.len(), self.pairs.len())
    }

    /// One image.
    #[must_use]
    pub fn frame(&self, index: usize) -> &Frame {
        &self.images[index]
    }

    /// Samples of one image, (row, column, RGB), each as `shape().depth` says.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        self.images[index].bytes()
    }

    /// Adds an image and returns its index.
    ///
    /// # Panics
    /// When the image has another shape.
    pub fn push_image(&mut self, image: Arc<Frame>) -> usize {
        assert_eq!(image.shape(), self.shape, "an image of another shape");
        self.images.push(image);
        self.images.len() - 1
    }

    /// Adds a pair of images that are in the batch.
    ///
    /// # Panics
    /// When an index is no image of this batch.
    pub fn push_pair(&mut self, row: Row, pair: Pair) {
        assert!(pair.reference.max(pair.distorted) < self.images.len(), "a pair of no images");
        self.pairs.push(pair);
        self.rows.push(row);
    }

    /// Ends the batch: the manifest's rows in the order of [`Self::pairs`]. Memory of images that
    /// nothing else shares is given back.
    #[must_use]
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Image, Pixels};

    fn image(value: u8, depth: Depth) -> Arc<Frame> {
        let image = Image::new(Size { width: 2, height: 1 }, Pixels::U8(vec![value; 6]));
        Arc::new(Frame::copy_of(&image, depth, &Lender::ordinary()))
    }

    fn batch(depth: Depth, grouping: Grouping, images: usize, pairs: usize) -> Batch {
        let shape = BatchShape { size: Size { width: 2, height: 1 }, depth };
        Batch::new(shape, Group { grouping, images, pairs })
    }

    #[test]
    fn room_is_counted_in_images_and_pairs() {
        let mut batch = batch(Depth::U8, Grouping::Pair, 2, 8);
        assert!(batch.has_room(2) && !batch.has_room(3));
        let reference = batch.push_image(image(7, Depth::U8));
        let distorted = batch.push_image(image(9, Depth::U8));
        assert!(batch.has_room(0) && !batch.has_room(1));
        for row in 0..8 {
            batch.push_pair(row, Pair { reference, distorted });
        }
        assert!(!batch.has_room(0));
        assert_eq!(batch.image(1), [9; 6]);
        assert_eq!(batch.into_rows(), (0..8).collect::<Vec<Row>>());
    }

    #[test]
    fn pairs_of_a_reference_are_cut_only_where_no_batch_holds_them() {
        let mut filled = [Grouping::Pair, Grouping::Reference, Grouping::Item]
            .map(|grouping| batch(Depth::U8, grouping, 8, 6));
        let group = |pairs| Group { grouping: Grouping::Reference, images: pairs + 1, pairs };
        let cut = |batch: &Batch| -> Vec<usize> {
            (1..9).filter(|&pairs| batch.would_cut(group(pairs))).collect()
        };
        for batch in &mut filled {
            assert!(cut(batch).is_empty());
            let reference = batch.push_image(image(7, Depth::U8));
            for row in 0..3 {
                let distorted = batch.push_image(image(9, Depth::U8));
                batch.push_pair(row, Pair { reference, distorted });
            }
        }
        // Four images and three pairs are left; no batch holds seven pairs.
        let [pair, reference, item] = filled;
        assert_eq!(cut(&reference), [4, 5, 6]);
        assert!(cut(&pair).is_empty() && cut(&item).is_empty());
    }

    #[test]
    fn neighbours_in_z_order_name_few_images() {
        let pairs = (0..64).flat_map(|i| (i + 1..64).map(move |j| (i, j)));
        let mut pairs: Vec<Pair> =
            pairs.map(|(reference, distorted)| Pair { reference, distorted }).collect();
        pairs.sort_by_key(|pair| pair.z_order());
        assert_eq!(pairs[0], Pair { reference: 0, distorted: 1 });
        for run in pairs.chunks(256) {
            let named = run.iter().flat_map(|pair| [pair.reference, pair.distorted]);
            let named = named.collect::<std::collections::HashSet<_>>().len();
            // Of all pairs in the order of their names it would be 64.
            assert!(named <= 48, "{named} images of {} pairs", run.len());
        }
    }

    #[test]
    fn bytes_become_floats_beside_a_float_image() {
        let mut batch = batch(Depth::F32, Grouping::Pair, 2, 1);
        batch.push_image(image(51, Depth::F32));
        let samples: &[f32] = bytemuck::cast_slice(batch.image(0));
        assert_eq!(samples, [0.2; 6]);
    }
}
