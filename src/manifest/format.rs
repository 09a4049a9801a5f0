//! The formats of a manifest: CSV, TSV and JSON lines, all read as records of cells.
//!
//! This module knows bytes, lines and cells, and refuses to know what a column means. Whatever is
//! wrong with one record is a [`Fault`] of that record; only a file that cannot be read
//! is an error.

use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use csv::{ByteRecord, StringRecord};
use fs_err::File;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::Refusal;

/// How the rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Cells between commas, quoted as RFC 4180 says; a header.
    Csv,
    /// Cells between tabs; a header.
    Tsv,
    /// One JSON object a line; the keys of the first are the columns.
    JsonLines,
}

impl Format {
    /// The format that a file's name stands for; CSV if it stands for none.
    #[must_use]
    pub fn of(path: &Path) -> Format {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "tsv" | "tab" => Format::Tsv,
            "jsonl" | "ndjson" | "json" => Format::JsonLines,
            _ => Format::Csv,
        }
    }

    /// The format that the first line of a nameless manifest is written in.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Format {
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match line.trim_ascii_start().first() {
            Some(b'{') => Format::JsonLines,
            _ if line.contains(&b'\t') && !line.contains(&b',') => Format::Tsv,
            _ => Format::Csv,
        }
    }

    /// The usual extension.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::JsonLines => "jsonl",
        }
    }
}

/// What is wrong with one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, in words: `line 7` or `rows 3 and 9`.
    pub place: String,
    /// What was expected and found.
    pub message: String,
    /// The remedy.
    pub hint: &'static str,
}

