//! The files below a folder, as the pairing sees them: by name alone.
//!
//! Whatever cannot be read is a [`Problem`] of its own and never ends the walk, except for errors
//! of the machine, which every later folder would have as well.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::WalkDir;

use super::{Ignored, Problem};
use crate::code::Code;
use crate::error::Refusal;
use crate::suggest::nearest_file;
use crate::system;

/// Extensions, in lower case, of files that are taken for images. The content decides what a file
/// is when it is read; this only keeps text files and the like out of the pairing.
pub(super) const EXTENSIONS: &[&str] = &[
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "pam", "gif", "avif", "heic", "jxl", "jp2", "exr", "hdr", "npy",
];

/// What is below a folder.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Paths of the files, relative to the folder, in the order of their names.
    pub(super) files: Vec<String>,
    /// What cannot be read or named.
    pub(super) problems: Vec<Problem>,
    /// What was left out.
    pub(super) ignored: Ignored,
}

/// Walks `folder`, without the folders `apart`, and takes the files for which `is_taken` holds.
///
/// A link to nothing is a file if its name is taken: its pair fails as one of any missing file.
///
/// # Errors
/// A [`Refusal`] when the folder itself cannot be read, or the machine is at fault.
pub(super) fn walk(
    folder: &Path,
    apart: &[PathBuf],
    is_taken: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Walked> {
    // A folder that is missing, or a file, is reported as such and not as an empty walk.
    fs_err::read_dir(folder).with_context(|| cannot_read(folder))?;
    let mut walked = Walked::default();
    let mut hidden = 0;
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let visible = walk.filter_entry(|entry| {
        let is_below = entry.depth() > 0;
        let skip = is_below && is_hidden(entry.path());
        hidden += usize::from(skip);
        let is_apart = || {
            is_below
                && entry.file_type().is_dir()
                && apart.iter().any(|one| is_same(one, entry.path()))
        };
        !skip && !is_apart()
    });
    for entry in visible {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) => walked.take(folder, entry.path(), is_taken),
            Err(error) if error.loop_ancestor().is_some() => walked.ignored.loops += 1,
            Err(error) => walked.add_unreadable(folder, error, is_taken)?,
        }
    }
    walked.ignored.hidden += hidden;
    Ok(walked)
}

impl Walked {
    fn take(&mut self, folder: &Path, path: &Path, is_taken: &dyn Fn(&str) -> bool) {
        let relative = path.strip_prefix(folder).unwrap_or(path);
        match relative.to_str() {
            Some(relative) if is_taken(relative) => self.files.push(relative.to_owned()),
            None if has_image_name(&relative.to_string_lossy()) => {
                let message =
                    format!("`{}`: the name is not UTF-8; rename the file", path.display());
                self.problems.push(Problem { code: Code::Name, message });
            }
            _ => self.ignored.others += 1,
        }
    }

    fn add_unreadable(
        &mut self,
        folder: &Path,
        error: walkdir::Error,
        is_taken: &dyn Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let Some(path) = error.path().map(Path::to_owned) else {
            return Err(error).with_context(|| cannot_read(folder));
        };
        let is_dangling = path.is_symlink() && !path.exists();
        if is_dangling && is_hidden(&path) {
            self.ignored.hidden += 1;
        } else if is_dangling {
            self.take(folder, &path, is_taken);
        } else if system::is_of_machine(&error) {
            return Err(error).with_context(|| cannot_read(&path));
        } else {
            let reason = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
            let message =
                format!("cannot read `{}`: {reason}; what is in it is not known", path.display());
            self.problems.push(Problem { code: Code::Read, message });
        }
        Ok(())
    }
}

fn cannot_read(folder: &Path) -> Refusal {
    let shown = folder.display();
    let refusal = Refusal::inputs(format!("cannot read the folder `{shown}`"));
    match nearest_file(folder).filter(|_| !folder.exists()) {
        Some(near) => refusal.hint(format!("did you mean `{near}`?")),
        None if folder.is_file() => refusal.hint("name the folder that holds the file"),
        None => refusal.hint("name a folder that can be read"),
    }
}

/// Whether two paths lead to one folder.
pub(super) fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| fs_err::canonicalize(path).ok();
    a == b || real(a).is_some_and(|a| real(b) == Some(a))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Whether a file has the extension of an image.
pub(super) fn has_image_name(path: &str) -> bool {
    let extension = Path::new(path).extension().unwrap_or_default();
    EXTENSIONS.contains(&extension.to_string_lossy().to_lowercase().as_str())
}

#[cfg(test)]
pub(super) mod tests {
    /// A folder with empty files.
    pub(in crate::pairing) fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        }
        root
    }
}
