//! The manifest: which pairs there are, in which order they are scored, and what each row says.
//!
//! A manifest may have millions of rows, so its rows are indexed rather than kept: 20 bytes a row
//! stay in memory (byte offset, identity and scoring order), about 30 more while the index is made.
//! Rows are read again from the file when they are needed, and compared with their identity. This
//! module reads text and refuses to know whether the images exist or what becomes of them.

mod columns;
mod dialect;
mod entry;
mod fault;
mod format;
mod json;
mod lines;
mod location;
mod opening;
mod separated;
pub mod triplets;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err::File;
use xxhash_rust::xxh3::xxh3_64;

use self::columns::Columns;
use self::fault::FAULTS_KEPT;
use self::format::Reader;
use self::lines::{Appended, Lines};
use self::opening::{Counted, cannot_read, expect_file, no_object, scoring_order};
use self::triplets::Judged;
use crate::batch::Row;
use crate::error::Refusal;
use crate::hash::sha256_hex_of;
use crate::regular;
use crate::suggest::nearest_file;

pub use self::columns::has_meaning;
pub use self::entry::Entry;
pub use self::fault::{Fault, Faults};
pub use self::format::Format;
pub use self::location::Location;

/// The largest file that is read. Some sources never end.
pub const BYTES_MAX: u64 = 16 << 30;
/// The shortest row: two paths of a letter, what separates them, and the end of the line.
const ROW_BYTES_MIN: usize = 4;

/// An indexed manifest.
#[derive(Debug)]
pub struct Manifest {
    location: Location,
    header: Vec<String>,
    columns: Columns,
    dialect: Vec<String>,
    carried: Vec<String>,
    offsets: Vec<u64>,
    identities: Vec<u64>,
    order: Vec<Row>,
    sha256: String,
    judge: Option<usize>,
}

impl Manifest {
    /// Reads the header and every row, checks them, and indexes them.
    ///
    /// # Errors
    /// A [`Refusal`] when the file cannot be read, has no `ref` or `dist` column, a reserved or
    /// repeated header, no rows, a row of another length or with odd quotes, an empty path, an id
    /// twice, or half-formed triplets. It lists several faults at once.
    pub fn open(location: Location) -> anyhow::Result<Manifest> {
        let (manifest, faults) = Manifest::examine(location)?;
        let empty = || {
            let refusal = Refusal::inputs("there is no row below the header");
            refusal.hint(
                "write one line per pair: the path of the reference and of the distorted image",
            )
        };
        match faults.refusal().or_else(|| manifest.is_empty().then(empty)) {
            Some(refusal) => Err(manifest.location.located(refusal).into()),
            None => Ok(manifest),
        }
    }

    /// Like [`Self::open`], but leaves out the rows that are at fault and returns the faults.
    /// There may be no row.
    ///
    /// # Errors
    /// A [`Refusal`] when no row can be read whatever it says.
    pub fn examine(location: Location) -> anyhow::Result<(Manifest, Faults)> {
        expect_file(&location)?;
        let context = || cannot_read(&location.file);
        let mut file = regular::open(&location.file).with_context(context)?;
        let mut counted = Counted { file: &mut file, ends: [0; 2], bytes: 0 };
        let sha256 = sha256_hex_of(&mut counted).with_context(context)?;
        let Counted { ends: [feeds, returns], bytes, .. } = counted;
        let rows_max = feeds.max(returns).min(bytes / ROW_BYTES_MIN) + 1;
        drop(file);

        let opened = Reader::open(&location.file, location.format);
        let (mut reader, header) =
            opened.with_context(|| format!("manifest `{}`", location.name))?;
        if header.is_empty() && location.format == Format::JsonLines {
            return Err(no_object(&location).into());
        }
        let columns = Columns::new(&header).map_err(|refusal| location.located(refusal))?;
        reader.expect_paths(&[columns.reference, columns.distorted]);
        let carried: Vec<String> =
            columns.carried.iter().map(|&column| header[column].clone()).collect();
        let of_file = reader.dialect(location.format);
        let dialect = location.dialect.iter().cloned().chain(of_file).collect();
        let mut manifest = Manifest {
            location,
            header,
            columns,
            dialect,
            carried,
            offsets: Vec::new(),
            identities: Vec::new(),
            order: Vec::new(),
            sha256,
            judge: None,
        };
        let faults = manifest.index(reader, rows_max, bytes as u64)?;
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

    /// Whether `path` leads to the manifest's own file.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let file = |path: &Path| fs_err::metadata(path).ok().map(|of| (of.dev(), of.ino()));
        file(path).is_some() && file(path) == file(&self.location.file)
    }