impl Fault {
    pub(super) fn at_line(line: u64, message: impl Into<String>, hint: &'static str) -> Fault {
        Fault { place: format!("line {line}"), message: message.into(), hint }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Where a record starts, and whether it can be used.
#[derive(Debug)]
pub(super) struct Found {
    /// Offset in the file.
    pub(super) byte: u64,
    /// Counted from 1.
    pub(super) line: u64,
    /// Why the cells cannot be used.
    pub(super) fault: Option<Fault>,
}

const NO_TEXT: &str = "save the manifest as UTF-8; two images are compared with `--pair REF DIST`, \
                       folders with `--ref DIR --dist DIR`";
const NOT_UTF8: &str = "save the manifest as UTF-8; rename files whose names are not UTF-8";

/// Reads records one after another, or from a given offset.
#[derive(Debug)]
pub(super) enum Reader {
    Separated { reader: csv::Reader<File>, record: ByteRecord, columns: usize },
    JsonLines(JsonLines),
}

#[derive(Debug)]
pub(super) struct JsonLines {
    file: BufReader<File>,
    header: Vec<String>,
    byte: u64,
    line: u64,
    text: Vec<u8>,
}

impl Reader {
    /// A reader before the first record, and the header. The header is empty for an empty file.
    pub(super) fn open(path: &Path, format: Format) -> anyhow::Result<(Reader, Vec<String>)> {
        match format {
            Format::Csv | Format::Tsv => {
                let mut reader = separated(path, format)?;
                let mut record = ByteRecord::new();
                reader.read_byte_record(&mut record)?;
                let mut header: Vec<String> = Vec::new();
                for cell in &record {
                    header.push(
                        String::from_utf8(cell.to_vec()).map_err(|_| {
                            Refusal::inputs("the header is not UTF-8").hint(NO_TEXT)
                        })?,
                    );
                }
                let columns = header.len();
                Ok((Reader::Separated { reader, record, columns }, header))
            }
            Format::JsonLines => {
                let mut lines = JsonLines::open(path, Vec::new())?;
                let header = match lines.next_line()? {
                    None => Vec::new(),
                    // Values are looked at when the line is read as a row.
                    Some(_) => match values_of(&lines.text) {
                        Ok(values) => values.into_iter().map(|(key, _)| key).collect(),
                        Err((message, hint)) => {
                            let fault = Fault::at_line(lines.line, message, hint);
                            return Err(Refusal::inputs(fault.to_string()).hint(hint).into());
                        }
                    },
                };
                lines = JsonLines::open(path, header.clone())?;
                Ok((Reader::JsonLines(lines), header))
            }
        }
    }

    /// A reader of a file whose header is known, for reading at offsets.
    pub(super) fn reopen(path: &Path, format: Format, header: &[String]) -> anyhow::Result<Reader> {
        Ok(match format {
            Format::Csv | Format::Tsv => Reader::Separated {
                reader: separated(path, format)?,
                record: ByteRecord::new(),
                columns: header.len(),
            },
            Format::JsonLines => Reader::JsonLines(JsonLines::open(path, header.to_vec())?),
        })
    }

    /// Continues at a record that starts at `byte`.
    pub(super) fn seek(&mut self, byte: u64) -> anyhow::Result<()> {
        match self {
            Reader::Separated { reader, .. } => {
                let mut position = csv::Position::new();
                position.set_byte(byte);
                Ok(reader.seek(position)?)
            }
            Reader::JsonLines(lines) => {
                if lines.byte != byte {
                    lines.file.seek(SeekFrom::Start(byte))?;
                    lines.byte = byte;
                }
                Ok(())
            }
        }
    }

    /// Reads the next record into `cells`; `None` at the end of the file.
    pub(super) fn read(&mut self, cells: &mut StringRecord) -> anyhow::Result<Option<Found>> {
        cells.clear();
        match self {
            Reader::JsonLines(lines) => lines.read(cells),
            Reader::Separated { reader, record, columns } => {
                if !reader.read_byte_record(record)? {
                    return Ok(None);
                }
                let (byte, line) = record.position().map_or((0, 0), |at| (at.byte(), at.line()));
                let fault = if record.len() != *columns {
                    let message = format!("expected {columns} cells, found {}", record.len());
                    let hint = "put cells that contain the separator in double quotes";
                    Some(Fault::at_line(line, message, hint))
                } else if let Ok(text) = StringRecord::from_byte_record(record.clone()) {
                    *cells = text;
                    None
                } else {
                    Some(Fault::at_line(line, "not UTF-8", NOT_UTF8))
                };
                Ok(Some(Found { byte, line, fault }))
            }
        }
    }
}

fn separated(path: &Path, format: Format) -> anyhow::Result<csv::Reader<File>> {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    let mut builder = csv::ReaderBuilder::new();
    // The header is a record like any other here, and lengths are checked by `read`.
    builder.delimiter(delimiter).has_headers(false).flexible(true);
    Ok(builder.from_reader(File::open(path)?))
}

impl JsonLines {
    fn open(path: &Path, header: Vec<String>) -> anyhow::Result<JsonLines> {
        let file = BufReader::new(File::open(path)?);
        Ok(JsonLines { file, header, byte: 0, line: 0, text: Vec::new() })
    }

    /// Reads a line that is not blank into `text`; where it starts.
    fn next_line(&mut self) -> anyhow::Result<Option<u64>> {
        loop {
            self.text.clear();
            let start = self.byte;
            let len = self.file.read_until(b'\n', &mut self.text)?;
            if len == 0 {
                return Ok(None);
            }
            self.byte += len as u64;
            self.line += 1;
            if start == 0 && self.text.starts_with(b"\xef\xbb\xbf") {
                self.text.drain(..3); // A byte order mark.
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some(start));
            }
        }
    }

    fn read(&mut self, cells: &mut StringRecord) -> anyhow::Result<Option<Found>> {
        let Some(byte) = self.next_line()? else { return Ok(None) };
        let line = self.line;
        let fault = match object_of(&self.text).and_then(|object| self.fill(object, cells)) {
            Ok(()) => None,
            Err((message, hint)) => Some(Fault::at_line(line, message, hint)),
        };
        Ok(Some(Found { byte, line, fault }))
    }

    /// Puts the values into the order of the header; absent ones are empty.
    fn fill(&self, object: Object, cells: &mut StringRecord) -> Result<(), Told> {
        let mut values = vec![None; self.header.len()];
        for (key, value) in object {
            let Some(column) = self.header.iter().position(|name| *name == key) else {
                let message = format!("the key `{key}` is not in the first line");
                return Err((message, "name every key in the first line"));
            };
            if values[column].replace(value).is_some() {
                return Err((format!("the key `{key}` stands twice"), "keep one of the two"));
            }
        }
        for value in values {
            cells.push_field(value.as_deref().unwrap_or_default());
        }
        Ok(())
    }
}

/// A message and its remedy.
type Told = (String, &'static str);
/// Keys and values as text, in the order in which they stand.
type Object = Vec<(String, String)>;

fn object_of(line: &[u8]) -> Result<Object, Told> {
    values_of(line)?.into_iter().map(|(key, value)| Ok((key, text_of(&value)?))).collect()
}

fn values_of(line: &[u8]) -> Result<Vec<(String, Box<RawValue>)>, Told> {
    let text = std::str::from_utf8(line).map_err(|_| ("not UTF-8".to_owned(), NOT_UTF8))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = deserializer.deserialize_map(Pairs).and_then(|pairs| {
        deserializer.end()?;
        Ok(pairs)
    });
    object.map_err(|error| {
        (format!("not a JSON object: {error}"), "write one object a line, without line breaks")
    })
}

/// Numbers keep the digits that were written.
fn text_of(value: &RawValue) -> Result<String, Told> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw)
            .map_err(|error| (format!("a bad string: {error}"), "escape it as JSON asks")),
        Some(b'n') => Ok(String::new()),
        Some(b'{' | b'[') => Err((
            "a value is an object or a list".to_owned(),
            "use strings, numbers, true, false or null",
        )),
        _ => Ok(raw.to_owned()),
    }
}

/// Keeps the order of the keys, and keys that stand twice.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
