//! Activations of several images: (image, row, column, channel) with a border of zeros.
//!
//! Channels are innermost, so a row of a convolution's window is one contiguous run. The border
//! stands for the padding of the next convolution.

use crate::net::plan::View;

/// Rows and columns of zeros on every side: the largest padding of any trunk.
pub(super) const BORDER: usize = 2;

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
    /// Of the whole activation that `view` is a part of.
    pub(super) fn of(view: View) -> Layout {
        Layout { c: view.c_slot, h: view.shape.h, w: view.shape.w }
    }

    /// Elements from one row to the next.
    pub(super) fn row_len(self) -> usize {
        (self.w + 2 * BORDER) * self.c
    }

    /// Elements from one image to the next.
    pub(super) fn image_len(self) -> usize {
        (self.h + 2 * BORDER) * self.row_len()
    }

    /// Where column `x` of row `y` starts within an image; negative positions are in the border.
    pub(super) fn at(self, y: isize, x: isize) -> usize {
        let border = BORDER as isize;
        (y + border) as usize * self.row_len() + (x + border) as usize * self.c
    }
}

/// Activations of several images.
#[derive(Clone, Debug, Default)]
pub(super) struct Tensor {
    layout: Layout,
    image_count: usize,
    data: Vec<f32>,
}

impl Tensor {
    /// Gives the tensor another shape; its memory stays. If the shape changes, everything is zero
    /// after it; if not, the border still is.
    pub(super) fn resize(&mut self, image_count: usize, layout: Layout) {
        if self.layout == layout && self.image_count == image_count {
            return;
        }
        self.layout = layout;
        self.image_count = image_count;
        self.data.clear();
        self.data.resize(image_count * layout.image_len(), 0.0);
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// One image with its border.
    pub(super) fn image(&self, index: usize) -> &[f32] {
        let len = self.layout.image_len();
        &self.data[index * len..][..len]
    }

    /// The images, one after the other, with their borders.
    pub(super) fn images_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        let len = self.layout.image_len();
        self.data.chunks_exact_mut(len)
    }
}
