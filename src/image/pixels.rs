//! Samples: those that a decoder made, and those in a caller's memory.

use std::sync::Arc;

use super::{Depth, Size};

/// Samples of an image: (row, column, RGB).
#[derive(Clone, PartialEq, Debug)]
pub enum Pixels {
    /// 0 to 255.
    U8(Vec<u8>),
    /// 0 to 1, or -1 to 1; see [`Rules::range`](super::Rules::range).
    F32(Vec<f32>),
}

/// Borrowed samples: (row, column, RGB), as in [`Pixels`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PixelSlice<'a> {
    /// 0 to 255.
    U8(&'a [u8]),
    /// 0 to 1, or -1 to 1.
    F32(&'a [f32]),
}

impl PixelSlice<'_> {
    /// How a batch must store them.
    #[must_use]
    pub fn depth(self) -> Depth {
        match self {
            PixelSlice::U8(_) => Depth::U8,
            PixelSlice::F32(_) => Depth::F32,
        }
    }

    /// Whether both are the same memory.
    #[must_use]
    pub fn is(self, other: PixelSlice<'_>) -> bool {
        match (self, other) {
            (PixelSlice::U8(one), PixelSlice::U8(two)) => std::ptr::eq(one, two),
            (PixelSlice::F32(one), PixelSlice::F32(two)) => std::ptr::eq(one, two),
            _ => false,
        }
    }
}

/// Something that holds samples.
pub trait PixelStore {
    /// All of them.
    fn slice(&self) -> PixelSlice<'_>;
}

impl PixelStore for Pixels {
    fn slice(&self) -> PixelSlice<'_> {
        match self {
            Pixels::U8(samples) => PixelSlice::U8(samples),
            Pixels::F32(samples) => PixelSlice::F32(samples),
        }
    }
}

impl PixelStore for PixelSlice<'_> {
    fn slice(&self) -> PixelSlice<'_> {
        *self
    }
}

impl<P: PixelStore + ?Sized> PixelStore for Arc<P> {
    fn slice(&self) -> PixelSlice<'_> {
        (**self).slice()
    }
}

/// An image that can be scored: a decoded one, or one in a caller's memory.
pub trait AsPixels {
    /// Extents.
    fn size(&self) -> Size;
    /// As many samples as the size states.
    fn pixels(&self) -> PixelSlice<'_>;
}

impl<I: AsPixels + ?Sized> AsPixels for &I {
    fn size(&self) -> Size {
        (**self).size()
    }

    fn pixels(&self) -> PixelSlice<'_> {
        (**self).pixels()
    }
}
