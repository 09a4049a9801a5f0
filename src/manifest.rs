//! The manifest: which pairs there are, in which order they are scored, and what each row says.
//!
//! A manifest may have millions of rows, so its rows are indexed rather than kept: 12 bytes a row
//! stay in memory (byte offset and scoring order), about 30 more while the index is made. Rows are
//! read again from the file when they are needed. This module reads text and refuses to know
//! whether the images exist or what becomes of them.

mod columns;
mod format;
pub mod triplets;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err::File;
use xxhash_rust::xxh3::xxh3_64;

use self::columns::Columns;
use self::format::Reader;
use crate::batch::Row;
use crate::error::Refusal;
use crate::hash::sha256_hex_of;
use crate::suggest::nearest_file;

pub use self::format::{Fault, Format};

/// Faults that are kept and told; the others are counted.
const FAULTS_KEPT: usize = 1000;
/// The shortest row: two paths of a letter, what separates them, and the end of the line.
const ROW_BYTES_MIN: usize = 4;
/// Faults that a refusal tells.
const FAULTS_TOLD: usize = 5;

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

/// Where a manifest is and how it is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// How it is written.
    pub format: Format,
    /// The folder that its paths are relative to.
    pub folder: PathBuf,
}

impl Location {
    /// A manifest that people wrote: its paths are relative to its own folder.
    #[must_use]
    pub fn of(file: &Path) -> Location {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Location { file: file.to_owned(), format: Format::of(file), folder }
    }
}

/// Faults of the rows of a manifest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// The first of them.
    pub kept: Vec<Fault>,
    /// How many there are.
    pub count: usize,
    /// Rows that cannot be read and are not in the index.
    pub left_out: usize,
}

impl Faults {
    fn push(&mut self, fault: Fault) {
        self.count += 1;
        if self.kept.len() < FAULTS_KEPT {
            self.kept.push(fault);
        }
    }

    /// All that a person needs to mend the file, in one refusal; `None` if there is no fault.
    fn refusal(&self) -> Option<Refusal> {
        let first = self.kept.first()?;
        let mut text = first.to_string();
        for fault in self.kept.iter().skip(1).take(FAULTS_TOLD - 1) {
            text.push_str(&format!("; {fault}"));
        }
        if self.count > FAULTS_TOLD {
            text.push_str(&format!("; and {} faults more", self.count - FAULTS_TOLD));
        }
        Some(Refusal::inputs(text).hint(first.hint))
    }
}

/// An indexed manifest.
#[derive(Debug)]
pub struct Manifest {
    location: Location,
    header: Vec<String>,
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
    /// repeated header, no rows, a row of another length, an empty path, or an id twice. It tells
    /// several faults at once.
    pub fn open(location: Location) -> anyhow::Result<Manifest> {
        let (manifest, faults) = Manifest::examine(location)?;
        let empty = || {
            let refusal = Refusal::inputs("there is no row below the header");
            refusal.hint(
                "write one line per pair: the path of the reference and of the distorted image",
            )
        };
        match faults.refusal().or_else(|| manifest.is_empty().then(empty)) {
            Some(refusal) => Err(manifest.located(refusal).into()),
            None => Ok(manifest),
        }
    }

    /// Like [`Self::open`], but leaves out the rows that are at fault and gives the faults back.
    /// There may be no row.
    ///
    /// # Errors
    /// A [`Refusal`] when no row can be read whatever it says.
    pub fn examine(location: Location) -> anyhow::Result<(Manifest, Faults)> {
        let shown = location.file.display().to_string();
        let context = || cannot_read(&location.file);
        let mut file = File::open(&location.file).with_context(context)?;
        let mut lines = Lines { file: &mut file, count: 0, bytes: 0 };
        let sha256 = sha256_hex_of(&mut lines).with_context(context)?;
        let rows_max = lines.count.min(lines.bytes / ROW_BYTES_MIN) + 1;
        drop(file);

        let (reader, header) = Reader::open(&location.file, location.format)
            .with_context(|| format!("manifest `{shown}`"))?;
        if header.is_empty() && location.format == Format::JsonLines {
            return Err(no_object(&location).into());
        }
        let columns = Columns::new(&header)
            .map_err(|refusal| refusal.prefixed(&format!("manifest `{shown}`: ")))?;
        let carried = columns.carried.iter().map(|&column| header[column].clone()).collect();
        let mut manifest = Manifest {
            location,
            header,
            columns,
            carried,
            offsets: Vec::new(),
            order: Vec::new(),
            sha256,
        };
        let faults = manifest.index(reader, rows_max)?;
        Ok((manifest, faults))
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.location.file
    }

