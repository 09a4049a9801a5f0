//! Columns that others computed, joined to the pairs of a run by id.
//!
//! They decide nothing and stand in no journal: the run directory keeps their values in a file of
//! its own, in the order of the manifest, and every reader of a run sees them after the columns
//! that the run has computed. How their numbers were made is not known, and said to be unknown.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::outputs::{Noted, NotedColumn, foreign};
use super::{RunDir, names};
use crate::batch::Row;
use crate::column::{Better, Column, Value};
use crate::decimal::counted;
use crate::error::Refusal;
use crate::hash::sha256_hex;
use crate::manifest::Manifest;
use crate::regular;
use crate::suggest::nearest;

/// Largest file that is read.
const BYTES_MAX: u64 = 1 << 30;
/// Cells that mean that there is no value.
const MISSING: [&str; 5] = ["", "nan", "NaN", "NA", "null"];
/// Headers of pairs.csv that are no metrics.
const RESERVED: [&str; 10] =
    ["id", "item", "method", "ref", "dist", "width", "height", "status", "error_code", "error"];

/// A file of columns, read whole.
#[derive(Clone, PartialEq, Debug)]
pub struct Join {
    /// Its path, as it was typed.
    path: PathBuf,
    sha256: String,
    columns: Vec<(String, Option<Better>)>,
    /// Row by row, as many as there are columns; NaN where there is no value.
    values: Vec<f64>,
    /// Hash of an id -> its row.
    rows: HashMap<u64, usize>,
}

impl Join {
    /// Reads `FILE.csv[:NAME=lower|higher,...]`. Without names it is every column but `id`; a name
    /// without a direction is summarised and not ranked.
    ///
    /// # Errors
    /// A [`Refusal`] when the file is absent, has no column `id`, an id twice, a cell that is no
    /// number, or lacks a column that was named.
    pub fn read(text: &str) -> anyhow::Result<Join> {
        let (path, named) = split(text);
        let shown = path.display();
        let bytes = regular::read(path, BYTES_MAX)
            .map_err(|error| Refusal::inputs(format!("cannot read `{shown}`: {error:#}")))
            .map_err(|refusal| {
                refusal.hint("`--join` takes a CSV file, then `:` and its columns")
            })?;
        let unreadable = |error: csv::Error| {
            Refusal::inputs(format!("`{shown}` is no table: {error}"))
                .hint("write it as CSV in UTF-8 with as many cells in every row as in the header")
        };
        let mut csv = csv::Reader::from_reader(bytes.as_slice());
        let header = csv.headers().map_err(unreadable)?;
        let header: Vec<String> = header.iter().map(str::to_owned).collect();
        let id = header.iter().position(|name| name == "id").ok_or_else(|| {
            let columns = header.join(", ");
            Refusal::inputs(format!("`{shown}` has no column `id`; it has {columns}"))
                .hint("rename the column that holds the ids of pairs.csv to `id`")
        })?;
        let columns = columns(path, &header, named)?;
        let mut join = Join {
            path: path.to_owned(),
            sha256: sha256_hex(&bytes),
            columns: columns.iter().map(|(_, name, better)| (name.clone(), *better)).collect(),
            values: Vec::new(),
            rows: HashMap::new(),
        };
        for record in csv.records() {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            let ids = join.rows.len();
            if join.rows.insert(xxh3_64(record[id].as_bytes()), ids).is_some() {
                let text =
                    format!("`{shown}`, line {line}: the id `{}` is there twice", &record[id]);
                return Err(Refusal::inputs(text).hint("keep one row of each id").into());
            }
            for (place, name, _) in &columns {
                join.values.push(number(&record[*place]).ok_or_else(|| {
                    let cell = &record[*place];
                    Refusal::inputs(format!(
                        "`{shown}`, line {line}: `{name}` is `{cell}`, no number"
                    ))
                    .hint("leave a cell empty where there is no value, or name the columns to join")
                })?);
            }
        }
        Ok(join)
    }

    /// Its columns as those of a run.
    pub fn columns(&self) -> impl Iterator<Item = Column> {
        self.columns.iter().map(|(name, better)| foreign(name, *better))
    }

