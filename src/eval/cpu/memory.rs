//! Memory that begins with a line of the cache.
//!
//! A vector of 64 bytes that is not aligned lies in two lines, which doubles what every load and
//! store of it costs.

use std::ops::{Deref, DerefMut};

/// Bytes of a line.
const LINE: usize = 64;

/// Numbers whose first one is aligned.
#[derive(Debug, Default)]
pub(super) struct Floats {
    /// The numbers, with as many before them as alignment needs, and some after them.
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Floats {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Floats {
        let data = vec![0.0; len + LINE / size_of::<f32>()];
        let start = data.as_ptr().align_offset(LINE);
        Floats { data, start, len }
    }

    /// At least `len` numbers. What was there has no meaning any more if there were fewer: the
    /// memory is freed first.
    pub(super) fn grow(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Floats::default();
            *self = Floats::zeros(len);
        }
        self
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..][..self.len]
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_with_a_line_however_many_they_are() {
        for len in [1, 5, 16, 1000, 1 << 20] {
            let mut floats = Floats::zeros(len);
            assert_eq!((floats.as_ptr() as usize % LINE, floats.len()), (0, len));
            assert!(floats.grow(len + 7).len() >= len + 7);
            assert_eq!(floats.as_ptr() as usize % LINE, 0);
        }
    }
}
