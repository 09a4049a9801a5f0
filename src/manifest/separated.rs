//! Cells between separators, quoted as RFC 4180 says and in no other way.
//!
//! ```text
//! record = cell *(separator cell) [line end]
//! cell   = *(any character but separator, quote, CR, LF)
//!        / quote *(any character but quote / quote quote) quote
//! ```
//!
//! The separator is a comma in CSV and a tab in TSV, or what the header shows (`dialect`), which
//! may also take the blanks before a cell away; the quote is `"` in all. Everything else is a
//! fault: a quote inside a cell without quotes, text after a closing quote, one never closed.
//! Two stray quotes can still look like one cell that spans lines and swallows the rows between.
//! Whole rows leave their separators in such a cell, at least as many as one row has. So a cell
//! that spans lines must hold fewer.

use csv::StringRecord;

use super::fault::Fault;

const WRITE_TWICE: &str =
    "put the cell between double quotes and write each quote inside it twice (`\"\"`)";

/// What separates cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Separation {
    pub(super) separator: u8,
    /// Whether blanks before a cell are no part of it.
    pub(super) skips_blanks: bool,
}

/// Splits the record `text`, which starts in line `line` of the file, into `cells`. A header's
/// cells (`columns` is `None`) may not span lines; a record of `columns` columns may have any
/// number of cells.
///
/// # Errors
/// The first fault of quoting.
pub(super) fn split(
    text: &str,
    line: u64,
    separation: Separation,
    columns: Option<usize>,
    cells: &mut StringRecord,
) -> Result<(), Fault> {
    let Separation { separator, skips_blanks } = separation;
    let fault =
        |at, message: &str, hint| Err(Fault::within(text, at, line, message.to_owned(), hint));
    let bytes = text.as_bytes();
    let ends_cell = |c| c == char::from(separator) || matches!(c, '"' | '\r' | '\n');
    let mut content = String::new();
    let mut at = 0;
    loop {
        if skips_blanks {
            at += bytes[at..].iter().take_while(|byte| **byte == b' ').count();
        }
        if bytes.get(at) == Some(&b'"') {
            let opening = at;
            content.clear();
            // Past each piece and the quote that ends it; two quotes in a row stand for one.
            loop {
                at += 1;
                let Some(len) = text[at..].find('"') else {
                    return fault(
                        opening,
                        "the quote that opens here is never closed",
                        WRITE_TWICE,
                    );
                };
                content.push_str(&text[at..at + len]);
                at += len + 1;
                if bytes.get(at) != Some(&b'"') {
                    break;
                }
                content.push('"');
            }
            if may_hide_rows(&content, separator, columns) {
                let message = "the quoted cell that begins here spans lines and may hide rows";
                let hint = "close the quote in its own line, or leave it out; a cell that spans \
                            lines must hold fewer separators than a row has";
                return fault(opening, message, hint);
            }
            cells.push_field(&content);
        } else {
            let len = text[at..].find(ends_cell).unwrap_or(text.len() - at);
            if bytes.get(at + len) == Some(&b'"') {
                return fault(at + len, "a quote inside a cell without quotes", WRITE_TWICE);
            }
            cells.push_field(&text[at..at + len]);
            at += len;
        }
        match bytes.get(at) {
            None | Some(b'\r' | b'\n') => return Ok(()),
            Some(&byte) if byte == separator => at += 1,
            Some(_) => return fault(at, "text after a closing quote", WRITE_TWICE),
        }
    }
}

/// Whether a quoted cell may be the gap between two stray quotes of different rows.
fn may_hide_rows(content: &str, separator: u8, columns: Option<usize>) -> bool {
    let separators = || content.bytes().filter(|&byte| byte == separator).count();
    content.contains(['\n', '\r']) && columns.is_none_or(|columns| separators() + 1 >= columns)
}
