//! Rows of a run's table, read strictly: what cannot be a score stops the comparison with its line.

use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::Context as _;
use csv::StringRecord;
use xxhash_rust::xxh3::xxh3_64;

use super::inputs::Input;
use crate::error::Refusal;
use crate::regular;

/// Bytes that are read from a file at once.
const BUFFER_BYTES: usize = 1 << 18;

/// Which columns of a table are read.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    id: usize,
    item: Option<usize>,
    method: Option<usize>,
    size: Option<[usize; 2]>,
    paths: [Option<usize>; 2],
    metrics: Vec<usize>,
    groups: Vec<usize>,
    unit: Option<usize>,
}

impl Layout {
    /// The columns of `input` for these metrics, group columns, and the column of units, if it is
    /// neither the item nor the pair.
    pub(super) fn of(
        input: &Input,
        metrics: &[String],
        groups: &[String],
        unit: Option<&str>,
    ) -> anyhow::Result<Layout> {
        let required = |names: &[String], option: &str| -> anyhow::Result<Vec<usize>> {
            names.iter().map(|name| input.require(name, option)).collect()
        };
        Ok(Layout {
            id: input.require(&input.id_column, "--id-column")?,
            item: input.column("item"),
            method: input.column("method"),
            size: input.column("width").zip(input.column("height")).map(Into::into),
            paths: ["ref", "dist"].map(|name| input.column(name)),
            metrics: required(metrics, "--metric")?,
            groups: required(groups, "--group-by")?,
            unit: unit.map(|name| input.require(name, "--unit")).transpose()?,
        })
    }
}

/// One row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    record: &'a StringRecord,
    layout: &'a Layout,
    /// Number of the row, counted from 0.
    pub(super) index: usize,
    /// Line of the file, counted from 1.
    pub(super) line: u64,
    /// NaN where there is no score.
    pub(super) values: &'a [f64],
}

impl<'a> Row<'a> {
    fn cell(&self, column: Option<usize>) -> &'a str {
        column.and_then(|column| self.record.get(column)).unwrap_or_default()
    }

    pub(super) fn id(&self) -> &'a str {
        self.cell(Some(self.layout.id))
    }

    /// The item; the id if there is no such column.
    pub(super) fn item(&self) -> &'a str {
        self.cell(self.layout.item.or(Some(self.layout.id)))
    }

    pub(super) fn method(&self) -> &'a str {
        self.cell(self.layout.method)
    }

    /// What pairs are averaged by: a column, or the item.
    pub(super) fn unit(&self) -> &'a str {
        match self.layout.unit {
            Some(column) => self.cell(Some(column)),
            None => self.item(),
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &'a str> {
        self.layout.groups.iter().map(|&column| self.cell(Some(column)))
    }

    /// Paths of the reference and the distorted image.
    pub(super) fn paths(&self) -> [&'a str; 2] {
        self.layout.paths.map(|column| self.cell(column))
    }

    /// Width and height as they are written; empty if unknown.
    pub(super) fn size(&self) -> [&'a str; 2] {
        self.layout.size.map_or([""; 2], |size| size.map(|column| self.cell(Some(column))))
    }

    /// A hash of size and, where it is known, content of the reference; 0 if nothing is known.
    pub(super) fn contents(&self, reference: Option<u32>) -> u32 {
        let [width, height] = self.size();
        if width.is_empty() {
            return 0;
        }
        let reference = reference.unwrap_or(0);
        let hash = xxh3_64(format!("{width}x{height}:{reference}").as_bytes());
        (hash as u32).max(1)
    }
}

/// Calls `visit` for every row.
///
/// # Errors
/// A [`Refusal`] with the line of what cannot be read; whatever `visit` returns.
pub(super) fn each(
    input: &Input,
    layout: &Layout,
    mut visit: impl FnMut(&Row<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let path = &input.table;
    let file = regular::open(path)?;
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(BUFFER_BYTES).from_reader(file);
    let mut record = StringRecord::new();
    let mut values = vec![0.0; layout.metrics.len()];
    let mut index = 0;
    let mut last = (0, 1);
    loop {
        let line = reader.position().line().max(1);
        let has_more = reader.read_record(&mut record).map_err(|error| damaged(path, &error))?;
        if !has_more {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        let start = record.position().map_or(0, csv::Position::byte);
        last = (start, line);
        for (value, &column) in values.iter_mut().zip(&layout.metrics) {
            let cell = record.get(column).unwrap_or_default();
            *value = number(cell).with_context(|| {
                let name = &input.header[column];
                Refusal::inputs(format!(
                    "`{}` line {line}: `{cell}` in column `{name}` is no number",
                    path.display()
                ))
                .hint("leave the cell empty if the pair has no score")
            })?;
        }
        let row = Row { record: &record, layout, index, line, values: &values };
        if row.id().is_empty() {
            let text = format!("`{}` line {line}: the id is empty", path.display());
            return Err(Refusal::inputs(text).hint("every row needs an id of its own").into());
        }
        visit(&row)?;
        index += 1;
    }
    refuse_open_quote(path, last)?;
    match input.rows {
        Some(expected) if expected != index => {
            let text =
                format!("`{}` is damaged: {index} rows, expected {expected}", path.display());
            let run = path.parent().unwrap_or(Path::new(".")).display();
            Err(Refusal::inputs(text).hint(format!("`lpips merge {run}` writes it again")).into())
        }
        _ if index == 0 => Err(Refusal::inputs(format!("`{}` has no rows", path.display()))
            .hint("name a table with a row for each pair")
            .into()),
        _ => Ok(()),
    }
}

/// A quote that is never closed makes the rest of a file one cell of its last record, which starts
/// at this byte and line.
fn refuse_open_quote(path: &Path, (start, line): (u64, u64)) -> anyhow::Result<()> {
    let mut file = regular::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut is_open = false;
    for byte in BufReader::new(file).bytes() {
        is_open ^= byte? == b'"';
    }
    if is_open {
        let text = format!("`{}` line {line}: a quoted cell has no end here", path.display());
        return Err(Refusal::inputs(text).hint("look for a stray `\"` in this line").into());
    }
    Ok(())
}

/// A score; NaN for an empty cell or one that says NaN.
fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    if cell.is_empty() { Some(f64::NAN) } else { cell.parse().ok() }
}

fn damaged(path: &Path, error: &csv::Error) -> Refusal {
    let line = error.position().map(|at| format!(" line {}", at.line())).unwrap_or_default();
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} cells, found {len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    Refusal::inputs(format!("`{}`{line}: {what}", path.display()))
        .hint("the file is damaged or cut; write it again, `lpips merge RUN` does so for a run")
}