    /// How the rows are written, where that differs from what the format's name says: sentences
    /// without their ends.
    #[must_use]
    pub fn dialect(&self) -> &[String] {
        &self.dialect
    }

    /// Refuses to take the manifest itself for the copy that the run keeps under the name `copy`,
    /// whichever path leads to it: what people change in it would change the run.
    ///
    /// # Errors
    /// A [`Refusal`] when both are one file.
    pub fn expect_other_than(&self, copy: &Path) -> Result<(), Refusal> {
        if !self.is_at(copy) {
            return Ok(());
        }
        let (name, shown) = (&self.location.name, copy.display());
        let message = format!("`{name}` is the file `{shown}`, where the run keeps its own copy");
        Err(Refusal::inputs(message)
            .hint("name another folder with `-o`, or give the manifest another name"))
    }

    /// Reads rows from a copy of the file from now on.
    ///
    /// # Errors
    /// A [`Refusal`] when it is no copy.
    pub fn read_copy(&mut self, copy: PathBuf) -> anyhow::Result<()> {
        self.expect_other_than(&copy)?;
        let sha256 = sha256_hex_of(&mut regular::open(&copy)?)?;
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

    /// The carried column of judgements if the rows are triplets, `p0` and `p1` in turns.
    #[must_use]
    pub fn judge(&self) -> Option<usize> {
        self.judge
    }

    /// [`Entry::identity`] of row `row`, counted from 0.
    #[must_use]
    pub fn identity(&self, row: Row) -> u64 {
        self.identities[row as usize]
    }

    /// The order in which rows are scored: rows of one reference follow each other, references
    /// come in the order of their first row.
    #[must_use]
    pub fn order(&self) -> &[Row] {
        &self.order
    }

    /// The folder that its paths are relative to; empty for the working folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.location.folder
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
        let (reader, header) = Reader::open(&self.location.file, self.location.format)?;
        if header != self.header {
            return Err(self.changed("during the run"));
        }
        Ok(Rows { manifest: self, reader, record: csv::StringRecord::new() })
    }

    fn index(&mut self, mut reader: Reader, rows_max: usize, bytes: u64) -> anyhow::Result<Faults> {
        let mut faults = Faults::default();
        // Grown step by step, they would take twice the memory for a while.
        self.offsets.reserve_exact(rows_max);
        self.identities.reserve_exact(rows_max);
        let mut references: Vec<(u64, Row)> = Vec::with_capacity(rows_max);
        let mut ids: Vec<(u64, Row)> = Vec::with_capacity(rows_max);
        let mut judged = Judged::new(&self.carried);
        let mut record = csv::StringRecord::new();
        while let Some(found) = reader.read(&mut record)? {
            let entry = self.columns.entry(&record);
            let fault = found.fault.or_else(|| self.fault_of(&record, &entry, found.line));
            if let Some(fault) = fault {
                faults.push(fault);
                faults.left_out += 1;
                continue;
            }
            let row = Row::try_from(self.offsets.len()).map_err(|_| {
                let refusal = Refusal::inputs("more than 4,294,967,295 rows");
                self.location.located(refusal).hint("split the manifest")
            })?;
            self.offsets.push(found.byte);
            self.identities.push(entry.identity());
            references.push((xxh3_64(entry.reference.as_bytes()), row));
            ids.push((xxh3_64(entry.id.as_bytes()), row));
            judged.add(found.line, entry);
        }
        if reader.byte() != bytes {
            return Err(self.changed("while it was read"));
        }
        // Rows that were left out may be the other halves of triplets.
        if faults.left_out == 0 {
            match judged.finish() {
                Ok(judge) => self.judge = judge,
                Err(fault) => faults.push(fault),
            }
        }
        self.find_duplicates(ids, &mut faults)?;
        self.order = scoring_order(references);
        Ok(faults)
    }