    /// The values of the pair `id`; `None` if the file does not have it.
    fn find(&self, id: &str) -> Option<&[f64]> {
        let first = self.rows.get(&xxh3_64(id.as_bytes()))? * self.columns.len();
        Some(&self.values[first..first + self.columns.len()])
    }
}

/// The path, and what follows it. A file of that spelling wins.
fn split(text: &str) -> (&Path, Option<&str>) {
    if Path::new(text).exists() {
        return (Path::new(text), None);
    }
    let mut colons =
        text.rmatch_indices(':').map(|(at, _)| (Path::new(&text[..at]), &text[at + 1..]));
    let found = colons.find(|(path, _)| path.exists());
    found.map_or((Path::new(text), None), |(path, named)| (path, Some(named)))
}

/// Place, name and direction of the columns that are joined.
fn columns(
    path: &Path,
    header: &[String],
    named: Option<&str>,
) -> anyhow::Result<Vec<(usize, String, Option<Better>)>> {
    let shown = path.display();
    let Some(named) = named else {
        let all = header.iter().enumerate().filter(|(_, name)| *name != "id");
        return Ok(all.map(|(place, name)| (place, name.clone(), None)).collect());
    };
    let column = |text: &str| {
        let (name, better) = match text.split_once('=') {
            None => (text, None),
            Some((name, "lower")) => (name, Some(Better::Lower)),
            Some((name, "higher")) => (name, Some(Better::Higher)),
            Some((name, other)) => {
                let text = format!("`--join`: `{other}` is no direction of `{name}`");
                return Err(Refusal::usage(text).hint(format!("`{name}=lower` or `{name}=higher`")));
            }
        };
        let place = header.iter().position(|column| column == name).ok_or_else(|| {
            let near = nearest(name, header.iter().map(String::as_str));
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            Refusal::usage(format!("`{shown}` has no column `{name}`"))
                .hint(format!("{near}it has {}", header.join(", ")))
        })?;
        Ok((place, name.to_owned(), better))
    };
    Ok(named.split(',').map(column).collect::<Result<_, Refusal>>()?)
}

/// NaN for a missing value; `None` for what is no number.
fn number(cell: &str) -> Option<f64> {
    if MISSING.contains(&cell) {
        return Some(f64::NAN);
    }
    cell.parse().ok().filter(|value: &f64| !value.is_nan())
}

/// Checks that joined columns have names of their own.
///
/// # Errors
/// A [`Refusal`] that names the column.
pub fn expect_new_names(
    joins: &[Join],
    columns: &[Column],
    carried: &[String],
) -> Result<(), Refusal> {
    let mut taken: Vec<String> = RESERVED.map(str::to_owned).to_vec();
    for column in columns {
        taken.push(column.name.clone());
        taken.extend((0..column.parts).map(|part| column.part_name(part)));
    }
    taken.extend_from_slice(carried);
    for (join, name) in
        joins.iter().flat_map(|join| join.columns.iter().map(move |(name, _)| (join, name)))
    {
        if taken.contains(name) {
            let shown = join.path.display();
            return Err(Refusal::usage(format!(
                "`{shown}`: pairs.csv has a column `{name}` already"
            ))
            .hint("rename the column, or name the columns to join: `--join FILE.csv:NAME=lower`"));
        }
        taken.push(name.clone());
    }
    Ok(())
}

/// Calls `report` with the id of each pair that lacks a value, and what lacks it.
///
/// # Errors
/// When the manifest cannot be read again.
pub fn find_missing(
    joins: &[Join],
    manifest: &Manifest,
    report: &mut dyn FnMut(&str, String),
) -> anyhow::Result<()> {
    if joins.is_empty() {
        return Ok(());
    }
    let mut rows = manifest.rows()?;
    for row in 0..manifest.len() as Row {
        let id = rows.read(row)?.id;
        for join in joins {
            let shown = join.path.display();
            let Some(values) = join.find(&id) else {
                report(&id, format!("`{shown}` has no row of it"));
                continue;
            };
            for ((name, _), _) in join.columns.iter().zip(values).filter(|(_, of)| of.is_nan()) {
                report(&id, format!("`{shown}` has no value of `{name}`"));
            }
        }
    }
    Ok(())
}

