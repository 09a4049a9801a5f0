//! Manifests: no row is lost and no cell is changed in silence. Each file is also read by a slow
//! reader that is written from the grammar alone, one character at a time; both must agree on every
//! cell, or both must refuse. Readers with planted faults show that this finds them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use lpips::manifest::{Entry, Location, Manifest};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use super::{Counter, Edit, Seed, apply, config, edit, fuzz, seeds};

/// Cases within a check.
const CASES: u32 = 2000;

/// A manifest as a reader sees it: its rows, or `None` if it refuses the file.
type Rows = Option<Vec<Entry>>;

/// The program's reader.
fn read(path: &Path) -> Rows {
    let manifest = Manifest::open(Location::of(path)).ok()?;
    let mut rows = manifest.rows().unwrap();
    Some((0..manifest.len() as u32).map(|row| rows.read(row).unwrap()).collect())
}

/// Why `rows`, as read from the file `name` of these bytes, are not what the file says.
fn fault_of(name: &str, bytes: &[u8], rows: &Rows) -> Option<String> {
    let expected = slow::read(name, bytes);
    if *rows != expected {
        return Some(format!("expected {expected:#?}, found {rows:#?}"));
    }
    let separator = match name.rsplit_once('.')?.1 {
        "csv" => ',',
        "tsv" => '\t',
        _ => return None,
    };
    // Whatever the grammar: a line of as many plain cells as the header has is a row.
    let text = std::str::from_utf8(bytes).ok()?.trim_start_matches('\u{feff}');
    let mut lines = text.split(['\n', '\r']).filter(|line| !line.is_empty());
    let columns = lines.next()?.matches(separator).count();
    let is_plain = |line: &&str| !line.contains('"') && line.matches(separator).count() == columns;
    let plain = lines.filter(is_plain).count();
    let found = rows.as_ref()?.len();
    (found < plain).then(|| format!("{plain} plain lines, {found} rows"))
}

