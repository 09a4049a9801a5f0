//! Where the pairs of a job come from: a manifest, a stream, folders or the command line.
//!
//! Every source becomes a manifest in a file, because rows are read again by number. A user's file
//! is read in place; everything else is spooled into a folder of the caller. This module does not
//! depend on what is done with the pairs.

mod utf16;

use std::io::{BufWriter, ErrorKind, Read, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err::File;

use self::utf16::Utf16;
use crate::batch::Grouping;
use crate::error::Refusal;
use crate::manifest::triplets::Triplets;
use crate::manifest::{self, Format, Location};
use crate::pairing::{self, Folders, Pairing, Patterns, Row};

/// Bytes of a stream from which its format is recognised.
const SNIFFED_BYTES: u64 = 1 << 16;

/// Where pairs come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A manifest file of the user, or a named pipe.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// Folders that are paired by name.
    Folders(Folders),
    /// Files that match patterns, paired by their fields.
    Patterns(Patterns),
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
                let location = match Stream::open(path)? {
                    Some(stream) => stream.spool(spool)?,
                    None => spool_utf_16(spool, Location::of(path))?,
                };
                unpaired(spool_triplets(spool, location)?)
            }
            Source::Stdin => {
                let stream = Stream { from: Box::new(std::io::stdin()), name: "stdin".to_owned() };
                unpaired(spool_triplets(spool, stream.spool(spool)?)?)
            }
            Source::Pair { reference, distorted } => {
                let (reference, distorted) = (text(reference)?, text(distorted)?);
                let row = ["ref", "dist"].map(str::to_owned);
                unpaired(spool_rows(spool, "--pair", [row, [reference, distorted]].into_iter())?)
            }
            Source::AllPairs(folder) => {
                let name = format!("--all-pairs {}", text(folder)?);
                let header = ["ref", "dist", "item", "id"].map(str::to_owned);
                let rows = pairing::all_pairs(folder)?;
                unpaired(spool_rows(spool, &name, std::iter::once(header).chain(rows))?)
            }
            Source::Folders(folders) => {
                let name = format!("--ref {}", text(&folders.reference)?);
                folders.distorted.iter().try_for_each(|folder| text(&folder.path).map(drop))?;
                spool_pairing(spool, &name, pairing::pair_by_name(folders)?)?
            }
            Source::Patterns(patterns) => {
                refuse_columns(patterns)?;
                let name = format!("--ref {}", patterns.reference[0]);
                spool_pairing(spool, &name, pairing::pair_by_pattern(patterns)?)?
            }
        })
    }
}

/// A path as the text of a manifest.
fn text(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        Refusal::inputs(format!("`{}`: the name is not UTF-8", path.display()))
            .hint("rename it, or name a link to it whose name is UTF-8")
            .into()
    })
}

/// Rows that can be read once. Their paths are relative to the working folder.
struct Stream {
    from: Box<dyn Read>,
    name: String,
}

impl Stream {
    /// Opens a pipe; `None` for anything else, which is read where it is or refused there. The name
    /// of an open file, such as `/dev/stdin`, stands for a stream, even if a file is behind.
    fn open(path: &Path) -> anyhow::Result<Option<Stream>> {
        let Ok(of) = fs_err::metadata(path) else { return Ok(None) };
        let is_alias = path.starts_with("/dev/fd")
            || path == Path::new("/dev/stdin")
            || (path.starts_with("/proc") && path.parent().is_some_and(|at| at.ends_with("fd")));
        let is_stream = of.file_type().is_fifo() || (of.is_file() && is_alias);
        if !is_stream {
            return Ok(None);
        }
        let name = path.display().to_string();
        let from = File::open(path).with_context(|| {
            Refusal::inputs(format!("cannot read the manifest `{name}`"))
                .hint("name a file or a pipe that can be read")
        })?;
        Ok(Some(Stream { from: Box::new(from), name }))
    }

    fn spool(self, spool: &Path) -> anyhow::Result<Location> {
        let Stream { from, name } = self;
        let location = spool_as(spool, "stream", &name, |file| {
            let mut limited = from.take(manifest::BYTES_MAX + 1);
            let copied = std::io::copy(&mut limited, file)?;
            if copied > manifest::BYTES_MAX {
                let message = format!("manifest `{name}`: more than {} bytes", manifest::BYTES_MAX);
                return Err(Refusal::inputs(message).hint("split the manifest").into());
            }
            Ok(())
        })?;
        let mut location = spool_utf_16(spool, location)?;
        location.format = Format::sniff(&start_of(&location.file)?);
        Ok(location)
    }
}

