//! `--write-manifest`: the pairs as a manifest that can be scored later, or corrected by hand.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::decimal::counted;
use crate::error::{DISK_HINT, Refusal};
use crate::manifest::{Entry, Manifest};
use crate::part_file;
use crate::progress::print_line;

/// Writes the rows of `manifest` to `path`, with paths that are valid there. If files have no
/// partner or rows are at fault, nothing is written: the manifest would hide them.
///
/// # Errors
/// When `path` cannot be written or is the manifest itself.
pub(super) fn save(path: &Path, manifest: &Manifest, is_whole: bool) -> anyhow::Result<()> {
    let shown = path.display();
    if !is_whole {
        print_line(&format!(
            "`{shown}` is not written: the inputs have the errors that are reported"
        ));
        return Ok(());
    }
    if manifest.is_at(path) {
        let message = format!("`{shown}` is the manifest that is checked");
        return Err(Refusal::usage(message).hint("name another file").into());
    }
    let cannot_write =
        || Refusal::environment(format!("cannot write the manifest `{shown}`")).hint(DISK_HINT);
    let file = part_file::beside(path).with_context(cannot_write)?;
    let mut csv = csv::Writer::from_writer(file);
    let columns = ["ref", "dist", "id", "item", "method"];
    let carried = manifest.carried().iter().map(String::as_str);
    csv.write_record(columns.into_iter().chain(carried)).with_context(cannot_write)?;
    let is_here = path.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    let mut rows = manifest.rows()?;
    for row in 0..manifest.len() {
        let row = u32::try_from(row).context("a manifest has at most 2^32 rows")?;
        let Entry { id, item, method, reference, distorted, carried } = rows.read(row)?;
        let [reference, distorted] = [reference, distorted].map(|written| {
            let file = manifest.resolve(&written);
            let file = if is_here { Ok(file) } else { std::path::absolute(file) };
            file.map(|file| file.display().to_string())
        });
        let cells = [reference?, distorted?, id, item, method];
        csv.write_record(cells.into_iter().chain(carried)).with_context(cannot_write)?;
    }
    let mut file = csv.into_inner().map_err(csv::IntoInnerError::into_error)?;
    file.flush().and_then(|()| file.as_file().sync_all()).with_context(cannot_write)?;
    file.persist(path).with_context(cannot_write)?;
    print_line(&format!("{} written to `{shown}`", counted(manifest.len(), "pair")));
    Ok(())
}