    /// What is wrong with the cells of a row that has the right number of them.
    fn fault_of(&self, record: &csv::StringRecord, entry: &Entry, line: u64) -> Option<Fault> {
        let fault = |message: &str, hint| Some(Fault::at_line(line, message, hint));
        if record.iter().all(str::is_empty) {
            return fault("all cells are empty", "remove the row");
        }
        if record.iter().eq(self.header.iter()) && self.format() != Format::JsonLines {
            return fault("the header appears again", "keep the header in the first line only");
        }
        let cells = [("ref", &entry.reference), ("dist", &entry.distorted)];
        let (name, _) = cells.into_iter().find(|(_, cell)| cell.is_empty())?;
        fault(&format!("the `{name}` cell is empty"), "give every row both paths")
    }

    /// Equal hashes are only a suspicion: the ids themselves decide.
    fn find_duplicates(&self, mut ids: Vec<(u64, Row)>, faults: &mut Faults) -> anyhow::Result<()> {
        ids.sort_unstable();
        // Each row that repeats an id, and the first row that has it.
        let mut repeated: BTreeMap<Row, (Row, String)> = BTreeMap::new();
        let mut rows = self.rows()?;
        for same in ids.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let mut firsts: HashMap<String, Row> = HashMap::new();
            for &(_, row) in same {
                let id = rows.read(row)?.id;
                let first = *firsts.entry(id.clone()).or_insert(row);
                if first != row {
                    repeated.insert(row, (first, id));
                }
                if repeated.len() > FAULTS_KEPT {
                    repeated.pop_last();
                    faults.count += 1;
                }
            }
        }
        let lines = self.lines_of(repeated.iter().flat_map(|(&row, &(first, _))| [row, first]))?;
        for (row, (first, id)) in repeated {
            let message =
                format!("the id `{id}` appears again; its first row is line {}", lines[&first]);
            let hint = "give each row its own `id`, or a `method` that distinguishes them";
            faults.push(Fault::at_line(lines[&row], message, hint));
        }
        Ok(())
    }

    /// The lines, counted from 1, in which these rows start.
    fn lines_of(&self, rows: impl Iterator<Item = Row>) -> anyhow::Result<BTreeMap<Row, u64>> {
        let mut found: BTreeMap<Row, u64> = rows.map(|row| (row, 0)).collect();
        if found.is_empty() {
            return Ok(found);
        }
        let mut lines = Lines::open(&self.location.file)?;
        let mut text = Vec::new();
        for (&row, line) in &mut found {
            while lines.byte() <= self.offsets[row as usize] {
                text.clear();
                if lines.append(&mut text)? == Appended::Nothing {
                    break;
                }
            }
            *line = lines.line();
        }
        Ok(found)
    }

    fn changed(&self, when: &str) -> anyhow::Error {
        let message = format!("the manifest `{}` changed {when}", self.path().display());
        Refusal::inputs(message).hint("run the command again once nothing writes to it").into()
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
    /// When the file cannot be read, or the row is not the one that was indexed.
    pub fn read(&mut self, row: Row) -> anyhow::Result<Entry> {
        let manifest = self.manifest;
        self.reader.seek(manifest.offsets[row as usize])?;
        let found = self.reader.read(&mut self.record)?;
        let entry = manifest.columns.entry(&self.record);
        match found {
            Some(found) if found.fault.is_none() && entry.identity() == manifest.identity(row) => {
                Ok(entry)
            }
            _ => Err(manifest.changed("during the run")),
        }
    }
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
            ("[1]\n", "line 1: not a JSON object but an array\nhint: write one object a line; `jq"),
            ("{\"ref\":1,\"dist\":\"b\"}", "line 1: the value of `ref` is not a string: 1"),
            ("{\"ref\":\"a\",\"dist\":true}", "line 1: the value of `dist` is not a string: true"),
            ("{\"ref\":\"a\\u0000\",\"dist\":\"b\"}", "line 1: a cell holds a NUL character"),
            (
                "{\"ref\":\"a\",\"dist\":\"b\"} {}",
                "line 1: not a JSON object: trailing characters, at byte 24",
            ),
            ("{\"ref\":\"a\",\"dist\":\"b\",\"x\":NaN}", "line 1: not a JSON object"),
            ("{\"ref\":\"a\",\"dist\":\"\\ud800\"}", "line 1: not a JSON string"),
            ("{}\n", "the first line has no key"),
            ("{\"ref\":\"a\",\"dist\":\"b\"}\n{\"ref\":\"a\"", "line 2: not a JSON object"),
            ("{\"ref\":\"a\",\"dist\":[\"b\"]}", "line 1: the value of `dist` is not a string"),
            ("{\"ref\":\"a\",\"dist\":\"b\",\"x\":[1]}", "line 1: a value is an object or a list"),
            ("{\"ref\":\"a\",\"dst\":\"b\"}", "hint: rename `dst` to `dist`"),
            ("{\"ref\":\"a\",\"ref\":\"a\",\"dist\":\"b\"}", "`ref` appears twice"),
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
    fn several_faults_are_reported_at_once() {
        let (_folder, manifest) = open("ref,dist\na,b\n,c\nd\n,e\n,f\n,g\n,h\n");
        let message = render(&manifest.unwrap_err());
        let expected =
            "line 3: the `ref` cell is empty; line 4: expected 2 cells, found 1; line 5:";
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("; and 1 more faults\nhint: give every row both"), "{message}");
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
            ("ref,dist,x,x\na,b,c,d\n", "the column `x` appears twice"),
            ("ref,dist,status\na,b,ok\n", "the column `status` has the name of an output column"),
            ("ref,dist,lpips_alex\na,b,1\n", "has the name of an output column"),
            ("ref,dist\n", "there is no row below the header"),
            ("", "there is no header, and so no column `ref`"),
            ("reff,dist\na,b\n", "hint: rename `reff` to `ref`"),
            ("Ref, dist\na,b\n", "hint: rename `Ref` to `ref`"),
            (
                "ref dist\na b\n",
                "hint: separate cells with commas, or tabs in a .tsv file, not ` `",
            ),
            ("ref;dist|x\na;b|c\n", "no column `ref`; found `ref;dist|x`"),
            ("a.png,b.png\nc.png,d.png\n", "put `ref,dist` above the first pair"),
            ("ref,dist\na,b,c\n", "line 2: expected 2 cells, found 3"),
            ("ref,dist\na,b\n,\n", "line 3: all cells are empty\nhint: remove the row"),
            ("ref,dist\na,b\nref,dist\n", "line 3: the header appears again"),
            ("ref,,dist\na,,b\n", "column 2 of 3 has no name\nhint: name it in the header"),
            (",,ref,dist\n0,0,a,b\n", "column 1 of 3 has no name"),
            (
                ",ref,dist\nx,a,b\n",
                "line 2: cell 1 holds `x`, and its column has no name\nhint: name",
            ),
            ("ref,dist,\na,b,c\n", "line 2: cell 3 holds `c`, and its column has no name"),
            ("ref,dist\na,b,\n", "expected 2 cells, found 3\nhint: remove the separators that end"),
            ("ref,dist\na,b\n,c\n", "line 3: the `ref` cell is empty"),
            (
                "ref,dist,id\na,b,1\nc,d,1\n",
                "line 3: the id `1` appears again; its first row is line 2",
            ),
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
            assert!(message.contains("line 3, column "), "{message}");
            assert!(message.contains(": not UTF-8\nhint: save"), "{message}");
        }
    }

    #[test]
    fn a_quote_that_no_grammar_allows_is_refused_with_its_place() {
        let note = |cells: [&str; 3]| {
            let rows = cells.iter().zip(1..).map(|(cell, row)| format!("r{row},d{row},{cell}\n"));
            format!("ref,dist,note\n{}", rows.collect::<String>())
        };
        let header = "ref,dist,\"note\nr1,d1,x\"\nr2,d2,x\n".to_owned();
        let first = "id,ref,dist\n\"1,r1,d1\n2\",r2,d2\n3,r3,d3\n".to_owned();
        for (text, expected) in [
            (
                note(["\"oops", "x", "x"]),
                "line 2, column 7: the quote that opens here is never closed",
            ),
            (
                note(["\"5 in", "x", "\"5 in"]),
                "line 2, column 7: the quoted cell that begins here spans",
            ),
            (
                note(["\"5 in", "x", "5 in\""]),
                "line 2, column 7: the quoted cell that begins here spans",
            ),
            (
                note(["\"5 in", "x", "\""]),
                "line 2, column 7: the quoted cell that begins here spans",
            ),
            (
                note(["x", "5\" disk", "x"]),
                "line 3, column 8: a quote inside a cell without quotes",
            ),
            (note(["\"a\"b", "x", "x"]), "line 2, column 10: text after a closing quote"),
            (note(["\"a\" ", "x", "x"]), "line 2, column 10: text after a closing quote"),
            (
                note([" \"a, b\"", "x", "x"]),
                "line 2, column 8: a quote inside a cell without quotes",
            ),
            (header, "line 1, column 10: the quoted cell that begins here spans"),
            (first, "line 2, column 1: the quoted cell that begins here spans"),
        ] {
            let message = render(&open(&text).1.unwrap_err());
            assert!(message.contains(expected), "{text:?} gives {message}");
            let text = text.replace(", b", " b").replace(',', "\t");
            let message = render(&open_as("m.tsv", text.as_bytes()).1.unwrap_err());
            assert!(message.contains(expected), "{text:?} gives {message}");
        }
    }

    #[test]
    fn rows_after_a_stray_quote_are_examined_on_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, "ref,dist,note\na,b,\"x\nc,d,y\ne,f,z\"\ng,h,\n").unwrap();
        let (manifest, faults) = Manifest::examine(Location::of(&path)).unwrap();
        let places: Vec<&str> = faults.kept.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places, ["line 2, column 5", "line 4, column 6"]);
        assert_eq!(manifest.len(), 2);
    }

    #[test]
    fn cells_that_span_lines_are_read_if_no_row_fits_into_them() {
        let text = "ref,dist,note,scale\r\na,b,\"first, and\r\nlast \"\"line\"\"\",4\r\nc,d,,2\r\n";
        let (_folder, manifest) = open(text);
        let manifest = manifest.unwrap();
        let mut rows = manifest.rows().unwrap();
        assert_eq!(rows.read(1).unwrap().reference, "c");
        assert_eq!(rows.read(0).unwrap().carried, ["first, and\r\nlast \"line\"", "4"]);
    }

    #[test]
    fn lines_end_as_on_any_system() {
        for text in
            ["ref,dist\ra,b\rc,d\r", "ref,dist\r\na,b\r\n\r\nc,d", "ref,dist\n\na,b\r\nc,d\r"]
        {
            let (_folder, manifest) = open(text);
            let manifest = manifest.unwrap();
            assert_eq!(
                (manifest.len(), manifest.rows().unwrap().read(1).unwrap().id),
                (2, "c".into())
            );
        }
    }

    /// As spreadsheets and data frames export them.
    #[test]
    fn exported_tables_are_read_where_they_have_one_meaning() {
        let plain = "ref,dist,scale\na,\"b, c\",4\nd,e,2\n";
        let entries = |name: &str, text: &str| {
            let (_folder, manifest) = open_as(name, text.as_bytes());
            let manifest = manifest.unwrap();
            let mut rows = manifest.rows().unwrap();
            let entries = [1, 0].map(|row| rows.read(row).unwrap());
            (entries, manifest.carried().to_vec(), manifest.dialect().join("; "))
        };
        let expected = entries("m.csv", plain);
        assert_eq!(expected.2, "");
        for (name, text, dialect) in [
            ("m.csv", "ref;dist;scale\na;b, c;4\nd;e;2\n", "semicolons separate the cells"),
            ("m.csv", "ref\tdist\tscale\na\tb, c\t4\nd\te\t2\n", "tabs separate the cells"),
            ("m.tsv", plain, "commas separate the cells"),
            ("m.csv", "ref|dist|scale\na|b, c|4\nd|e|2\n", "vertical bars separate the cells"),
            (
                "m.csv",
                "ref, dist, scale\na, \"b, c\", 4\nd,e, 2\n",
                "blanks after separators belong to no cell",
            ),
            (
                "m.csv",
                ",ref,dist,scale\n0,a,\"b, c\",4\n1,d,e,2\n",
                "the first column has no name, holds row numbers and is ignored",
            ),
            (
                "m.csv",
                "ref,dist,scale,,\na,\"b, c\",4,,\nd,e,2,,\n",
                "the last columns have no name, are empty and are ignored",
            ),
            (
                "m.csv",
                ";ref;dist;scale;\n0;a;b, c;4;\n1;d;e;2;\n",
                "semicolons separate the cells; the first column has no name, holds row numbers \
                 and is ignored; the last columns have no name, are empty and are ignored",
            ),
        ] {
            let found = entries(name, text);
            assert_eq!(
                (&found.0, &found.1, &*found.2),
                (&expected.0, &expected.1, dialect),
                "{text}"
            );
        }
    }

    #[test]
    fn files_that_are_no_utf_8_text_are_called_by_their_names() {
        let message = render(&open_as("m.csv", b"PK\x03\x04...").1.unwrap_err());
        assert!(
            message.contains("a zip archive, as spreadsheets are\nhint: export the table"),
            "{message}"
        );
        let message = render(&open_as("m.csv", b"ref,dist\na\0,b\n").1.unwrap_err());
        assert!(message.contains("line 2: a cell holds a NUL character"), "{message}");
    }

    #[test]
    fn a_line_that_never_ends_takes_little_memory_and_the_next_rows_are_read() {
        let long = "x".repeat(3 << 20);
        let folder = tempfile::tempdir().unwrap();
        for (name, row) in
            [("m.csv", format!("{long},b")), ("m.jsonl", format!("{{\"ref\":\"{long}\"}}"))]
        {
            let (header, good) = match name {
                "m.csv" => ("ref,dist", "c,d"),
                _ => ("{\"ref\":\"a\",\"dist\":\"b\"}", "{\"ref\":\"c\",\"dist\":\"d\"}"),
            };
            let path = folder.path().join(name);
            fs_err::write(&path, format!("{header}\n{row}\n{good}\n")).unwrap();
            let (manifest, faults) = Manifest::examine(Location::of(&path)).unwrap();
            assert_eq!((faults.count, faults.kept[0].place.as_str()), (1, "line 2"));
            let last = manifest.len() as Row - 1;
            assert_eq!(manifest.rows().unwrap().read(last).unwrap().reference, "c");
        }
    }

    #[test]
    fn a_row_that_is_not_the_indexed_one_is_never_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, "ref,dist,id,set\na,b,1,x\nc,d,2,y\n").unwrap();
        let manifest = Manifest::open(Location::of(&path)).unwrap();
        assert_eq!(manifest.identity(0), manifest.rows().unwrap().read(0).unwrap().identity());
        for changed in ["c,d,2,y\na,b,1,x", "a,b,2,x\nc,d,1,y", "a,b,1,y\nc,d,2,x"] {
            fs_err::write(&path, format!("ref,dist,id,set\n{changed}\n")).unwrap();
            let mut rows = manifest.rows().unwrap();
            let message = rows.read(0).unwrap_err().to_string();
            assert!(message.contains("m.csv` changed during the run"), "{message}");
        }
    }

    #[test]
    fn a_manifest_is_never_the_copy_that_a_run_keeps_of_it() {
        let (folder, manifest) = open("ref,dist\na,b\n");
        let mut manifest = manifest.unwrap();
        let link = folder.path().join("manifest.csv");
        std::os::unix::fs::symlink("m.csv", &link).unwrap();
        for copy in [manifest.path().to_owned(), link] {
            let message = render(&manifest.read_copy(copy).unwrap_err());
            assert!(
                message.contains("where the run keeps its own copy\nhint: name another"),
                "{message}"
            );
        }
        let copy = folder.path().join("copy.csv");
        fs_err::copy(manifest.path(), &copy).unwrap();
        manifest.read_copy(copy).unwrap();
    }

    #[test]
    fn many_keys_take_time_in_proportion() {
        // Some hundred million comparisons, were each key searched among all.
        let keys: String = (0..40_000).map(|key| format!(",\"k{key}\":{key}")).collect();
        let line = format!("{{\"ref\":\"a\",\"dist\":\"b\"{keys}}}\n");
        let (_folder, manifest) = open_as("m.jsonl", line.as_bytes());
        let manifest = manifest.unwrap();
        assert_eq!(manifest.rows().unwrap().read(0).unwrap().carried[39_999], "39999");
    }
}
