//! The manifest: which pairs there are, in which order they are scored, and what each row says.
//!
//! A manifest may have millions of rows, so its rows are indexed rather than kept: 12 bytes a row
//! stay in memory (byte offset and scoring order), about 30 more while the index is made. Rows are
//! read again from the file when they are needed. This module reads text and refuses to know
//! whether the images exist or what becomes of them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Seek as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err::File;
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Row;
use crate::error::Refusal;
use crate::net::weights::sha256_hex_of;

/// Headers that name the reference, the preferred one first.
const REFERENCE: &[&str] = &["ref", "reference", "gt", "hr"];
/// Headers that name the distorted image, the preferred one first.
const DISTORTED: &[&str] = &["dist", "distorted", "pred", "sr"];
/// Names of output columns, which a carried column must not bear.
const RESERVED: &[&str] = &["width", "height", "status", "error_code", "error", "metric"];
/// Starts of the names of metric columns.
const RESERVED_PREFIXES: &[&str] = &["lpips_", "baseline_"];

/// A row of the manifest with its defaults filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Unique name of the pair.
    pub id: String,
    /// What is being reproduced.
    pub item: String,
    /// Who made the distorted image; may be empty.
    pub method: String,
    /// Path of the reference as written in the manifest.
    pub reference: String,
    /// Path of the distorted image as written in the manifest.
    pub distorted: String,
    /// Cells of the other columns, in the order of [`Manifest::carried`].
    pub carried: Vec<String>,
}

/// Where the columns are.
#[derive(Clone, Debug)]
struct Columns {
    reference: usize,
    distorted: usize,
    id: Option<usize>,
    item: Option<usize>,
    method: Option<usize>,
    carried: Vec<usize>,
}

/// An indexed manifest.
#[derive(Debug)]
pub struct Manifest {
    path: PathBuf,
    folder: PathBuf,
    delimiter: u8,
    columns: Columns,
    carried: Vec<String>,
    offsets: Vec<u64>,
    order: Vec<Row>,
    sha256: String,
}

impl Manifest {
    /// Reads the header and every row, checks them, and indexes them.
    ///
    /// # Errors
    /// A [`Refusal`] when the file cannot be read, has no `ref` or `dist` column, a reserved or
    /// repeated header, no rows, a row of another length, an empty path, or an id twice.
    pub fn open(path: &Path) -> anyhow::Result<Manifest> {
        let context = || Refusal::inputs(format!("cannot read the manifest `{}`", path.display()));
        let mut file = File::open(path).with_context(context)?;
        let sha256 = sha256_hex_of(&mut file).with_context(context)?;
        file.rewind().with_context(context)?;

        let delimiter = delimiter_of(path);
        let mut reader = csv_reader(file, delimiter, true);
        let header = reader.headers().map_err(|error| malformed(path, &error))?.clone();
        let columns = Columns::new(&header).map_err(|refusal| located(path, refusal))?;
        let carried = columns.carried.iter().map(|&column| header[column].to_owned()).collect();
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();

        let mut manifest = Manifest {
            path: path.to_owned(),
            folder,
            delimiter,
            columns,
            carried,
            offsets: Vec::new(),
            order: Vec::new(),
            sha256,
        };
        manifest.index(reader)?;
        Ok(manifest)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no rows; never, since such a manifest is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Headers of the columns that are carried to the output.
    #[must_use]
    pub fn carried(&self) -> &[String] {
        &self.carried
    }

    /// The order in which rows are scored: rows of one reference follow each other, references
    /// come in the order of their first row.
    #[must_use]
    pub fn order(&self) -> &[Row] {
        &self.order
    }

    /// The file that a path of the manifest names: relative to the manifest's folder.
    #[must_use]
    pub fn resolve(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// A reader of rows by number.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn rows(&self) -> anyhow::Result<Rows<'_>> {
        let file = File::open(&self.path)?;
        let reader = csv_reader(file, self.delimiter, false);
        Ok(Rows { manifest: self, reader, record: csv::StringRecord::new() })
    }

    fn index(&mut self, mut reader: csv::Reader<File>) -> anyhow::Result<()> {
        let mut references: Vec<(u64, Row)> = Vec::new();
        let mut ids: Vec<(u64, Row)> = Vec::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| malformed(&self.path, &error))? {
            let position = record.position().context("a record without a position")?;
            let entry = self.columns.entry(&record);
            for (name, cell) in [("ref", &entry.reference), ("dist", &entry.distorted)] {
                if cell.is_empty() {
                    let line = position.line();
                    let message = format!("line {line}: the `{name}` cell is empty");
                    return Err(located(&self.path, Refusal::inputs(message)).into());
                }
            }
            let row = Row::try_from(self.offsets.len()).map_err(|_| {
                located(&self.path, Refusal::inputs("more than 4,294,967,295 rows"))
                    .hint("split the manifest")
            })?;
            self.offsets.push(position.byte());
            references.push((xxh3_64(entry.reference.as_bytes()), row));
            ids.push((xxh3_64(entry.id.as_bytes()), row));
        }
        if self.is_empty() {
            return Err(located(&self.path, Refusal::inputs("there is no row below the header"))
                .hint(
                    "write one line per pair: the path of the reference and of the distorted image",
                )
                .into());
        }
        self.refuse_duplicates(ids)?;
        self.order = scoring_order(references);
        Ok(())
    }