/// Cells that try a reader.
fn cell() -> impl Strategy<Value = String> {
    let letter = prop_oneof![prop::char::range('a', 'z'), prop::char::range('0', '9')];
    let word = prop::collection::vec(letter, 1..5).prop_map(String::from_iter);
    let piece = prop_oneof![
        8 => word,
        1 => prop::sample::select(&[
            "\"", ",", "\t", "\n", "\r\n", "\r", " ", "é", "\\", "{", "}", "'", "\u{feff}", "\u{2028}",
        ][..]).prop_map(String::from),
        1 => prop::sample::select(&["2.50", "1e3", "007", "null", "NaN", "a/b.png"][..])
            .prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// How a file is written.
#[derive(Clone, Copy, Debug)]
struct Style {
    format: &'static str,
    quotes_all: bool,
    end: &'static str,
    ends_last: bool,
}

/// A manifest that was written well, with ids, in some style.
fn written() -> impl Strategy<Value = (String, Vec<u8>)> {
    let style = (
        prop::sample::select(&["csv", "tsv", "jsonl"][..]),
        any::<bool>(),
        prop::sample::select(&["\n", "\r\n", "\r"][..]),
        any::<bool>(),
    );
    let style = style.prop_map(|(format, quotes_all, end, ends_last)| Style {
        format,
        quotes_all,
        end,
        ends_last,
    });
    let rows = prop::collection::vec((cell(), cell(), cell()), 1..6);
    (style, rows).prop_map(|(style, rows)| {
        let header = ["id", "ref", "dist", "note"].map(str::to_owned);
        let rows = rows.into_iter().enumerate();
        let rows = rows.map(|(row, (a, b, note))| [row.to_string(), a + "r", b + "d", note]);
        let lines: Vec<String> = match style.format {
            "jsonl" => rows.map(|row| object(&header, &row)).collect(),
            _ => std::iter::once(header.clone()).chain(rows).map(|row| line(&row, style)).collect(),
        };
        let last = if style.ends_last { style.end } else { "" };
        (format!("m.{}", style.format), (lines.join(style.end) + last).into_bytes())
    })
}

fn line(cells: &[String; 4], style: Style) -> String {
    let separator = if style.format == "tsv" { "\t" } else { "," };
    let quoted = |cell: &String| {
        let needs = cell.contains(['"', '\n', '\r']) || cell.contains(separator);
        match style.quotes_all || needs {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        }
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(separator)
}

fn object(header: &[String; 4], cells: &[String; 4]) -> String {
    let value = |(key, cell): (&String, &String)| match cell.parse::<f64>() {
        // As it is written: digits are kept.
        Ok(_) if key == "note" && serde_json::from_str::<f64>(cell).is_ok() => {
            format!("\"{key}\":{cell}")
        }
        _ => format!("\"{key}\":{}", serde_json::to_string(cell).unwrap()),
    };
    format!("{{{}}}", header.iter().zip(cells).map(value).collect::<Vec<_>>().join(","))
}

/// Edits of a manifest: those of any file, and quotes, separators and line ends anywhere.
fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let stray = (any::<prop::sample::Index>(), prop::sample::select(&b"\"\"\"\",\t\n\r{}:"[..]))
        .prop_map(|(at, byte)| Edit::Insert(at, vec![byte]));
    prop::collection::vec(prop_oneof![3 => stray, 1 => edit()], 0..4)
}

/// Runs written and edited manifests through `reader`; the first disagreement.
fn search(config: Config, reader: &dyn Fn(&Path) -> Rows) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let counter = Counter::default();
    let outcome = TestRunner::new(config).run(&(written(), edits()), |((name, bytes), edits)| {
        counter.add();
        let mut bytes = bytes;
        edits.iter().for_each(|edit| apply(edit, &mut bytes, usize::MAX));
        let path = folder.path().join(&name);
        fs_err::write(&path, &bytes).unwrap();
        let fault = fault_of(&name, &bytes, &reader(&path));
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        fault.map_or(Ok(()), |fault| Err(TestCaseError::fail(format!("{:?}: {fault}", text()))))
    });
    outcome.map_err(|error| error.to_string())
}

#[test]
fn manifests() {
    search(config(CASES), &read).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn manifests_of_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<Seed> = seeds(&["corpus/manifest"]);
    fuzz(&all, |name, bytes| {
        let path = folder.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        if let Some(fault) = fault_of(name, bytes, &read(&path)) {
            panic!("{fault}");
        }
        let Ok((manifest, faults)) = Manifest::examine(Location::of(&path)) else { return };
        let mut order = manifest.order().to_vec();
        order.sort_unstable();
        assert!(order.iter().copied().eq(0..manifest.len() as u32), "an order of all rows");
        assert!(faults.kept.len() <= faults.count);
    });
}

/// Another file of the same name.
fn beside(path: &Path, bytes: &[u8]) -> PathBuf {
    let other = path.with_file_name("beside").join(path.file_name().unwrap());
    fs_err::create_dir_all(other.parent().unwrap()).unwrap();
    fs_err::write(&other, bytes).unwrap();
    other
}

/// Quotes as a lenient reader takes them: wherever they are, and never an error.
fn lenient(path: &Path) -> Rows {
    let delimiter = match path.extension()?.to_str()? {
        "csv" => b',',
        "tsv" => b'\t',
        _ => return read(path),
    };
    let mut builder = csv::ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true);
    let mut builder_out = csv::WriterBuilder::new();
    let mut written = builder_out.delimiter(delimiter).flexible(true).from_writer(Vec::new());
    for record in builder.from_path(path).unwrap().byte_records() {
        written.write_byte_record(&record.unwrap()).unwrap();
    }
    read(&beside(path, &written.into_inner().unwrap()))
}

/// The last line counts only if it ends.
fn forgetful(path: &Path) -> Rows {
    let bytes = fs_err::read(path).unwrap();
    let whole = bytes.iter().rposition(|byte| b"\r\n".contains(byte)).map_or(0, |end| end + 1);
    read(&beside(path, &bytes[..whole]))
}

