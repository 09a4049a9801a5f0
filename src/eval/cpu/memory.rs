//! Memory that begins with a line of the cache and lies in huge pages where the system has them,
//! and how much memory there is.
//!
//! A vector of 64 bytes that is not aligned lies in two lines, which doubles what every load and
//! store of it costs. Minimal filtering goes back and forth between dozens of places: as many pages
//! of 4 kB are more than a processor looks up at once.

use std::ops::{Deref, DerefMut, RangeInclusive};
use std::path::Path;

/// Bytes of a line.
const LINE: usize = 64;
/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Numbers of so many bytes have huge pages to themselves, though they may not fill them: what a
/// thread works on in its cache is hardly larger than one page, and is touched all over. Larger
/// ones have whole pages inside; the rest would be waste.
const ON_HUGE_PAGES: RangeInclusive<usize> = HUGE_PAGE / 8..=4 * HUGE_PAGE;

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
        const FLOAT: usize = size_of::<f32>();
        let unit = if ON_HUGE_PAGES.contains(&(len * FLOAT)) { HUGE_PAGE } else { LINE };
        let mut data = vec![0.0; (len * FLOAT).next_multiple_of(unit) / FLOAT + unit / FLOAT];
        ask_for_huge_pages(&mut data);
        let start = data.as_ptr().align_offset(unit);
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

/// Asks for huge pages where whole ones fit. Memory of zeros is only given when it is touched, so
/// this comes in time. A system without them declines, which changes nothing but the speed.
fn ask_for_huge_pages(data: &mut [f32]) {
    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "advice on memory is given by address")]
    {
        use rustix::mm::{Advice, madvise};

        let bytes = data.as_mut_ptr_range();
        let start = (bytes.start as usize).next_multiple_of(HUGE_PAGE);
        let end = bytes.end as usize / HUGE_PAGE * HUGE_PAGE;
        if start < end {
            // SAFETY: the range lies within `data`, and the advice leaves its content alone.
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

/// Bytes that this process could allocate, as far as the system tells: what is free, and what the
/// limits of its control groups leave (batch systems and containers set them).
pub(super) fn available_bytes() -> u64 {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> u64 {
    let read = |path: &Path| fs_err::read_to_string(path).unwrap_or_default();
    let meminfo = read(&root.join("proc/meminfo"));
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = free.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let mut available = free.map_or(u64::MAX, |kib| kib << 10);
    for line in read(&root.join("proc/self/cgroup")).lines() {
        let (tree, [limit, used]) = match line.split(':').nth(1) {
            Some("") => ("sys/fs/cgroup", ["memory.max", "memory.current"]),
            Some("memory") => {
                ("sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
            }
            _ => continue,
        };
        let group = line.splitn(3, ':').last().unwrap_or_default().trim_start_matches('/');
        // A group obeys the limits of those that it is in.
        for group in Path::new(group).ancestors() {
            let number = |name| read(&root.join(tree).join(group).join(name)).trim().parse::<u64>();
            if let (Ok(limit), Ok(used)) = (number(limit), number(used)) {
                available = available.min(limit.saturating_sub(used));
            }
        }
    }
    available
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_of_all_groups_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        assert_eq!(available_below(root.path()), u64::MAX);
        write("proc/meminfo", "MemTotal:  900 kB\nMemAvailable:     800 kB\n");
        assert_eq!(available_below(root.path()), 800 << 10);
        write("proc/self/cgroup", "4:memory:/job/step\n1:cpu:/\n0::/user\n");
        assert_eq!(available_below(root.path()), 800 << 10);
        write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "700000\n");
        write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "100000\n");
        assert_eq!(available_below(root.path()), 600_000);
        write("sys/fs/cgroup/user/memory.max", "max\n");
        write("sys/fs/cgroup/user/memory.current", "5\n");
        assert_eq!(available_below(root.path()), 600_000);
        write("sys/fs/cgroup/user/memory.max", "50\n");
        assert_eq!(available_below(root.path()), 45);
    }

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