    /// Equal hashes are only a suspicion: the ids themselves decide.
    fn refuse_duplicates(&self, mut ids: Vec<(u64, Row)>) -> anyhow::Result<()> {
        ids.sort_unstable();
        let mut rows = self.rows()?;
        for same in ids.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let mut seen = HashSet::new();
            for &(_, row) in same {
                let id = rows.read(row)?.id;
                if seen.contains(&id) {
                    // Rows count from 1 after the header, as people count them.
                    let message = format!("the id `{id}` stands twice, again in row {}", row + 1);
                    return Err(located(&self.path, Refusal::inputs(message))
                        .hint("give each row its own `id`, or a `method` that tells them apart")
                        .into());
                }
                seen.insert(id);
            }
        }
        Ok(())
    }
}

/// Rows of a manifest, read by number. Cheapest in the order of the file.
#[derive(Debug)]
pub struct Rows<'a> {
    manifest: &'a Manifest,
    reader: csv::Reader<File>,
    record: csv::StringRecord,
}

impl Rows<'_> {
    /// Row `row`, counted from 0.
    ///
    /// # Errors
    /// When the file cannot be read, or has changed since it was indexed.
    pub fn read(&mut self, row: Row) -> anyhow::Result<Entry> {
        let mut position = csv::Position::new();
        position.set_byte(self.manifest.offsets[row as usize]);
        self.reader.seek(position)?;
        let path = &self.manifest.path;
        let found = self.reader.read_record(&mut self.record).map_err(|e| malformed(path, &e))?;
        let columns = &self.manifest.columns;
        if !found || self.record.len() <= columns.reference.max(columns.distorted) {
            let message = format!("the manifest `{}` changed during the run", path.display());
            return Err(Refusal::inputs(message).hint("start again").into());
        }
        Ok(columns.entry(&self.record))
    }
}

impl Columns {
    fn new(header: &csv::StringRecord) -> Result<Columns, Refusal> {
        let mut seen = HashSet::new();
        if let Some(name) = header.iter().find(|name| !seen.insert(*name)) {
            return Err(Refusal::inputs(format!("the column `{name}` stands twice"))
                .hint("rename one of the two"));
        }
        let position = |name: &str| header.iter().position(|column| column == name);
        let one_of = |names: &[&str]| -> Result<usize, Refusal> {
            let found: Vec<&str> =
                names.iter().copied().filter(|name| position(name).is_some()).collect();
            match found[..] {
                [name] => Ok(position(name).unwrap_or_default()),
                [] => Err(no_column(header, names)),
                _ => Err(Refusal::inputs(format!("the columns {} mean the same", quoted(&found)))
                    .hint("keep one of them, rename the others")),
            }
        };
        let (reference, distorted) = (one_of(REFERENCE)?, one_of(DISTORTED)?);
        let (id, item, method) = (position("id"), position("item"), position("method"));
        let known = [Some(reference), Some(distorted), id, item, method];
        let carried: Vec<usize> =
            (0..header.len()).filter(|&column| !known.contains(&Some(column))).collect();
        for name in carried.iter().map(|&column| &header[column]) {
            let is_metric = RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
            if is_metric || RESERVED.contains(&name) || name.is_empty() {
                let message = format!("the column `{name}` bears the name of an output column");
                return Err(
                    Refusal::inputs(message).hint(format!("rename it, to `input_{name}` say"))
                );
            }
        }
        Ok(Columns { reference, distorted, id, item, method, carried })
    }

    fn entry(&self, record: &csv::StringRecord) -> Entry {
        let cell = |column: Option<usize>| {
            column.and_then(|column| record.get(column)).filter(|cell| !cell.is_empty())
        };
        let text = |column| record.get(column).unwrap_or_default().to_owned();
        let reference = text(self.reference);
        let item = cell(self.item).map_or_else(|| without_extension(&reference), Cow::Borrowed);
        let item = item.into_owned();
        let method = cell(self.method).unwrap_or_default().to_owned();
        let id = match cell(self.id) {
            Some(id) => id.to_owned(),
            None if method.is_empty() => item.clone(),
            None => format!("{method}/{item}"),
        };
        let carried = self.carried.iter().map(|&column| text(column)).collect();
        Entry { id, item, method, distorted: text(self.distorted), reference, carried }
    }
}

/// Sorts rows so that those of one reference are together, references by their first row.
fn scoring_order(mut references: Vec<(u64, Row)>) -> Vec<Row> {
    references.sort_unstable();
    let mut firsts: Vec<(Row, Row)> = references
        .chunk_by(|a, b| a.0 == b.0)
        .flat_map(|same| same.iter().map(|&(_, row)| (same[0].1, row)))
        .collect();
    drop(references);
    firsts.sort_unstable();
    firsts.into_iter().map(|(_, row)| row).collect()
}

