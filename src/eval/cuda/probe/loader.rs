//! Opens shared libraries, and finds which files the system's loader takes.
#![expect(unsafe_code, reason = "opens shared libraries and looks symbols up")]

use std::path::{Path, PathBuf};

use libloading::Library as Handle;

use super::{LIBRARIES_VARIABLE, Problem, files};

/// Opens a file for the life of the process.
pub(super) fn preload(path: &Path) -> Result<(), Problem> {
    // SAFETY: the initialisers of NVIDIA's libraries have no preconditions. If the user names a
    // folder with other files of that name, they are trusted.
    match unsafe { Handle::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            let reason = format!("`{}` cannot be opened: {error:#}", path.display());
            Err(Problem::new(reason, "reinstall it, or name another folder with `--cuda-libs`"))
        }
    }
}

/// The file that the loader finds under a plain name such as `libcudnn.so`, which development
/// packages install. cudarc tries that name first, and a file that was opened by its path does not
/// match it. So this file is used whatever else there is, and the parts that are opened must belong
/// to it. Opens it for the life of the process.
pub(super) fn plainly_named(name: &str, symbol: &str) -> Option<PathBuf> {
    // SAFETY: as in `preload`.
    let library = unsafe { Handle::new(name) }.ok()?;
    let path = files::mapped(address(&library, symbol));
    std::mem::forget(library);
    path
}

/// The loader uses `taken` for a library, not `opened`.
pub(super) fn not_opened(taken: &Path, opened: &Path, plain_name: &str) -> Problem {
    let folder = opened.parent().unwrap_or(Path::new("")).display();
    let file = opened.file_name().unwrap_or_default().display();
    Problem::new(
        format!("the loader uses `{}`, but `{}` was chosen", taken.display(), opened.display()),
        format!(
            "omit `--cuda-libs` and {LIBRARIES_VARIABLE} to use the first; to use the other, run \
             `ln -s {file} {folder}/{plain_name}` and start with LD_LIBRARY_PATH={folder}"
        ),
    )
}

pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs_err::canonicalize(path).ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

/// Checks that the library has every symbol.
pub(super) fn require(library: &Handle, names: &[&str], path: &Path) -> Result<(), Problem> {
    let missing = names.iter().find(|name| address(library, name).is_none());
    match missing {
        None => Ok(()),
        Some(name) => {
            let reason = format!("`{}` has no `{name}`", path.display());
            Err(Problem::new(reason, "install a newer version"))
        }
    }
}

pub(super) fn address(library: &Handle, name: &str) -> Option<usize> {
    // SAFETY: the symbol is only looked up, as an address; it is not called through this type.
    let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
    symbol.ok().map(|symbol| *symbol as usize)
}
