//! Where the pairs of a job come from: a manifest, stdin, folders or the command line.
//!
//! Every source becomes a manifest in a file, because rows are read again by number. A user's file
//! is read in place; everything else is spooled into a folder of the caller. This module does not
//! depend on what is done with the pairs.

use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::batch::Grouping;
use crate::error::{DISK_HINT, Refusal};
use crate::manifest::{Format, Location, triplets};
use crate::pairing::{self, Folders, Pairing};

/// Name, without extension, of a manifest that was spooled.
pub const SPOOLED: &str = "manifest";

/// Where pairs come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A manifest file of the user.
    File(PathBuf),
    /// Standard input; its paths are relative to the working folder.
    Stdin,
    /// Folders that are paired by name.
    Folders(Folders),
    /// Every two images of each folder at or below this one.
    AllPairs(PathBuf),
    /// Two files.
    Pair {
        /// The reference.
        reference: PathBuf,
        /// The distorted image.
        distorted: PathBuf,
    },
}

/// A manifest in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// The file.
    pub location: Location,
    /// How folders were paired, if they were.
    pub pairing: Option<Pairing>,
}

impl Source {
    /// Which rows of the manifest share images.
    #[must_use]
    pub fn grouping(&self) -> Grouping {
        match self {
            Source::AllPairs(_) => Grouping::Item,
            _ => Grouping::Reference,
        }
    }

    /// Returns the manifest as a file. Unless it is one already, it is written into `spool`.
    ///
    /// # Errors
    /// When folders or stdin cannot be read, or the manifest cannot be written.
    pub fn locate(&self, spool: &Path) -> anyhow::Result<Located> {
        let unpaired = |location| Located { location, pairing: None };
        Ok(match self {
            Source::File(path) => {
                let location = Location::of(path);
                unpaired(spool_triplets(spool, &location)?.unwrap_or(location))
            }
            Source::Stdin => unpaired(spool_stdin(spool)?),
            Source::Pair { reference, distorted } => {
                let (reference, distorted) = (text(reference)?, text(distorted)?);
                let row = ["ref", "dist"].map(str::to_owned);
                unpaired(spool_rows(spool, [row, [reference, distorted]].into_iter())?)
            }
            Source::AllPairs(folder) => {
                let header = ["ref", "dist", "item", "id"].map(str::to_owned);
                let rows = pairing::all_pairs(folder)?;
                unpaired(spool_rows(spool, std::iter::once(header).chain(rows))?)
            }
            Source::Folders(folders) => {
                let pairing = pairing::pair(folders)?;
                let header = ["ref", "dist", "item", "method"].map(str::to_owned);
                let rows = pairing.rows.iter().cloned();
                let rows = rows.map(|row| [row.reference, row.distorted, row.item, row.method]);
                let location = spool_rows(spool, std::iter::once(header).chain(rows))?;
                Located { location, pairing: Some(pairing) }
            }
        })
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Refusal::inputs(format!("`{}`: the name is not UTF-8", path.display()))
            .hint("rename the file")
            .into()
    })
}

fn spool_rows<const N: usize>(
    spool: &Path,
    rows: impl Iterator<Item = [String; N]>,
) -> anyhow::Result<Location> {
    spool_as(spool, Format::Csv, |file| {
        let mut csv = csv::Writer::from_writer(file);
        for row in rows {
            csv.write_record(row)?;
        }
        Ok(csv.flush()?)
    })
}

/// The pairs of a manifest of triplets; `None` if the manifest holds pairs.
fn spool_triplets(spool: &Path, location: &Location) -> anyhow::Result<Option<Location>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    if !triplets::expand(location, &mut |row| Ok(csv.write_record(row)?))? {
        return Ok(None);
    }
    let rows = csv.into_inner()?;
    let spooled = spool_as(spool, Format::Csv, |file| Ok(file.write_all(&rows)?))?;
    // Its paths are still relative to the user's manifest.
    Ok(Some(Location { folder: location.folder.clone(), ..spooled }))
}

fn spool_stdin(spool: &Path) -> anyhow::Result<Location> {
    let mut stdin = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
    let start = stdin.fill_buf().context("cannot read the manifest from stdin")?;
    let format = Format::sniff(start);
    spool_as(spool, format, |file| {
        std::io::copy(&mut stdin, file)?;
        Ok(file.flush()?)
    })
}

/// Writes the manifest, and removes it if that fails. Its paths are relative to the working folder,
/// as they were typed.
fn spool_as(
    spool: &Path,
    format: Format,
    write: impl FnOnce(&mut BufWriter<fs_err::File>) -> anyhow::Result<()>,
) -> anyhow::Result<Location> {
    let path = spool.join(SPOOLED).with_extension(format.extension());
    let cannot_write =
        |hint: &str| Refusal::environment(format!("cannot write `{}`", path.display())).hint(hint);
    // An existing file is never overwritten.
    let file = fs_err::OpenOptions::new().write(true).create_new(true).open(&path);
    let file = file.with_context(|| {
        cannot_write("name a folder with `-o` that can be written and holds no such file")
    })?;
    write(&mut BufWriter::new(file)).with_context(|| {
        // A disk that refuses the write may refuse the removal as well.
        drop(fs_err::remove_file(&path));
        cannot_write(DISK_HINT)
    })?;
    Ok(Location { file: path, format, folder: PathBuf::new() })
}