    /// How it is written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.location.format
    }

    /// Reads rows from a copy of the file from now on.
    ///
    /// # Errors
    /// A [`Refusal`] when it is no copy.
    pub fn read_copy(&mut self, copy: PathBuf) -> anyhow::Result<()> {
        let sha256 = sha256_hex_of(&mut File::open(&copy)?)?;
        if sha256 != self.sha256 {
            let shown = copy.display();
            return Err(Refusal::inputs(format!("`{shown}` is another manifest than this run's"))
                .hint("name a folder with `-o` that holds no such file")
                .into());
        }
        self.location.file = copy;
        Ok(())
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

    /// The file that a path of the manifest names.
    #[must_use]
    pub fn resolve(&self, written: &str) -> PathBuf {
        self.location.folder.join(written)
    }

    /// A reader of rows by number.
    ///
    /// # Errors
    /// When the file cannot be opened again.
    pub fn rows(&self) -> anyhow::Result<Rows<'_>> {
        let Location { file, format, .. } = &self.location;
        let reader = Reader::reopen(file, *format, &self.header)?;
        Ok(Rows { manifest: self, reader, record: csv::StringRecord::new() })
    }

    fn located(&self, refusal: Refusal) -> Refusal {
        refusal.prefixed(&format!("manifest `{}`: ", self.path().display()))
    }

    fn index(&mut self, mut reader: Reader, rows_max: usize) -> anyhow::Result<Faults> {
        let mut faults = Faults::default();
        // Grown step by step, they would take twice the memory for a while.
        self.offsets.reserve_exact(rows_max);
        let mut references: Vec<(u64, Row)> = Vec::with_capacity(rows_max);
        let mut ids: Vec<(u64, Row)> = Vec::with_capacity(rows_max);
        let mut record = csv::StringRecord::new();
        while let Some(found) = reader.read(&mut record)? {
            let entry = self.columns.entry(&record);
            let fault = found.fault.or_else(|| {
                let cells = [("ref", &entry.reference), ("dist", &entry.distorted)];
                let (name, _) = cells.into_iter().find(|(_, cell)| cell.is_empty())?;
                let message = format!("the `{name}` cell is empty");
                Some(Fault::at_line(found.line, message, "give every row both paths"))
            });
            if let Some(fault) = fault {
                faults.push(fault);
                faults.left_out += 1;
                continue;
            }
            let row = Row::try_from(self.offsets.len()).map_err(|_| {
                self.located(Refusal::inputs("more than 4,294,967,295 rows"))
                    .hint("split the manifest")
            })?;
            self.offsets.push(found.byte);
            references.push((xxh3_64(entry.reference.as_bytes()), row));
            ids.push((xxh3_64(entry.id.as_bytes()), row));
        }
        self.find_duplicates(ids, &mut faults)?;
        self.order = scoring_order(references);
        Ok(faults)
    }

    /// Equal hashes are only a suspicion: the ids themselves decide.
    fn find_duplicates(&self, mut ids: Vec<(u64, Row)>, faults: &mut Faults) -> anyhow::Result<()> {
        ids.sort_unstable();
        let mut rows = self.rows()?;
        for same in ids.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let mut seen = HashSet::new();
            for &(_, row) in same {
                let id = rows.read(row)?.id;
                if seen.contains(&id) {
                    faults.push(Fault {
                        // Rows count from 1 after the header, as people count them.
                        place: format!("row {}", row + 1),
                        message: format!("the id `{id}` stands there again"),
                        hint: "give each row its own `id`, or a `method` that tells them apart",
                    });
                }
                seen.insert(id);
            }
        }
        Ok(())
    }
}

/// The hint guesses what was meant instead.
fn cannot_read(file: &Path) -> Refusal {
    let shown = file.display();
    let refusal = Refusal::inputs(format!("cannot read the manifest `{shown}`"));
    match nearest_file(file) {
        _ if file.is_dir() => refusal.hint("to pair folders by name, use `--ref DIR --dist DIR`"),
        Some(near) if !file.exists() => refusal.hint(format!("did you mean `{near}`?")),
        _ => refusal.hint("name a CSV, TSV or JSON-lines file that can be read"),
    }
}

