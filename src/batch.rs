//! A batch: unique images of one size, and pairs of indices into them.
//!
//! The batch is the seam between the pipeline and the evaluators. It carries pixels in memory that
//! an evaluator lent (pinned memory on a GPU), and the numbers of the manifest's rows, which no
//! evaluator looks at. K methods against one reference are K + 1 images and K pairs.

use crate::image::{Depth, Image, Pixels, Size};

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

/// Memory for the pixels of a batch, lent by an evaluator. It must be aligned for `f32`.
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

/// Indices of the two images of a pair within a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Image of the reference.
    pub reference: usize,
    /// Image of the distorted one; may be the same.
    pub distorted: usize,
}

impl Pair {
    /// Where the pair stands on a Z-shaped curve through all pairs: pairs that follow each other on
    /// it name few images, about 2 sqrt(k) for k pairs, however many images there are.
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

/// Unique images of one size and the pairs among them. See the module's head.
pub struct Batch {
    shape: BatchShape,
    staging: Box<dyn Staging>,
    image_count: usize,
    pairs: Vec<Pair>,
    rows: Vec<Row>,
    unit: Unit,
    most: Extent,
}

/// Numbers of images and of pairs among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extent {
    /// Images, each counted once.
    pub images: usize,
    /// Pairs.
    pub pairs: usize,
}

/// What is put into a batch as a whole where it fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Pair,
    /// The pairs of one reference.
    Group,
    /// Images of which every two may be a pair.
    Clique,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Batch { shape, image_count, pairs, .. } = self;
        write!(f, "Batch({shape:?}, {image_count} images, {} pairs)", pairs.len())
    }
}

impl Batch {
    /// An empty batch of at most `pairs_max` pairs (at least one); `staging` bounds the images.
    ///
    /// # Panics
    /// When `staging` cannot hold two images: an evaluator lent too little.
    #[must_use]
    pub fn new(shape: BatchShape, staging: Box<dyn Staging>, pairs_max: usize) -> Batch {
        let most = Extent { images: usize::MAX, pairs: pairs_max.max(1) };
        Batch::empty(shape, staging, Unit::Pair, most)
    }