/// Writes the values of every pair to the run directory, in the order of the manifest. Every
/// process of a run writes the same bytes. `note` gets a line for ids that no pair has.
///
/// # Errors
/// A [`Refusal`] when a file has no id of the manifest; when the file cannot be written.
pub fn keep(
    run_dir: &RunDir,
    joins: &[Join],
    manifest: &Manifest,
    note: &mut dyn FnMut(&str),
) -> anyhow::Result<Option<Noted>> {
    if joins.is_empty() {
        return Ok(None);
    }
    let mut found = vec![0; joins.len()];
    let mut csv = csv::Writer::from_writer(Vec::new());
    let names = joins.iter().flat_map(|join| join.columns.iter().map(|(name, _)| name.as_str()));
    csv.write_record(["id"].into_iter().chain(names))?;
    let mut rows = manifest.rows()?;
    for row in 0..manifest.len() as Row {
        let entry = rows.read(row)?;
        let mut cells = vec![entry.id.clone()];
        for (join, found) in joins.iter().zip(&mut found) {
            let values = join.find(&entry.id);
            *found += usize::from(values.is_some());
            cells.extend((0..join.columns.len()).map(|index| {
                match values.map(|values| values[index]) {
                    Some(value) if !value.is_nan() => value.to_string(),
                    _ => String::new(),
                }
            }));
        }
        csv.write_record(cells)?;
    }
    for (join, found) in joins.iter().zip(found) {
        let (shown, unused) = (join.path.display(), join.rows.len() - found);
        if found == 0 {
            let expected = rows.read(0)?.id;
            return Err(Refusal::inputs(format!(
                "`{shown}` has no id of a pair; expected ids such as `{expected}`"
            ))
            .hint("ids are those of pairs.csv; `lpips check ... --write-manifest FILE` lists them")
            .into());
        }
        if unused > 0 {
            note(&format!("note: `{shown}` has {} without a pair", counted(unused, "id")));
        }
    }
    let bytes = csv.into_inner().map_err(|error| error.into_error())?;
    run_dir.publish(names::JOINED, |file| Ok(std::io::Write::write_all(file, &bytes)?))?;
    let noted = |join: &Join, (name, better): &(String, Option<Better>)| NotedColumn {
        name: name.clone(),
        better: *better,
        file: join.path.display().to_string(),
        file_sha256: join.sha256.clone(),
    };
    let columns =
        joins.iter().flat_map(|join| join.columns.iter().map(move |column| noted(join, column)));
    Ok(Some(Noted { columns: columns.collect(), sha256: sha256_hex(&bytes) }))
}

/// The values that a run directory keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct Joined {
    /// As they stand in pairs.csv.
    pub columns: Vec<Column>,
    /// Row by row; NaN where there is no value.
    values: Vec<f64>,
}

impl Joined {
    /// Reads what [`keep`] wrote.
    ///
    /// # Errors
    /// A [`Refusal`] when the file is not the one that was noted.
    pub fn open(run_dir: &RunDir, noted: &Noted, pairs: usize) -> anyhow::Result<Joined> {
        let path = run_dir.file(names::JOINED);
        let damaged = || {
            Refusal::inputs(format!("`{}` is not what was joined", path.display()))
                .hint("run the command that joined its columns again")
        };
        let bytes = regular::read(&path, BYTES_MAX).map_err(|_| damaged())?;
        if sha256_hex(&bytes) != noted.sha256 {
            return Err(damaged().into());
        }
        let mut values = Vec::with_capacity(pairs * noted.columns.len());
        for record in csv::Reader::from_reader(bytes.as_slice()).records() {
            for cell in record?.iter().skip(1) {
                values.push(number(cell).ok_or_else(damaged)?);
            }
        }
        if values.len() != pairs * noted.columns.len() {
            return Err(damaged().into());
        }
        Ok(Joined { columns: noted.columns.iter().map(NotedColumn::column).collect(), values })
    }

    /// The values of a row, in the order of the columns.
    pub(super) fn of(&self, row: Row) -> impl Iterator<Item = Option<Value>> {
        let first = row as usize * self.columns.len();
        let values = &self.values[first..first + self.columns.len()];
        values.iter().map(|&value| (!value.is_nan()).then(|| Value::whole(value)))
    }
}