/// Why a file of JSON lines names no columns.
fn no_object(location: &Location) -> Refusal {
    let shown = location.file.display();
    let is_empty = fs_err::metadata(&location.file).is_ok_and(|of| of.len() == 0);
    let what = if is_empty { "the file is empty" } else { "the first line has no key" };
    Refusal::inputs(format!("manifest `{shown}`: {what}"))
        .hint("write one object a line: {\"ref\": \"a.png\", \"dist\": \"b.png\"}")
}

/// A file that is read once to the end, and how many lines went by.
struct Lines<'a> {
    file: &'a mut File,
    count: usize,
    bytes: usize,
}

impl std::io::Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.count += buffer[..len].iter().filter(|&&byte| byte == b'\n').count();
        self.bytes += len;
        Ok(len)
    }
}

/// Rows of a manifest, read by number. Cheapest in the order of the file.
#[derive(Debug)]
pub struct Rows<'a> {
    manifest: &'a Manifest,
    reader: Reader,
    record: csv::StringRecord,
}

impl Rows<'_> {
    /// Row `row`, counted from 0.
    ///
    /// # Errors
    /// When the file cannot be read, or has changed since it was indexed.
    pub fn read(&mut self, row: Row) -> anyhow::Result<Entry> {
        self.reader.seek(self.manifest.offsets[row as usize])?;
        match self.reader.read(&mut self.record)? {
            Some(found) if found.fault.is_none() => Ok(self.manifest.columns.entry(&self.record)),
            _ => {
                let path = self.manifest.path().display();
                let message = format!("the manifest `{path}` changed during the run");
                Err(Refusal::inputs(message).hint("start again").into())
            }
        }
    }
}

