//! Entries of folders, and the files that are mapped into this process.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The entries of a folder, sorted by name; none if it cannot be read.
pub(super) fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The file that the code at `address` was mapped from.
pub(super) fn mapped(address: Option<usize>) -> Option<PathBuf> {
    let address = address?;
    mappings().into_iter().find(|(range, _)| range.contains(&address)).map(|(_, path)| path)
}

/// The file of the process whose name begins with that of the library `name`, which may have been
/// opened through links.
pub(super) fn mapped_library(name: &str) -> Option<PathBuf> {
    let is_it = |path: &Path| {
        path.file_name().is_some_and(|found| found.to_string_lossy().starts_with(name))
    };
    mappings().into_iter().find(|(_, path)| is_it(path)).map(|(_, path)| path)
}

/// Addresses that files are mapped to.
fn mappings() -> Vec<(Range<usize>, PathBuf)> {
    let maps = fs_err::read_to_string("/proc/self/maps").unwrap_or_default();
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        Some((start..end, PathBuf::from(&rest[rest.find('/')?..])))
    };
    maps.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_to_the_file_it_was_mapped_from() {
        let here = an_address_leads_to_the_file_it_was_mapped_from as *const () as usize;
        assert_eq!(mapped(Some(here)), std::env::current_exe().ok());
        assert_eq!(mapped(Some(1)), None);
    }
}