/// Numbers go through floating point.
fn numeric(path: &Path) -> Rows {
    let number = |cell: String| match cell.parse::<f64>() {
        Ok(number) if number.is_finite() => number.to_string(),
        _ => cell,
    };
    let mut rows = read(path)?;
    for row in &mut rows {
        row.carried = std::mem::take(&mut row.carried).into_iter().map(number).collect();
    }
    Some(rows)
}

/// White space around cells is taken away.
fn trimming(path: &Path) -> Rows {
    let mut rows = read(path)?;
    for row in &mut rows {
        row.reference = row.reference.trim().to_owned();
    }
    Some(rows)
}

#[test]
fn planted_faults_of_the_reader_are_found() {
    let fixed = || Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    type Reader = fn(&Path) -> Rows;
    let readers: [(&str, Reader); 4] = [
        ("lenient", lenient),
        ("forgetful", forgetful),
        ("numeric", numeric),
        ("trimming", trimming),
    ];
    for (name, reader) in readers {
        assert!(search(fixed(), &reader).is_err(), "the {name} reader was not found out");
    }
}

/// The manifest, from its grammar: characters, no buffers, no offsets.
mod slow {
    use super::{Entry, HashSet, Rows};

    const ROW_BYTES_MAX: usize = 1 << 20;

    pub(super) fn read(name: &str, bytes: &[u8]) -> Rows {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let format = name.rsplit_once('.')?.1;
        let rows = match format {
            "jsonl" => objects(text)?,
            "tsv" => exported(text, '\t')?,
            _ => exported(text, ',')?,
        };
        table(rows, format == "jsonl")
    }

    /// Rows of cells, the header first.
    type Table = Vec<Vec<String>>;

    /// A table in the dialect that its header shows.
    fn exported(text: &str, declared: char) -> Option<Table> {
        let header = text.split(['\n', '\r']).find(|line| !line.is_empty()).unwrap_or_default();
        let has_paths = |table: &Table| {
            let has = |names: &[&str]| table[0].iter().any(|name| names.contains(&name.as_str()));
            has(&["ref", "reference", "gt", "hr"])
                && has(&["dist", "distorted", "pred", "sr", "p0", "p1"])
        };
        let others = [',', '\t', ';', '|'].into_iter().filter(|&one| header.contains(one));
        let separators: Vec<char> = match header.contains(declared) {
            true => vec![declared],
            false => others.collect(),
        };
        let (mut separator, mut skips_blanks, mut is_known) = (declared, false, false);
        for (one, skips) in separators.iter().flat_map(|&one| [(one, false), (one, true)]) {
            let is_blank =
                header.matches(one).count() == header.matches(&format!("{one} ")).count();
            let reads = || separated(header, one, skips).is_some_and(|table| has_paths(&table));
            if separators.len() == 1 && !is_known && (is_blank || !skips) && reads() {
                (separator, skips_blanks, is_known) = (one, skips, true);
            }
        }
        let mut table = separated(text, separator, skips_blanks)?;
        if table.is_empty() || !is_known {
            return Some(table);
        }
        let columns = table[0].len();
        let index = table[0][0].is_empty();
        let last = columns - table[0].iter().rev().take_while(|name| name.is_empty()).count();
        for (at, row) in table.iter_mut().enumerate() {
            let is_number =
                |cell: &str| !cell.is_empty() && cell.chars().all(|c| c.is_ascii_digit());
            let is_dropped = row.len() == columns
                && (at == 0 || !index || is_number(&row[0]))
                && row[last..].iter().all(String::is_empty);
            if !is_dropped {
                return None;
            }
            *row = row[usize::from(index)..last].to_vec();
        }
        Some(table)
    }

