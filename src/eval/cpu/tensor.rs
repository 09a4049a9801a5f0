//! Activations of several images: (image, row, column, channel) with a border of zeros.
//!
//! Channels are innermost, so a row of a convolution's window is one contiguous run. The border
//! provides the padding of the next convolution, and what the last tiles of minimal filtering read
//! beyond it.

use super::floats::Floats;
use crate::net::plan::{ConvStep, View};

/// Rows and columns of zeros above and on the left: the largest padding of any trunk.
pub(super) const BEFORE: usize = 2;
/// Rows and columns of zeros below and on the right: the same padding, and three more by which
/// tiles extend over the edge.
pub(super) const AFTER: usize = 5;

/// Floats added to each row: one cache line. The number of channels is often a power of two, and
/// without it the rows of a tile would fall into a few sets of the cache.
const SKEW: usize = 16;

/// Extents of one image, without the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Layout {
    /// Channels.
    pub(super) c: usize,
    /// Rows.
    pub(super) h: usize,
    /// Columns.
    pub(super) w: usize,
}

impl Layout {
    /// The extents of the whole activation that `view` is a part of.
    pub(super) fn of(view: View) -> Layout {
        Layout { c: view.c_slot, h: view.shape.h, w: view.shape.w }
    }

    /// Elements from one row to the next.
    pub(super) fn row_len(self) -> usize {
        (BEFORE + self.w + AFTER) * self.c + SKEW
    }

    /// Elements from one image to the next.
    pub(super) fn image_len(self) -> usize {
        (BEFORE + self.h + AFTER) * self.row_len()
    }

    /// Offset of column `x` of row `y` within an image. Negative positions lie in the border.
    pub(super) fn at(self, y: isize, x: isize) -> usize {
        let before = BEFORE as isize;
        (y + before) as usize * self.row_len() + (x + before) as usize * self.c
    }

    /// The rows of an image without the borders above and below.
    pub(super) fn inner(self, image: &mut [f32]) -> &mut [f32] {
        &mut image[BEFORE * self.row_len()..][..self.h * self.row_len()]
    }
}

/// What a convolution reads and writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Extents of the source.
    pub(super) from: Layout,
    /// The row of the map that is the source's first row: 0 unless the source is a band.
    pub(super) from_top: isize,
    /// Extents of the target.
    pub(super) to: Layout,
    /// Step between windows.
    pub(super) stride: usize,
    /// Zeros on each side.
    pub(super) pad: usize,
    /// First channel of the target that is written.
    pub(super) c_first: usize,
}

impl Geometry {
    /// The geometry of a step whose source is a whole map.
    pub(super) fn of(step: &ConvStep) -> Geometry {
        let &ConvStep { stride, pad, src, dst, .. } = step;
        let (from, to) = (Layout::of(src), Layout::of(dst));
        Geometry { from, from_top: 0, to, stride, pad, c_first: dst.c_first }
    }
}

/// Activations of several images.
#[derive(Debug, Default)]
pub(super) struct Tensor {
    layout: Layout,
    image_count: usize,
    data: Floats,
}

impl Tensor {
    /// Changes the shape. The border is zeroed, the values inside are unspecified. The memory is
    /// reused if it is large enough.
    pub(super) fn resize(&mut self, image_count: usize, layout: Layout) {
        if self.layout == layout && self.image_count == image_count {
            return;
        }
        self.layout = layout;
        self.image_count = image_count;
        self.data.grow(image_count * layout.image_len());
        let row_len = layout.row_len();
        let (left, right) = (BEFORE * layout.c, (BEFORE + layout.w) * layout.c);
        for image in self.images_mut() {
            let (top, rest) = image.split_at_mut(BEFORE * row_len);
            let (inner, bottom) = rest.split_at_mut(layout.h * row_len);
            top.fill(0.0);
            bottom.fill(0.0);
            for row in inner.chunks_exact_mut(row_len) {
                row[..left].fill(0.0);
                row[right..].fill(0.0);
            }
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn image_count(&self) -> usize {
        self.image_count
    }

    /// One image with its border.
    pub(super) fn image(&self, index: usize) -> &[f32] {
        let len = self.layout.image_len();
        &self.data[index * len..][..len]
    }

    /// All images in order, with their borders.
    pub(super) fn images_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        let len = self.layout.image_len();
        self.data[..self.image_count * len].chunks_exact_mut(len)
    }
}