/// Sorts rows so that those of one reference are together, references by their first row.
fn scoring_order(mut references: Vec<(u64, Row)>) -> Vec<Row> {
    references.sort_unstable();
    let mut firsts: Vec<(Row, Row)> = Vec::with_capacity(references.len());
    for same in references.chunk_by(|a, b| a.0 == b.0) {
        firsts.extend(same.iter().map(|&(_, row)| (same[0].1, row)));
    }
    drop(references);
    firsts.sort_unstable();
    firsts.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    /// The folder must live as long as rows are read.
    fn open_as(name: &str, text: &[u8]) -> (tempfile::TempDir, anyhow::Result<Manifest>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        let manifest = Manifest::open(Location::of(&path));
        (folder, manifest)
    }

    fn open(text: &str) -> (tempfile::TempDir, anyhow::Result<Manifest>) {
        open_as("m.csv", text.as_bytes())
    }

    #[test]
    fn tabs_and_json_lines_say_the_same_as_commas() {
        let csv = "ref,dist,scale,method\na,\"b, c\",4,x\nd,e,2.50,\n";
        let tsv = "ref\tdist\tscale\tmethod\na\tb, c\t4\tx\nd\te\t2.50\t\n";
        let json = "{\"ref\": \"a\", \"dist\": \"b, c\", \"scale\": 4, \"method\": \"x\"}\n\n\
                    {\"dist\":\"e\",\"ref\":\"d\",\"scale\":2.50,\"method\":null}";
        let entries = |name: &str, text: &str| {
            let (_folder, manifest) = open_as(name, text.as_bytes());
            let manifest = manifest.unwrap();
            let mut rows = manifest.rows().unwrap();
            // Backwards: by number, not by place.
            let second = rows.read(1).unwrap();
            (rows.read(0).unwrap(), second, manifest.carried().to_vec())
        };
        let expected = entries("m.csv", csv);
        assert_eq!(expected.1.carried, ["2.50"]);
        assert_eq!(entries("m.tsv", tsv), expected);
        assert_eq!(entries("m.jsonl", json), expected);
    }

    #[test]
    fn each_fault_of_json_lines_has_its_message() {
        let cases = [
            ("", "the file is empty"),
            ("[1]\n", "line 1: not a JSON object"),
            ("{}\n", "the first line has no key"),
            ("{\"ref\":\"a\",\"dist\":\"b\"}\n{\"ref\":\"a\"", "line 2: not a JSON object"),
            ("{\"ref\":\"a\",\"dist\":[\"b\"]}", "line 1: a value is an object or a list"),
            ("{\"ref\":\"a\",\"dst\":\"b\"}", "hint: rename `dst` to `dist`"),
            ("{\"ref\":\"a\",\"ref\":\"a\",\"dist\":\"b\"}", "`ref` stands twice"),
            (
                "{\"ref\":\"a\",\"dist\":\"b\"}\n\n{\"ref\":\"c\",\"dist\":\"b\",\"x\":1}",
                "line 3: the key `x` is not in the first line",
            ),
            ("{\"ref\":\"a\",\"dist\":null}", "line 1: the `dist` cell is empty"),
        ];
        for (text, expected) in cases {
            // `open` refuses what the first line lacks, whatever it is.
            let message = open_as("m.jsonl", text.as_bytes()).1.map_err(|error| render(&error));
            let message = message.unwrap_err();
            assert!(message.contains(expected), "{text:?} gives {message:?}");
        }
    }

    #[test]
    fn several_faults_are_told_at_once() {
        let (_folder, manifest) = open("ref,dist\na,b\n,c\nd\n,e\n,f\n,g\n,h\n");
        let message = render(&manifest.unwrap_err());
        let told = "line 3: the `ref` cell is empty; line 4: expected 2 cells, found 1; line 5:";
        assert!(message.contains(told), "{message}");
        assert!(message.contains("; and 1 faults more\nhint: give every row both"), "{message}");
    }

    #[test]
    fn rows_without_fault_are_kept_for_an_examination() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, "ref,dist\na,b\n,c\nd,e\n").unwrap();
        let (manifest, faults) = Manifest::examine(Location::of(&path)).unwrap();
        assert_eq!((manifest.len(), faults.count, faults.left_out), (2, 1, 1));
        assert_eq!(manifest.rows().unwrap().read(1).unwrap().reference, "d");
    }

    #[test]
    fn the_format_of_a_stream_follows_from_its_first_line() {
        assert_eq!(Format::sniff(b"  {\"ref\": 1}\n"), Format::JsonLines);
        assert_eq!(Format::sniff(b"ref\tdist\na,b\tc\n"), Format::Tsv);
        assert_eq!(Format::sniff(b"ref,dist\n"), Format::Csv);
        assert_eq!(Format::sniff(b""), Format::Csv);
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
            ("", "there is no header, and so no column `ref`"),
            ("reff,dist\na,b\n", "hint: rename `reff` to `ref`"),
            ("Ref, dist\na,b\n", "hint: rename `Ref` to `ref`"),
            (
                "ref;dist\na;b\n",
                "hint: separate cells with commas, or tabs in a .tsv file, not `;`",
            ),
            ("ref\tdist\na\tb\n", "in a .tsv file, not `\t`"),
            ("a.png,b.png\nc.png,d.png\n", "put `ref,dist` above the first pair"),
            ("ref,dist\na,b,c\n", "line 2: expected 2 cells, found 3"),
            ("ref,dist\na,b\n,c\n", "line 3: the `ref` cell is empty"),
            ("ref,dist,id\na,b,1\nc,d,1\n", "row 2: the id `1` stands there again"),
        ];
        for (text, expected) in cases {
            let message = render(&open(text).1.unwrap_err());
            assert!(message.contains(expected), "{text:?} gives {message:?}");
        }
    }

    #[test]
    fn a_manifest_that_is_no_file_has_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("pairs.csv"), "ref,dist\na,b\n").unwrap();
        fs_err::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
        let message = |name: &str| {
            let opened = Manifest::open(Location::of(&folder.path().join(name)));
            render(&opened.unwrap_err())
        };
        assert!(message("pars.csv").contains("hint: did you mean `pairs.csv`?"));
        assert!(message("").contains("--ref DIR --dist DIR"), "{}", message(""));
        assert!(message("a.png").contains("two images are compared with `--pair REF DIST`"));
    }

    #[test]
    fn text_that_is_not_utf_8_is_refused_with_its_line() {
        for (name, text) in [
            ("m.csv", &b"ref,dist\na,b\n\xff,c\n"[..]),
            ("m.jsonl", b"{\"ref\":\"a\",\"dist\":\"b\"}\n\n{\"ref\":\"\xff\"}\n"),
        ] {
            let message = render(&open_as(name, text).1.unwrap_err());
            assert!(message.contains("line 3: not UTF-8\nhint: save"), "{message}");
        }
    }
}
