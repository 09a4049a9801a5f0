//! Activations of several images: (image, row, column, channel) with a border of zeros.
//!
//! Channels are innermost, so a row of a convolution's window is one contiguous run. The border
//! provides the padding of the next convolution, and what the last tiles of minimal filtering read
//! beyond it. A tensor holds all rows of its maps, or a window of rows that moves down.

use std::ops::Range;

use super::floats::Floats;
use super::team::Team;
use crate::net::plan::{ConvStep, View};

/// Rows and columns of zeros above and on the left: the largest padding of any trunk.
pub(super) const BEFORE: usize = 2;
/// Rows and columns of zeros below and on the right: the same padding, and three more by which
/// tiles extend over the edge.
pub(super) const AFTER: usize = 5;

/// The first row of the border above.
pub(super) const ABOVE: isize = -(BEFORE as isize);

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

    /// Rows of one image, with the borders above and below.
    pub(super) fn rows(self) -> usize {
        BEFORE + self.h + AFTER
    }

    /// Where a band that ends before row `end` ends: the last one includes the border below.
    pub(super) fn with_border(self, end: usize) -> isize {
        if end < self.h { end as isize } else { (self.h + AFTER) as isize }
    }

    /// The pixels of a row that begins with its border.
    pub(super) fn pixels(self, row: &[f32]) -> &[f32] {
        &row[BEFORE * self.c..][..self.w * self.c]
    }

    /// As [`pixels`](Self::pixels), to be written.
    pub(super) fn pixels_mut(self, row: &mut [f32]) -> &mut [f32] {
        &mut row[BEFORE * self.c..][..self.w * self.c]
    }
}

/// What a convolution reads and writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Geometry {
    /// Extents of the source.
    pub(super) from: Layout,
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
    /// The geometry of a step.
    pub(super) fn of(step: &ConvStep) -> Geometry {
        let &ConvStep { stride, pad, src, dst, .. } = step;
        let (from, to) = (Layout::of(src), Layout::of(dst));
        Geometry { from, to, stride, pad, c_first: dst.c_first }
    }
}

/// The rows of one image that are in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) data: &'a [f32],
    layout: Layout,
    /// The row of the map that is the first one here. Negative rows are the border.
    top: isize,
    /// The column of the map that is the first one here, behind the border.
    left: usize,
}

impl<'a> Source<'a> {
    /// Elements from one row to the next.
    pub(super) fn row_len(&self) -> usize {
        self.layout.row_len()
    }

    /// Offset of column `x` of row `y` within the data. Negative positions lie in the border.
    pub(super) fn at(&self, y: isize, x: isize) -> usize {
        let column = (x - self.left as isize + BEFORE as isize) as usize;
        (y - self.top) as usize * self.layout.row_len() + column * self.layout.c
    }

    /// The pixels of a row.
    pub(super) fn row(&self, y: usize) -> &'a [f32] {
        &self.data[self.at(y as isize, self.left as isize)..][..self.layout.w * self.layout.c]
    }
}

/// Some rows of each image, to be written.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) map: &'a mut Tensor,
    pub(super) rows: Range<usize>,
}

impl Target<'_> {
    pub(super) fn layout(&self) -> Layout {
        self.map.layout
    }

    /// The rows of each image, with the borders left and right.
    pub(super) fn images(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.map.rows_mut(self.rows.clone())
    }
}

/// Activations of several images.
#[derive(Debug, Default)]
pub(super) struct Tensor {
    layout: Layout,
    image_count: usize,
    /// Rows of one image that are held.
    rows: usize,
    /// The row of the maps that is the first one here.
    top: isize,
    /// The column of the maps that is the first one here, behind the border.
    left: usize,
    data: Floats,
}

impl Tensor {
    /// Begins maps of this layout at row `top`, of which `rows` rows are held at once, borders
    /// included. The border is zeroed, the values inside are unspecified. The memory is reused if
    /// it is large enough.
    pub(super) fn begin(&mut self, image_count: usize, layout: Layout, rows: usize, top: isize) {
        let row_len = layout.row_len();
        let is_same = self.layout == layout && self.rows == rows;
        if !is_same || self.image_count != image_count {
            (self.layout, self.rows, self.image_count) = (layout, rows, image_count);
            self.data.grow(image_count * rows * row_len);
            let (left, right) = (BEFORE * layout.c, (BEFORE + layout.w) * layout.c);
            for row in self.data[..image_count * rows * row_len].chunks_exact_mut(row_len) {
                row[..left].fill(0.0);
                row[right..].fill(0.0);
            }
        }
        (self.top, self.left) = (top, 0);
        for image in self.images_mut() {
            image[..top.min(0).unsigned_abs() * row_len].fill(0.0);
        }
    }

    /// As [`begin`](Self::begin), for a part of the maps: the columns from `left` on, of which the
    /// layout has the number.
    pub(super) fn begin_part(&mut self, layout: Layout, rows: usize, top: isize, left: usize) {
        self.begin(1, layout, rows, top);
        self.left = left;
    }

    /// Begins maps of which all rows are held.
    pub(super) fn begin_whole(&mut self, image_count: usize, layout: Layout, team: &Team) {
        self.begin(image_count, layout, layout.rows(), ABOVE);
        self.make_room(layout.h, 0, team);
    }

    /// Makes room for the rows before row `end`. If the window must move, it moves to row `keep`:
    /// earlier rows are dropped.
    pub(super) fn make_room(&mut self, end: usize, keep: isize, team: &Team) {
        let (layout, row_len, rows) = (self.layout, self.layout.row_len(), self.rows);
        let end = layout.with_border(end);
        let moved = match end - self.top > rows as isize {
            true => (keep - self.top) as usize,
            false => 0,
        };
        self.top += moved as isize;
        let border = match end > layout.h as isize {
            true => (layout.h as isize - self.top) as usize..(end - self.top) as usize,
            false => 0..0,
        };
        assert!(end - self.top <= rows as isize, "a window of {rows} rows is too small");
        team.for_each(self.images_mut(), |image| {
            if (1..rows).contains(&moved) {
                image.copy_within(moved * row_len.., 0);
            }
            image[border.start * row_len..border.end * row_len].fill(0.0);
        });
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn image_count(&self) -> usize {
        self.image_count
    }

    /// Bytes of the rows of one image.
    pub(super) fn image_bytes(&self) -> usize {
        self.rows * self.layout.row_len() * size_of::<f32>()
    }

    /// What is held of one image.
    pub(super) fn image(&self, index: usize) -> Source<'_> {
        let len = self.rows * self.layout.row_len();
        Source {
            data: &self.data[index * len..][..len],
            layout: self.layout,
            top: self.top,
            left: self.left,
        }
    }

    /// All rows, to be written. All must be held.
    pub(super) fn whole(&mut self) -> Target<'_> {
        let rows = 0..self.layout.h;
        Target { map: self, rows }
    }

    /// The given rows of each image, with the borders left and right.
    fn rows_mut(&mut self, rows: Range<usize>) -> impl Iterator<Item = &mut [f32]> {
        let (top, row_len) = (self.top, self.layout.row_len());
        let [start, end] = [rows.start, rows.end].map(|y| (y as isize - top) as usize * row_len);
        self.images_mut().map(move |image| &mut image[start..end])
    }

    fn images_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        let len = self.rows * self.layout.row_len();
        self.data[..self.image_count * len].chunks_exact_mut(len)
    }
}