    fn separated(text: &str, separator: char, skips_blanks: bool) -> Option<Table> {
        let chars: Vec<char> = text.chars().collect();
        let at = |place: usize| chars.get(place).copied();
        let is_end = |c: Option<char>| matches!(c, None | Some('\n' | '\r'));
        let (mut rows, mut place) = (Table::new(), 0);
        while place < chars.len() {
            if is_end(at(place)) {
                place += 1;
                continue;
            }
            let (mut row, start) = (Vec::new(), place);
            loop {
                let mut cell = String::new();
                while skips_blanks && at(place) == Some(' ') {
                    place += 1;
                }
                if at(place) == Some('"') {
                    place += 1;
                    loop {
                        match (at(place)?, at(place + 1)) {
                            ('"', Some('"')) => {
                                cell.push('"');
                                place += 2;
                            }
                            ('"', _) => break,
                            (other, _) => {
                                cell.push(other);
                                place += 1;
                            }
                        }
                    }
                    place += 1;
                    let separators = cell.chars().filter(|&c| c == separator).count();
                    let needed = rows.first().map_or(0, |header: &Vec<String>| header.len() - 1);
                    if cell.contains(['\n', '\r']) && separators >= needed {
                        return None;
                    }
                } else {
                    while !is_end(at(place)) && at(place) != Some(separator) {
                        if at(place) == Some('"') {
                            return None;
                        }
                        cell.push(at(place)?);
                        place += 1;
                    }
                }
                row.push(cell);
                if at(place) != Some(separator) {
                    break;
                }
                place += 1;
            }
            let bytes: usize = chars[start..place].iter().map(|c| c.len_utf8()).sum();
            if !is_end(at(place)) || bytes + 2 > ROW_BYTES_MAX {
                return None;
            }
            rows.push(row);
        }
        Some(rows)
    }

    fn objects(text: &str) -> Option<Table> {
        let mut table = Table::new();
        for line in text.split(['\n', '\r']) {
            let line = line.trim_matches([' ', '\t']);
            if line.is_empty() {
                continue;
            }
            let pairs = Json(line.chars().collect(), 0).object()?;
            if table.is_empty() {
                table.push(pairs.iter().map(|(key, ..)| key.clone()).collect());
            }
            let header = table[0].clone();
            let mut row = vec![None; header.len()];
            for (key, value, is_text) in pairs {
                let column = header.iter().position(|name| *name == key)?;
                let is_path = ["ref", "reference", "gt", "hr", "dist", "distorted", "pred", "sr"];
                if row[column].is_some() || (is_path.contains(&&*key) && !is_text) {
                    return None;
                }
                row[column] = Some(value);
            }
            table.push(row.into_iter().map(Option::unwrap_or_default).collect());
        }
        Some(table)
    }

    /// Flat objects: characters, and the next place.
    struct Json(Vec<char>, usize);

    impl Json {
        fn peek(&self) -> Option<char> {
            self.0.get(self.1).copied()
        }

        fn take(&mut self) -> Option<char> {
            self.1 += 1;
            self.0.get(self.1 - 1).copied()
        }

        fn skip(&mut self) {
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.1 += 1;
            }
        }

        /// Keys, values as text, and whether they may stand for a path: strings and null.
        fn object(mut self) -> Option<Vec<(String, String, bool)>> {
            let mut pairs = Vec::new();
            self.skip();
            (self.take()? == '{').then_some(())?;
            self.skip();
            if self.peek() == Some('}') {
                self.1 += 1;
            } else {
                loop {
                    self.skip();
                    let key = self.string()?;
                    self.skip();
                    (self.take()? == ':').then_some(())?;
                    self.skip();
                    let (value, is_text) = self.value()?;
                    pairs.push((key, value, is_text));
                    self.skip();
                    match self.take()? {
                        ',' => {}
                        '}' => break,
                        _ => return None,
                    }
                }
            }
            self.skip();
            self.peek().is_none().then_some(pairs)
        }

        fn value(&mut self) -> Option<(String, bool)> {
            if self.peek()? == '"' {
                return Some((self.string()?, true));
            }
            let mut word = String::new();
            while self.peek().is_some_and(|c| !matches!(c, ',' | '}' | ' ' | '\t')) {
                word.push(self.take()?);
            }
            match word.as_str() {
                "null" => Some((String::new(), true)),
                "true" | "false" => Some((word, false)),
                _ => is_number(&word).then_some((word, false)),
            }
        }