/// The first bytes of a file.
fn start_of(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(file)?.take(SNIFFED_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// The same rows in UTF-8 if the manifest is UTF-16 text. What cannot be opened, or is too long, is
/// refused where it is read.
fn spool_utf_16(spool: &Path, location: Location) -> anyhow::Result<Location> {
    let is_readable = fs_err::metadata(&location.file)
        .is_ok_and(|of| of.is_file() && of.len() <= manifest::BYTES_MAX);
    let start = is_readable.then(|| start_of(&location.file).ok()).flatten();
    let Some(order) = start.and_then(|start| Utf16::recognise(&start)) else { return Ok(location) };
    let spooled = spool_as(spool, "utf-8", &location.name, |file| {
        let mut from = File::open(&location.file)?;
        order.transcode(&mut from, file).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => anyhow::Error::new(
                Refusal::inputs(format!("manifest `{}`: UTF-16 text with {error}", location.name))
                    .hint("export it again as UTF-8"),
            ),
            _ => error.into(),
        })
    })?;
    let dialect = vec!["the text is UTF-16".to_owned()];
    Ok(Location { format: location.format, folder: location.folder, dialect, ..spooled })
}

/// Refuses fields that would become columns of another meaning.
fn refuse_columns(patterns: &Patterns) -> Result<(), Refusal> {
    let Some(field) = patterns.carried().into_iter().find(|field| manifest::has_meaning(field))
    else {
        return Ok(());
    };
    let message = format!("the field `{{{field}}}` has the name of a column with a meaning");
    Err(Refusal::usage(message).hint(format!("rename it, for example to `{{my_{field}}}`")))
}

/// The rows of a pairing. Those of patterns have ids and the columns of their fields.
fn spool_pairing(spool: &Path, name: &str, pairing: Pairing) -> anyhow::Result<Located> {
    let has_ids = pairing.rows.iter().any(|row| !row.id.is_empty());
    let cells = |[reference, distorted, id, item, method]: [&str; 5], fields: &[String]| {
        let id = has_ids.then_some(id);
        let known = [reference, distorted].into_iter().chain(id).chain([item, method]);
        known.map(str::to_owned).chain(fields.iter().cloned()).collect::<Vec<String>>()
    };
    let header = cells(["ref", "dist", "id", "item", "method"], &pairing.fields);
    let rows = pairing.rows.iter().map(|row| {
        let Row { reference, distorted, id, item, method, fields } = row;
        cells([reference, distorted, id, item, method], fields)
    });
    let location = spool_rows(spool, name, std::iter::once(header).chain(rows))?;
    Ok(Located { location, pairing: Some(pairing) })
}

fn spool_rows<R: IntoIterator<Item = String>>(
    spool: &Path,
    name: &str,
    rows: impl Iterator<Item = R>,
) -> anyhow::Result<Location> {
    spool_as(spool, "pairs", name, |file| {
        let mut csv = csv::Writer::from_writer(file);
        for row in rows {
            csv.write_record(row)?;
        }
        Ok(csv.flush()?)
    })
}

/// The pairs that a manifest of triplets stands for; the manifest itself if it has no triplets.
fn spool_triplets(spool: &Path, location: Location) -> anyhow::Result<Location> {
    let Some(triplets) = Triplets::open(&location)? else { return Ok(location) };
    let dialect = triplets.dialect();
    let spooled = spool_as(spool, "triplets", &location.name, |file| {
        let mut csv = csv::Writer::from_writer(file);
        triplets.expand(&mut |row| Ok(csv.write_record(row)?))?;
        Ok(csv.flush()?)
    })?;
    // Its paths are still relative to the user's manifest.
    Ok(Location { folder: location.folder, dialect, ..spooled })
}

/// Writes a manifest in CSV for what messages call `name`.
fn spool_as(
    spool: &Path,
    file_name: &str,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>,
) -> anyhow::Result<Location> {
    let path = spool.join(file_name);
    let cannot_write = || {
        Refusal::environment(format!("cannot write `{}`", path.display()))
            .hint("free space there, or name another folder in TMPDIR")
    };
    let file = File::create_new(&path).with_context(cannot_write)?;
    let mut file = BufWriter::new(file);
    let written = write(&mut file).and_then(|()| Ok(file.flush()?));
    written.map_err(|error| match error.downcast_ref::<Refusal>() {
        Some(_) => error,
        None => error.context(cannot_write()),
    })?;
    let (folder, name) = (PathBuf::new(), name.to_owned());
    Ok(Location { file: path, format: Format::Csv, folder, name, dialect: Vec::new() })
}
