//! The formats of a manifest: CSV, TSV and JSON lines, all read as records of cells by one reader.
//!
//! This module depends on bytes, lines and cells, and not on what a column means. Whatever is
//! wrong with one record is a [`Fault`] of that record; only a file that cannot be read is an
//! error.

use std::path::Path;

use csv::StringRecord;

use super::dialect::Dialect;
use super::fault::Fault;
use super::json::{self, Keys};
use super::lines::{Appended, Lines, RECORD_BYTES_MAX};
use super::separated;
use crate::error::Refusal;

/// How the rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Cells between commas, quoted as RFC 4180 says; a header.
    Csv,
    /// The same with tabs for commas.
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
        let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
        let line = start.split(|&byte| byte == b'\n').next().unwrap_or_default();
        match line.trim_ascii_start().first() {
            Some(b'{') => Format::JsonLines,
            _ if line.contains(&b'\t') && !line.contains(&b',') => Format::Tsv,
            _ => Format::Csv,
        }
    }

    /// What separates cells, if there are cells.
    fn separator(self) -> Option<u8> {
        match self {
            Format::Csv => Some(b','),
            Format::Tsv => Some(b'\t'),
            Format::JsonLines => None,
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

const SAVE_AS_UTF8: &str = "save the manifest as UTF-8; rename files whose names are not UTF-8";
const PAIR_OPTIONS: &str = "save the manifest as UTF-8; two images are compared with \
                            `--pair REF DIST`, folders with `--ref DIR --dist DIR`";

/// What a file is, judged by its first bytes, if it is no UTF-8 text, and the remedy.
fn foreign(start: &[u8]) -> Option<(&'static str, &'static str)> {
    match start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some((
            "UTF-32 text, not UTF-8",
            "export it again as UTF-8, or convert it: `iconv -f UTF-32 -t UTF-8 FILE > NEW`",
        )),
        [b'P', b'K', 3, 4, ..] => {
            Some(("a zip archive, as spreadsheets are", "export the table as CSV (UTF-8)"))
        }
        [0x1f, 0x8b, ..] => Some((
            "compressed with gzip",
            "decompress it, or name `-` and pipe the output of `gunzip -c FILE` into it",
        )),
        _ => None,
    }
}

/// Reads records one after another, or from a given offset.
#[derive(Debug)]
pub(super) struct Reader {
    lines: Lines,
    grammar: Grammar,
    text: Vec<u8>,
}

#[derive(Debug)]
enum Grammar {
    /// Rows have as many cells with a name as the header has `names`.
    Separated {
        dialect: Dialect,
        names: usize,
    },
    JsonLines(Keys),
}

impl Grammar {
    /// Before the header is known.
    fn new(format: Format) -> Grammar {
        match format.separator() {
            Some(separator) => Grammar::Separated { dialect: Dialect::plain(separator), names: 0 },
            None => Grammar::JsonLines(Keys::new(&[])),
        }
    }
}

impl Reader {
    /// A reader before the first record, and the header. The header is empty for an empty file.
    ///
    /// # Errors
    /// A [`Refusal`] when the file is no UTF-8 text or its header is at fault.
    pub(super) fn open(path: &Path, format: Format) -> anyhow::Result<(Reader, Vec<String>)> {
        let mut lines = Lines::open(path)?;
        if let Some((what, hint)) = foreign(lines.start()?) {
            return Err(Refusal::inputs(format!("the file is {what}")).hint(hint).into());
        }
        let first = (lines.byte(), lines.line());
        let mut reader = Reader { lines, grammar: Grammar::new(format), text: Vec::new() };
        let header = reader.header()?;
        if format == Format::JsonLines {
            // The first line is a row, too.
            reader.lines.seek(first.0, first.1)?;
        }
        Ok((reader, header))
    }

    /// How the rows are written, where that differs from what the format says.
    pub(super) fn dialect(&self, format: Format) -> Vec<String> {
        match (&self.grammar, format.separator()) {
            (Grammar::Separated { dialect, .. }, Some(declared)) => dialect.described(declared),
            _ => Vec::new(),
        }
    }

    /// Values of these columns must be strings where the format has types.
    pub(super) fn expect_paths(&mut self, columns: &[usize]) {
        if let Grammar::JsonLines(keys) = &mut self.grammar {
            keys.expect_paths(columns);
        }
    }

    /// Offset of what follows the last record.
    pub(super) fn byte(&self) -> u64 {
        self.lines.byte()
    }

    /// Continues at a record that starts at `byte`. Lines are no longer counted right.
    pub(super) fn seek(&mut self, byte: u64) -> anyhow::Result<()> {
        let line = self.lines.line();
        Ok(self.lines.seek(byte, line)?)
    }

    fn header(&mut self) -> anyhow::Result<Vec<String>> {
        let Some(record) = self.next_record()? else { return Ok(Vec::new()) };
        let header = self.checked(&record).map_err(|mut fault| {
            if fault.message == NOT_UTF8 {
                fault = Fault { message: "the header is not UTF-8".to_owned(), ..fault };
                fault.hint = PAIR_OPTIONS;
            }
            fault
        });
        let header = header.and_then(|text| {
            let (grammar, header) = match &self.grammar {
                Grammar::JsonLines(_) => {
                    let header: Vec<String> = json::keys(text, record.line)?;
                    (Grammar::JsonLines(Keys::new(&header)), header)
                }
                Grammar::Separated { dialect, .. } => {
                    let (dialect, header) =
                        Dialect::of(text, record.line, dialect.separation.separator)?;
                    (Grammar::Separated { dialect, names: header.len() }, header)
                }
            };
            refuse_nul(header.iter().map(String::as_str), record.line)?;
            Ok((grammar, header))
        });
        let (grammar, header) =
            header.map_err(|fault| Refusal::inputs(fault.to_string()).hint(fault.hint))?;
        self.grammar = grammar;
        Ok(header)
    }

    /// Reads the next record into `cells`; `None` at the end of the file.
    pub(super) fn read(&mut self, cells: &mut StringRecord) -> anyhow::Result<Option<Found>> {
        cells.clear();
        let Some(record) = self.next_record()? else { return Ok(None) };
        let Record { byte, line, .. } = record;
        let split = self.checked(&record).and_then(|text| match &self.grammar {
            Grammar::JsonLines(keys) => keys.split(text, line, cells),
            Grammar::Separated { dialect, names } => {
                let cells_of_row = Some(dialect.cells(*names));
                separated::split(text, line, dialect.separation, cells_of_row, cells)
            }
        });
        if split.is_err() {
            // Where a record ends is unknown if its quotes are at fault: the next line may be one.
            self.lines.seek(record.second_line, line)?;
        }
        let fault = split.and_then(|()| self.judge(cells, line)).err();
        Ok(Some(Found { byte, line, fault }))
    }

    /// What is wrong with cells whose quoting is right; those without a name are removed.
    fn judge(&self, cells: &mut StringRecord, line: u64) -> Result<(), Fault> {
        refuse_nul(cells.iter(), line)?;
        let Grammar::Separated { dialect, names } = &self.grammar else { return Ok(()) };
        let (expected, found) = (dialect.cells(*names), cells.len());
        if found != expected {
            let is_empty = found > expected && cells.iter().skip(expected).all(str::is_empty);
            let hint = match found {
                _ if is_empty => {
                    "remove the separators that end the line, or end the header with as many"
                }
                _ if found > expected => "put cells that contain the separator in double quotes",
                _ => "write a cell for each column of the header; a cell may be empty",
            };
            return Err(Fault::at_line(
                line,
                format!("expected {expected} cells, found {found}"),
                hint,
            ));
        }
        match dialect.names_all() {
            true => Ok(()),
            false => dialect.drop_nameless(cells, line),
        }
    }

    /// Reads the lines of the next record into `text`: one that is not blank, and more while a
    /// quote is open. Quotes of a record without fault are even in number.
    fn next_record(&mut self) -> anyhow::Result<Option<Record>> {
        let mut record = loop {
            self.text.clear();
            let byte = self.lines.byte();
            let appended = self.lines.append(&mut self.text)?;
            if appended == Appended::Nothing {
                return Ok(None);
            }
            if !self.is_blank() {
                let (line, second_line) = (self.lines.line(), self.lines.byte());
                let is_too_long = appended == Appended::TooLong;
                break Record { byte, line, second_line, is_too_long };
            }
        };
        let quotes = |text: &[u8]| text.iter().filter(|&&byte| byte == b'"').count();
        let mut is_open = self.has_quotes() && quotes(&self.text) % 2 == 1;
        while is_open && !record.is_too_long {
            let start = self.text.len();
            match self.lines.append(&mut self.text)? {
                Appended::Nothing => break,
                Appended::TooLong => record.is_too_long = true,
                Appended::Line => is_open ^= quotes(&self.text[start..]) % 2 == 1,
            }
        }
        Ok(Some(record))
    }

    fn has_quotes(&self) -> bool {
        matches!(self.grammar, Grammar::Separated { .. })
    }

    /// Lines without any character are blank; in JSON lines, also those of white space.
    fn is_blank(&self) -> bool {
        let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let is_white = |byte: &u8| is_end(byte) || matches!(byte, b' ' | b'\t');
        match self.has_quotes() {
            true => self.text.iter().all(is_end),
            false => self.text.iter().all(is_white),
        }
    }

    /// The record as text, unless no grammar can read it.
    fn checked(&self, record: &Record) -> Result<&str, Fault> {
        let line = record.line;
        if record.is_too_long {
            let message = format!(
                "a row is longer than {} MiB, or a quote is never closed",
                RECORD_BYTES_MAX >> 20
            );
            return Err(Fault::at_line(line, message, "shorten its cells, or close the quote"));
        }
        std::str::from_utf8(&self.text).map_err(|error| {
            let valid = std::str::from_utf8(&self.text[..error.valid_up_to()]).unwrap_or_default();
            Fault::within(valid, valid.len(), line, NOT_UTF8, SAVE_AS_UTF8)
        })
    }
}

fn refuse_nul<'a>(mut cells: impl Iterator<Item = &'a str>, line: u64) -> Result<(), Fault> {
    match cells.any(|cell| cell.contains('\0')) {
        true => Err(Fault::at_line(line, "a cell holds a NUL character", REMOVE_NUL)),
        false => Ok(()),
    }
}

const REMOVE_NUL: &str = "remove it: no file name can hold one, and other programs stop there";
const NOT_UTF8: &str = "not UTF-8";

/// The lines of a record.
#[derive(Clone, Copy, Debug)]
struct Record {
    byte: u64,
    line: u64,
    /// Offset of the line after its first one.
    second_line: u64,
    is_too_long: bool,
}
