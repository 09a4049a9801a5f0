//! How tables are exported: other separators, blanks after them, columns without a name.
//!
//! The header decides, and the whole file is read by what it shows; a header that can be read in
//! two ways is read as the format says. Nothing but cells without meaning is dropped: the row
//! numbers of a nameless first column (pandas' index), and the empty cells of nameless last columns
//! (a separator at the end of each line).

use csv::StringRecord;

use super::columns::has_paths;
use super::fault::Fault;
use super::separated::{self, Separation};

/// Separators, and what messages call them.
const SEPARATORS: &[(u8, &str)] =
    &[(b',', "commas"), (b'\t', "tabs"), (b';', "semicolons"), (b'|', "vertical bars")];

/// How the cells of a table are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dialect {
    pub(super) separation: Separation,
    /// Whether the first column has no name and holds row numbers.
    has_index: bool,
    /// How many of the last columns have no name and hold nothing.
    nameless: usize,
}

impl Dialect {
    /// Cells between separators, as they are.
    pub(super) fn plain(separator: u8) -> Dialect {
        let separation = Separation { separator, skips_blanks: false };
        Dialect { separation, has_index: false, nameless: 0 }
    }

    /// The dialect of a file with the header `text` in line `line`, which the format says is
    /// separated by `declared`, and its names.
    ///
    /// # Errors
    /// The first fault of quoting.
    pub(super) fn of(text: &str, line: u64, declared: u8) -> Result<(Dialect, Vec<String>), Fault> {
        let names = |dialect: Dialect| -> Result<Vec<String>, Fault> {
            let mut cells = StringRecord::new();
            separated::split(text, line, dialect.separation, None, &mut cells)?;
            Ok(cells.iter().map(str::to_owned).collect())
        };
        let candidates = candidates(text, declared).into_iter();
        let mut readings = candidates.filter_map(|one| Some((one, names(one).ok()?)));
        let known = readings.find(|(_, names)| has_paths(names));
        let (mut dialect, mut names) = match known {
            Some(known) => known,
            None => (Dialect::plain(declared), names(Dialect::plain(declared))?),
        };
        if has_paths(&names) {
            let last = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
            dialect.nameless = names.len() - last;
            names.truncate(last);
            dialect.has_index = names[0].is_empty();
            names.drain(..usize::from(dialect.has_index));
        }
        Ok((dialect, names))
    }

    /// Whether every cell of a row has a name.
    pub(super) fn names_all(&self) -> bool {
        !self.has_index && self.nameless == 0
    }

    /// The number of cells of a row of which `named` have a name.
    pub(super) fn cells(&self, named: usize) -> usize {
        usize::from(self.has_index) + named + self.nameless
    }

    /// Removes the cells without a name.
    ///
    /// # Errors
    /// A fault if such a cell holds something that may have a meaning.
    pub(super) fn drop_nameless(&self, cells: &mut StringRecord, line: u64) -> Result<(), Fault> {
        let (first, last) = (usize::from(self.has_index), cells.len() - self.nameless);
        let is_number = |cell: &str| !cell.is_empty() && cell.bytes().all(|b| b.is_ascii_digit());
        let has_meaning = |(at, cell): &(usize, &str)| match at {
            at if *at < first => !is_number(cell),
            at => *at >= last && !cell.is_empty(),
        };
        if let Some((at, cell)) = cells.iter().enumerate().find(has_meaning) {
            let message = format!("cell {} holds `{cell}`, and its column has no name", at + 1);
            return Err(Fault::at_line(
                line,
                message,
                "name the column in the header, or remove it",
            ));
        }
        *cells = cells.iter().skip(first).take(last - first).collect();
        Ok(())
    }

    /// What differs from cells between the `declared` separators; nothing if nothing does.
    pub(super) fn described(&self, declared: u8) -> Vec<String> {
        let Separation { separator, skips_blanks } = self.separation;
        let mut described = Vec::new();
        let called = SEPARATORS.iter().find(|(known, _)| *known == separator);
        if let Some((_, name)) = called.filter(|_| separator != declared) {
            described.push(format!("{name} separate the cells"));
        }
        if skips_blanks {
            described.push("blanks after separators belong to no cell".to_owned());
        }
        if self.has_index {
            described.push("the first column has no name, holds row numbers and is ignored".into());
        }
        if self.nameless > 0 {
            described.push("the last columns have no name, are empty and are ignored".to_owned());
        }
        described
    }
}

/// The ways to read a header, the most usual first. Another separator counts only where the
/// declared one is absent; blanks are skipped only where they follow every separator.
fn candidates(text: &str, declared: u8) -> Vec<Dialect> {
    let has = |separator: u8| text.as_bytes().contains(&separator);
    let others: Vec<u8> = match has(declared) {
        true => vec![declared],
        false => SEPARATORS.iter().map(|(one, _)| *one).filter(|one| has(*one)).collect(),
    };
    // Two separators in one header can be read in two ways.
    let [separator] = others[..] else { return Vec::new() };
    let plain = Dialect::plain(separator);
    let blanks = format!("{} ", char::from(separator));
    let all = text.matches(char::from(separator)).count();
    match text.matches(&blanks).count() == all {
        true => {
            let separation = Separation { separator, skips_blanks: true };
            vec![plain, Dialect { separation, ..plain }]
        }
        false => vec![plain],
    }
}
