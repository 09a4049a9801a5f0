//! Arrays of floats that are aligned to a cache line and, where the system has them, backed by huge
//! pages.
//!
//! An unaligned vector of 64 bytes spans two cache lines, which doubles the cost of each load and
//! store. Minimal filtering alternates between dozens of places: with pages of 4 kB they would
//! exceed the processor's first-level TLB.

use std::ops::{Deref, DerefMut, RangeInclusive};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Arrays of these sizes, in bytes, are aligned to a huge page even if smaller than one: a thread's
/// working set is about one page, and all of it is touched. Larger arrays contain whole huge pages
/// anyway, and rounding them up would waste memory.
const ON_HUGE_PAGES: RangeInclusive<usize> = HUGE_PAGE / 8..=4 * HUGE_PAGE;

/// An array of floats whose first element is aligned.
#[derive(Debug, Default)]
pub(super) struct Floats {
    /// The array from element `start` on, with room for alignment before and after it.
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Floats {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Floats {
        const FLOAT: usize = size_of::<f32>();
        let unit = if ON_HUGE_PAGES.contains(&(len * FLOAT)) { HUGE_PAGE } else { LINE };
        let mut data = vec![0.0; (len * FLOAT).next_multiple_of(unit) / FLOAT + unit / FLOAT];
        ask_for_huge_pages(&mut data);
        let start = data.as_ptr().align_offset(unit);
        Floats { data, start, len }
    }

    /// The array with at least `len` elements. If it had fewer, it is allocated anew and its old
    /// values are lost: the old memory is freed first, so that both never exist at once.
    pub(super) fn grow(&mut self, len: usize) -> &mut [f32] {
        if self.len < len {
            *self = Floats::default();
            *self = Floats::zeros(len);
        }
        self
    }
}

/// Requests huge pages where whole ones fit. The system backs zeroed memory with pages when it is
/// first touched, so the request comes early enough. Where it is refused, only speed is lost.
fn ask_for_huge_pages(data: &mut [f32]) {
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "madvise takes an address")]
    {
        use rustix::mm::{Advice, madvise};

        let bytes = data.as_mut_ptr_range();
        let start = (bytes.start as usize).next_multiple_of(HUGE_PAGE);
        let end = bytes.end as usize / HUGE_PAGE * HUGE_PAGE;
        if start < end {
            // SAFETY: the range lies within `data`, and this advice does not change its content.
            let _ = unsafe { madvise(start as *mut _, end - start, Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = data;
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
    fn arrays_of_every_size_are_aligned_to_a_cache_line() {
        for len in [1, 5, 16, 1000, 1 << 20] {
            let mut floats = Floats::zeros(len);
            assert_eq!((floats.as_ptr() as usize % LINE, floats.len()), (0, len));
            assert!(floats.grow(len + 7).len() >= len + 7);
            assert_eq!(floats.as_ptr() as usize % LINE, 0);
        }
    }
}