    /// An empty batch of at most `most` (at least one pair of two images), for an evaluator to
    /// which each image is work: a group, the pairs of one reference, is not to be cut where a
    /// batch holds it, since that would be another pass of its reference.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn of_groups(shape: BatchShape, staging: Box<dyn Staging>, most: Extent) -> Batch {
        let most = Extent { images: most.images.max(2), pairs: most.pairs.max(1) };
        Batch::empty(shape, staging, Unit::Group, most)
    }

    /// An empty batch of at most `images_max` images (at least two), of which every two may be a
    /// pair. They are to go through the trunk together, so that each does once.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn of_clique(shape: BatchShape, staging: Box<dyn Staging>, images_max: usize) -> Batch {
        let most = Extent { images: images_max.max(2), pairs: usize::MAX };
        Batch::empty(shape, staging, Unit::Clique, most)
    }

    fn empty(shape: BatchShape, staging: Box<dyn Staging>, unit: Unit, most: Extent) -> Batch {
        assert!(staging.bytes().len() >= 2 * shape.image_bytes(), "staging is too small");
        Batch { shape, staging, image_count: 0, pairs: Vec::new(), rows: Vec::new(), unit, most }
    }

    /// Whether it was made by [`of_clique`](Self::of_clique).
    #[must_use]
    pub fn is_clique(&self) -> bool {
        self.unit == Unit::Clique
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
        self.image_count
    }

    /// Whether `images` images fit in all, however many pairs there are among them.
    #[must_use]
    pub fn holds(&self, images: usize) -> bool {
        images <= self.most.images
            && images * self.shape.image_bytes() <= self.staging.bytes().len()
    }

    /// Whether `images` more images and one more pair fit.
    #[must_use]
    pub fn has_room(&self, images: usize) -> bool {
        self.pairs.len() < self.most.pairs && self.holds(self.image_count + images)
    }

    /// Whether a group of so many would be cut here, but not in an empty batch like this one.
    #[must_use]
    pub fn would_cut(&self, group: Extent) -> bool {
        let fits = |images, pairs| pairs <= self.most.pairs && self.holds(images);
        self.unit == Unit::Group
            && fits(group.images, group.pairs)
            && !fits(self.image_count + group.images, self.pairs.len() + group.pairs)
    }

    /// Samples of all images: (image, row, column, RGB), each as `shape().depth` says.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.staging.bytes()[..self.image_count * self.shape.image_bytes()]
    }

    /// Samples of one image, (row, column, RGB).
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        let len = self.shape.image_bytes();
        &self.bytes()[index * len..][..len]
    }

    /// Copies `image` in and returns its index.
    ///
    /// # Panics
    /// When there is no room, or the image has another size, or more depth than the batch.
    pub fn push_image(&mut self, image: &Image) -> usize {
        assert_eq!(image.size, self.shape.size, "an image of another size");
        let index = self.image_count;
        let len = self.shape.image_bytes();
        let dst = &mut self.staging.bytes_mut()[index * len..][..len];
        match (&image.pixels, self.shape.depth) {
            (Pixels::U8(samples), Depth::U8) => dst.copy_from_slice(samples),
            (Pixels::F32(samples), Depth::F32) => {
                dst.copy_from_slice(bytemuck::cast_slice(samples));
            }
            (Pixels::U8(samples), Depth::F32) => {
                let dst: &mut [f32] = bytemuck::cast_slice_mut(dst);
                for (value, &sample) in dst.iter_mut().zip(samples) {
                    // Evaluators divide bytes by 255 in the same way, so that a pair's bits do not
                    // depend on the depth of its neighbours.
                    *value = f32::from(sample) / 255.0;
                }
            }
            (Pixels::F32(_), Depth::U8) => panic!("a float image in a batch of bytes"),
        }
        self.image_count += 1;
        index
    }

    /// Adds a pair of images that are in the batch.
    ///
    /// # Panics
    /// When an index is no image of this batch.
    pub fn push_pair(&mut self, row: Row, pair: Pair) {
        assert!(pair.reference.max(pair.distorted) < self.image_count, "a pair of no images");
        self.pairs.push(pair);
        self.rows.push(row);
    }

    /// Ends the batch: the manifest's rows in the order of [`Self::pairs`], and the staging memory
    /// for the evaluator that lent it.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Row>, Box<dyn Staging>) {
        (self.rows, self.staging)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(value: u8) -> Image {
        Image::new(Size { width: 2, height: 1 }, Pixels::U8(vec![value; 6]))
    }

    fn batch(depth: Depth, images: usize) -> Batch {
        let shape = BatchShape { size: Size { width: 2, height: 1 }, depth };
        let staging = vec![0f32; (images * shape.image_bytes()).div_ceil(4)];
        Batch::new(shape, Box::new(staging), 8)
    }

    #[test]
    fn room_is_counted_in_images_and_pairs() {
        let mut batch = batch(Depth::U8, 2);
        assert!(batch.has_room(2) && !batch.has_room(3));
        let reference = batch.push_image(&image(7));
        let distorted = batch.push_image(&image(9));
        assert!(batch.has_room(0) && !batch.has_room(1));
        for row in 0..8 {
            batch.push_pair(row, Pair { reference, distorted });
        }
        assert!(!batch.has_room(0));
        assert_eq!(batch.image(1), [9; 6]);
        assert_eq!(batch.into_parts().0, (0..8).collect::<Vec<Row>>());
    }

    #[test]
    fn a_group_is_cut_only_where_no_batch_holds_it() {
        let shape = BatchShape { size: Size { width: 2, height: 1 }, depth: Depth::U8 };
        let most = Extent { images: 8, pairs: 6 };
        let mut batch = Batch::of_groups(shape, Box::new(vec![0f32; 64]), most);
        let group = |pairs| Extent { images: pairs + 1, pairs };
        assert!((1..9).all(|pairs| !batch.would_cut(group(pairs))));
        let reference = batch.push_image(&image(7));
        for row in 0..3 {
            let distorted = batch.push_image(&image(9));
            batch.push_pair(row, Pair { reference, distorted });
        }
        // Four images and three pairs are left; no batch holds seven pairs.
        let cut: Vec<usize> = (1..9).filter(|&pairs| batch.would_cut(group(pairs))).collect();
        assert_eq!(cut, [4, 5, 6]);
    }

    #[test]
    fn a_clique_is_bounded_by_its_images_alone() {
        let shape = BatchShape { size: Size { width: 2, height: 1 }, depth: Depth::U8 };
        let mut batch = Batch::of_clique(shape, Box::new(vec![0f32; 64]), 3);
        assert!(batch.is_clique() && batch.holds(3) && !batch.holds(4));
        let images = [1, 2, 3].map(|value| batch.push_image(&image(value)));
        for row in 0..100 {
            assert!(batch.has_room(0) && !batch.has_room(1));
            batch.push_pair(row, Pair { reference: images[0], distorted: images[2] });
        }
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
        let mut batch = batch(Depth::F32, 2);
        batch.push_image(&image(51));
        let samples: &[f32] = bytemuck::cast_slice(batch.image(0));
        assert_eq!(samples, [0.2; 6]);
    }
}
