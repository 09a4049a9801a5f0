//! The extents of an image, and how its samples are stored.

/// Width and height of an image in pixels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Size {
    /// Number of samples of an RGB image.
    #[must_use]
    pub fn samples(self) -> usize {
        3 * self.width * self.height
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How a sample is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Depth {
    /// One byte, 0 to 255 for 0 to 1.
    U8,
    /// A native-endian float32 in [0, 1].
    F32,
}

impl Depth {
    /// Bytes of one sample.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Depth::U8 => 1,
            Depth::F32 => 4,
        }
    }
}