        fn string(&mut self) -> Option<String> {
            (self.take()? == '"').then_some(())?;
            let mut text = String::new();
            loop {
                match self.take()? {
                    '"' => return Some(text),
                    '\\' => text.push(match self.take()? {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'u' => self.escaped()?,
                        other @ ('"' | '\\' | '/') => other,
                        _ => return None,
                    }),
                    control if control < ' ' => return None,
                    other => text.push(other),
                }
            }
        }

        fn escaped(&mut self) -> Option<char> {
            let first = self.unit()?;
            if !(0xd800..0xdc00).contains(&first) {
                return char::from_u32(first);
            }
            (self.take()? == '\\' && self.take()? == 'u').then_some(())?;
            let second = self.unit()?;
            (0xdc00..0xe000).contains(&second).then_some(())?;
            char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
        }

        fn unit(&mut self) -> Option<u32> {
            let mut unit = 0;
            for _ in 0..4 {
                unit = 16 * unit + self.take()?.to_digit(16)?;
            }
            Some(unit)
        }
    }

    /// `-`, digits without leading zeros, a fraction, an exponent.
    fn is_number(word: &str) -> bool {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let word = word.strip_prefix('-').unwrap_or(word);
        let (mantissa, exponent) =
            word.split_once(['e', 'E']).map_or((word, None), |(m, e)| (m, Some(e)));
        let (whole, fraction) =
            mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
        let exponent = exponent.map(|e| e.strip_prefix(['+', '-']).unwrap_or(e));
        digits(whole)
            && (whole == "0" || !whole.starts_with('0'))
            && fraction.is_none_or(digits)
            && exponent.is_none_or(digits)
    }

    /// What the columns mean.
    fn table(rows: Table, is_json: bool) -> Rows {
        let (header, rows) = rows.split_first()?;
        let place = |name: &str| header.iter().position(|column| column == name);
        let one_of = |names: [&str; 4]| {
            let found: Vec<usize> = names.into_iter().filter_map(place).collect();
            if let [one] = found[..] { Some(one) } else { None }
        };
        let unique: HashSet<&String> = header.iter().collect();
        if unique.len() < header.len() || header.iter().any(String::is_empty) {
            return None;
        }
        let reference = one_of(["ref", "reference", "gt", "hr"])?;
        let distorted = one_of(["dist", "distorted", "pred", "sr"])?;
        let [id, item, method] = ["id", "item", "method"].map(place);
        let known = [Some(reference), Some(distorted), id, item, method];
        let others: Vec<usize> =
            (0..header.len()).filter(|at| !known.contains(&Some(*at))).collect();
        let reserved = ["width", "height", "status", "error_code", "error", "metric"];
        let is_reserved = |name: &str| {
            reserved.contains(&name) || name.starts_with("lpips_") || name.starts_with("baseline_")
        };
        if others.iter().any(|&other| is_reserved(&header[other])) {
            return None;
        }
        let (mut entries, mut ids) = (Vec::new(), HashSet::new());
        for row in rows {
            let is_good = row.len() == header.len()
                && !row.iter().chain(header).any(|cell| cell.contains('\0'))
                && !row[reference].is_empty()
                && !row[distorted].is_empty()
                && (is_json || row != header);
            if !is_good {
                return None;
            }
            let cell =
                |at: Option<usize>| at.map(|at| row[at].clone()).filter(|cell| !cell.is_empty());
            let path = std::path::Path::new(&row[reference]);
            let item = cell(item).unwrap_or(path.with_extension("").to_str()?.to_owned());
            let method = cell(method).unwrap_or_default();
            let default = if method.is_empty() { item.clone() } else { format!("{method}/{item}") };
            let id = cell(id).unwrap_or(default);
            if !ids.insert(id.clone()) {
                return None;
            }
            let carried = others.iter().map(|&at| row[at].clone()).collect();
            let (reference, distorted) = (row[reference].clone(), row[distorted].clone());
            entries.push(Entry { id, item, method, reference, distorted, carried });
        }
        (!entries.is_empty()).then_some(entries)
    }
}