fn without_extension(path: &str) -> Cow<'_, str> {
    Path::new(path).with_extension("").to_string_lossy().into_owned().into()
}

fn delimiter_of(path: &Path) -> u8 {
    let is_tsv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tsv"));
    if is_tsv { b'\t' } else { b',' }
}

fn csv_reader(file: File, delimiter: u8, has_headers: bool) -> csv::Reader<File> {
    csv::ReaderBuilder::new().delimiter(delimiter).has_headers(has_headers).from_reader(file)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn no_column(header: &csv::StringRecord, names: &[&str]) -> Refusal {
    let found: Vec<&str> = header.iter().collect();
    let message = format!("no column `{}`; found {}", names[0], quoted(&found));
    Refusal::inputs(message)
        .hint(format!("the first line must name the columns; accepted here: {}", quoted(names)))
}

fn located(path: &Path, refusal: Refusal) -> Refusal {
    refusal.prefixed(&format!("manifest `{}`: ", path.display()))
}

fn malformed(path: &Path, error: &csv::Error) -> anyhow::Error {
    let line = |position: &Option<csv::Position>| {
        position.as_ref().map(|position| format!("line {}: ", position.line())).unwrap_or_default()
    };
    let refusal = match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            Refusal::inputs(format!("{}expected {expected_len} cells, found {len}", line(pos)))
                .hint("put cells that contain the separator in double quotes")
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            Refusal::inputs(format!("{}not UTF-8", line(pos))).hint("save the manifest as UTF-8")
        }
        _ => Refusal::inputs(error.to_string()),
    };
    located(path, refusal).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    /// The folder must live as long as rows are read.
    fn open(text: &str) -> (tempfile::TempDir, anyhow::Result<Manifest>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, text).unwrap();
        let manifest = Manifest::open(&path);
        (folder, manifest)
    }

    #[test]
    fn defaults_follow_from_the_reference_and_the_method() {
        let text = "hr,sr,method,scale\na/1.png,b/1.png,x,4\na/2.png,b/2.png,,2\n";
        let (_folder, manifest) = open(text);
        let manifest = manifest.unwrap();
        let mut rows = manifest.rows().unwrap();
        let second = rows.read(1).unwrap();
        assert_eq!((second.id.as_str(), second.item.as_str()), ("a/2", "a/2"));
        let first = rows.read(0).unwrap();
        assert_eq!((first.id.as_str(), first.item.as_str()), ("x/a/1", "a/1"));
        assert_eq!(first.carried, ["4"]);
        assert_eq!(manifest.carried(), ["scale"]);
        assert!(manifest.resolve("a/1.png").ends_with("a/1.png"));
        assert!(manifest.resolve("/a/1.png").starts_with("/a"));
    }

    #[test]
    fn rows_of_one_reference_are_scored_together() {
        let (_folder, manifest) = open("ref,dist,id\na,1,1\nb,2,2\na,3,3\nc,4,4\nb,5,5\n");
        assert_eq!(manifest.unwrap().order(), [0, 2, 1, 4, 3]);
    }

    #[test]
    fn a_byte_order_mark_and_quotes_are_understood() {
        let text = "\u{feff}ref,dist\n\"a, b.png\",\"c \"\"d\"\".png\"\n";
        let (_folder, manifest) = open(text);
        let manifest = manifest.unwrap();
        let entry = manifest.rows().unwrap().read(0).unwrap();
        assert_eq!((&*entry.reference, &*entry.distorted), ("a, b.png", "c \"d\".png"));
    }

    #[test]
    fn each_fault_of_a_manifest_has_its_message() {
        let cases = [
            ("ref,other\na,b\n", "no column `dist`; found `ref`, `other`"),
            ("ref,gt,dist\na,b,c\n", "the columns `ref`, `gt` mean the same"),
            ("ref,dist,x,x\na,b,c,d\n", "the column `x` stands twice"),
            ("ref,dist,status\na,b,ok\n", "the column `status` bears the name of an output column"),
            ("ref,dist,lpips_alex\na,b,1\n", "bears the name of an output column"),
            ("ref,dist\n", "there is no row below the header"),
            ("", "no column `ref`; found"),
            ("ref,dist\na,b,c\n", "line 2: expected 2 cells, found 3"),
            ("ref,dist\na,b\n,c\n", "line 3: the `ref` cell is empty"),
            ("ref,dist,id\na,b,1\nc,d,1\n", "the id `1` stands twice, again in row 2"),
        ];
        for (text, expected) in cases {
            let message = render(&open(text).1.unwrap_err());
            assert!(message.contains(expected), "{text:?} gives {message:?}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, b"ref,dist\na,b\n\xff,c\n").unwrap();
        let message = render(&Manifest::open(&path).unwrap_err());
        assert!(message.contains("line 3: not UTF-8\nhint: save"), "{message}");
    }
}
