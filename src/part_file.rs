//! A file that is being written, under a temporary name beside its own.
//!
//! The caller fills it, makes it durable and renames it, so that a reader finds the whole file or
//! none. This module refuses to know what is in it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Creates `<name>.<random>.part` in the folder of `path`. It is removed when it is dropped.
///
/// # Errors
/// When the folder cannot be written.
pub(crate) fn beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // The umask decides who may read the file, as for any other; temporary files are private.
    let permissions = std::fs::Permissions::from_mode(0o666);
    Builder::new()
        .prefix(&name)
        .suffix(".part")
        .rand_bytes(8)
        .permissions(permissions)
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}
