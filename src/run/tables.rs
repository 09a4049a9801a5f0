//! pairs.csv and summary.csv: the journal's records as tables, in manifest order.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Context as _;
use xxhash_rust::xxh3::xxh3_64;

use super::cells::{ALL, TextCells, group_cell};
use super::counts::Counts;
use super::identity::Methods;
use super::journal::Record;
use super::reads::Reads;
use super::records::Records;
use crate::batch::Row;
use crate::code::Code;
use crate::column::{Better, Column};
use crate::decimal::nine_digits;
use crate::error::Refusal;
use crate::manifest::{Entry, Manifest};
use crate::stats::{self, Observation, Summary, summarize};
use crate::suggest::nearest;

/// Columns of summary.csv after those of the groups.
const STATISTICS: [&str; 14] = [
    "metric",
    "expected",
    "scored",
    "failed",
    "complete",
    "mean",
    "std",
    "ci95_low",
    "ci95_high",
    "median",
    "p05",
    "p95",
    "min",
    "max",
];

/// What both tables are made from.
#[derive(Debug)]
pub struct Tables<'a> {
    /// Names and order of rows.
    pub manifest: &'a Manifest,
    /// Finished rows.
    pub records: &'a Records,
    /// Metric columns.
    pub columns: &'a [Column],
    /// Whether pairs.csv has a column per layer.
    pub per_layer: bool,
    /// Columns that summary.csv is grouped by.
    pub group_by: &'a [GroupColumn],
    /// How cells of text are written.
    pub text: TextCells,
}

/// A column that pairs can be grouped by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GroupColumn {
    /// `item`.
    Item,
    /// `method`.
    Method,
    /// The nth carried column, and its name.
    Carried(usize, String),
}

impl GroupColumn {
    /// Finds the column `name` of a manifest.
    ///
    /// # Errors
    /// A [`Refusal`] that lists the columns of the manifest, or the fields of the patterns that it
    /// was made from.
    pub fn find(name: &str, manifest: &Manifest) -> Result<GroupColumn, Refusal> {
        match name {
            "item" => return Ok(GroupColumn::Item),
            "method" => return Ok(GroupColumn::Method),
            _ => {}
        }
        if STATISTICS.contains(&name) {
            let text = format!("cannot group by `{name}`: summary.csv has a column of that name");
            return Err(Refusal::usage(text).hint("rename the column in the manifest"));
        }
        let carried = manifest.carried();
        match carried.iter().position(|column| column == name) {
            Some(index) => Ok(GroupColumn::Carried(index, name.to_owned())),
            None => {
                let names: Vec<&str> = ["item", "method"]
                    .into_iter()
                    .chain(carried.iter().map(String::as_str))
                    .collect();
                let near = nearest(name, names.iter().copied());
                let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
                Err(Refusal::usage(format!("no column `{name}` to group by"))
                    .hint(format!("{near}pairs can be grouped by: {}", names.join(", "))))
            }
        }
    }

    /// Finds the columns `names` of a manifest.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_all(names: &[String], manifest: &Manifest) -> Result<Vec<GroupColumn>, Refusal> {
        names.iter().map(|name| GroupColumn::find(name, manifest)).collect()
    }

    /// The header.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            GroupColumn::Item => "item",
            GroupColumn::Method => "method",
            GroupColumn::Carried(_, name) => name,
        }
    }

    /// The cell in a table, which is never [`ALL`].
    pub(super) fn written(&self, entry: &Entry) -> String {
        group_cell(self.cell(entry))
    }

    /// The cell of a row.
    #[must_use]
    pub fn cell<'e>(&self, entry: &'e Entry) -> &'e str {
        match self {
            GroupColumn::Item => &entry.item,
            GroupColumn::Method => &entry.method,
            GroupColumn::Carried(index, _) => &entry.carried[*index],
        }
    }
}

/// One line of summary.csv.
#[derive(Clone, PartialEq, Debug)]
pub struct SummaryRow {
    /// Cells of the group columns; [`ALL`] in the row of all pairs.
    pub group: Vec<String>,
    /// The metric column.
    pub metric: String,
    /// Which direction of it is better.
    pub better: Better,
    /// Pairs of the group.
    pub expected: usize,
    /// Pairs with this metric.
    pub scored: usize,
    /// The statistics; `None` when nothing was scored.
    pub summary: Option<Summary>,
}

impl SummaryRow {
    /// Whether every pair of the group has this metric.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.scored == self.expected
    }
}

impl Tables<'_> {
    /// Writes pairs.csv: a row per pair, in manifest order. Counts the rows that are finished.
    ///
    /// # Errors
    /// When the manifest or the journal cannot be read, or `out` cannot be written.
    pub fn write_pairs(&self, out: &mut dyn Write) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        let mut reads = Reads::of_rows(self.manifest.len());
        let mut methods = Methods::default();
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(self.pairs_header())?;
        let mut rows = self.manifest.rows()?;
        let mut records = self.records.reader(1);
        for row in 0..self.manifest.len() as Row {
            let entry = rows.read(row)?;
            let record = records.read(row)?;
            if let Some(record) = &record {
                counts.add(record, || Ok(entry.id.clone()))?;
                reads.add(&entry, &record.stamps);
                methods.add(&entry, record, self.columns);
                let mut values = self.columns.iter().zip(&record.values);
                counts.unjoined += usize::from(
                    values.any(|(column, value)| column.is_joined() && value.is_none()),
                );
            }
            csv.write_record(self.pair_cells(entry, record.as_ref()))?;
        }
        csv.flush()?;
        counts.changed = reads.changed(self.manifest, self.records)?;
        counts.identical = methods.identical();
        Ok(counts)
    }

    fn pairs_header(&self) -> Vec<String> {
        let mut header: Vec<String> =
            ["id", "item", "method", "ref", "dist"].map(String::from).into();
        let carried = self.manifest.carried().iter().cloned();
        header.extend(carried.map(|name| self.text.write(name)));
        header.extend(["width", "height"].map(String::from));
        for column in self.columns {
            header.push(column.name.clone());
            if self.per_layer {
                header.extend((0..column.parts).map(|part| column.part_name(part)));
            }
        }
        header.extend(["status", "error_code", "error"].map(String::from));
        header
    }

    /// Summarizes every column: all pairs first, then the groups in the order of their first row.
    ///
    /// # Errors
    /// When the manifest or the journal cannot be read.
    pub fn summarize(&self) -> anyhow::Result<Vec<SummaryRow>> {
        let mut all = Vec::new();
        let mut by_group = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let Collected { groups, expected, mut observations } = self.collect(index)?;
            all.push(SummaryRow {
                group: vec![ALL.to_owned(); self.group_by.len()],
                metric: column.name.clone(),
                better: column.better,
                expected: self.manifest.len(),
                scored: observations.len(),
                summary: summarize(&mut observations),
            });
            if self.group_by.is_empty() {
                continue;
            }
            let parts = stats::groups(&mut observations, groups.len());
            by_group.extend(groups.into_iter().zip(expected).zip(parts).map(
                |((group, expected), part)| SummaryRow {
                    group,
                    metric: column.name.clone(),
                    better: column.better,
                    expected,
                    scored: part.len(),
                    summary: summarize(part),
                },
            ));
        }
        Ok(all.into_iter().chain(by_group).collect())
    }

    /// The observations of one column with their groups.
    fn collect(&self, column: usize) -> anyhow::Result<Collected> {
        let mut numbers: HashMap<Vec<String>, u32> = HashMap::new();
        let mut collected = Collected::default();
        collected.observations.reserve_exact(self.manifest.len());
        let mut rows = self.manifest.rows()?;
        let mut records = self.records.reader(1);
        for row in 0..self.manifest.len() as Row {
            let entry = rows.read(row)?;
            let cells: Vec<String> =
                self.group_by.iter().map(|column| column.written(&entry)).collect();
            let next = u32::try_from(numbers.len()).context("too many groups")?;
            let group = *numbers.entry(cells).or_insert_with_key(|cells| {
                collected.groups.push(cells.clone());
                collected.expected.push(0);
                next
            });
            collected.expected[group as usize] += 1;
            if let Some(value) = records.read(row)?.and_then(|record| record.total(column)) {
                let item = xxh3_64(entry.item.as_bytes());
                collected.observations.push(Observation { item, group, value });
            }
        }
        Ok(collected)
    }

    fn pair_cells(&self, entry: Entry, record: Option<&Record>) -> Vec<String> {
        let text = [entry.id, entry.item, entry.method, entry.reference, entry.distorted];
        let text = text.into_iter().chain(entry.carried);
        let mut cells: Vec<String> = text.map(|cell| self.text.write(cell)).collect();
        match record.and_then(|record| record.size) {
            Some((width, height)) => cells.extend([width.to_string(), height.to_string()]),
            None => cells.extend([String::new(), String::new()]),
        }
        for (index, column) in self.columns.iter().enumerate() {
            let value = record.and_then(|record| record.value(index));
            let cell = |number: Option<f64>| number.map(nine_digits).unwrap_or_default();
            cells.push(cell(value.map(|value| value.total)));
            if self.per_layer {
                let parts = value.map(|value| value.parts.as_slice()).unwrap_or_default();
                cells.extend((0..column.parts).map(|part| cell(parts.get(part).copied())));
            }
        }
        match record.map(|record| &record.failure) {
            Some(None) if record.is_some_and(|record| record.rescored) => {
                cells.extend(
                    ["ok", Code::Fp16Overflow.as_str(), "overflowed in fp16, scored in fp32"]
                        .map(String::from),
                );
            }
            Some(None) => cells.extend(["ok".to_owned(), String::new(), String::new()]),
            Some(Some(failure)) => {
                let (code, message) = (failure.code.to_string(), failure.message.clone());
                cells.extend(["failed".to_owned(), code, self.text.write(message)]);
            }
            None => {
                let reason = "the run ended before this pair was scored";
                cells.extend(["failed", Code::NotRun.as_str(), reason].map(String::from));
            }
        }
        cells
    }

    /// Writes summary.csv.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_summary(&self, rows: &[SummaryRow], out: &mut dyn Write) -> anyhow::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(self.group_header().chain(STATISTICS.map(String::from)))?;
        for row in rows {
            let number = |of: fn(&Summary) -> Option<f64>| {
                row.summary.as_ref().and_then(of).map(nine_digits).unwrap_or_default()
            };
            let mut cells = self.text_cells(&row.group);
            cells.push(row.metric.clone());
            cells.extend(
                [row.expected, row.scored, row.expected - row.scored].map(|n| n.to_string()),
            );
            cells.push(if row.is_complete() { "yes" } else { "no" }.to_owned());
            cells.extend([
                number(|s| Some(s.mean)),
                number(|s| s.std),
                number(|s| s.ci95.map(|(low, _)| low)),
                number(|s| s.ci95.map(|(_, high)| high)),
                number(|s| Some(s.median)),
                number(|s| Some(s.p05)),
                number(|s| Some(s.p95)),
                number(|s| Some(s.min)),
                number(|s| Some(s.max)),
            ]);
            csv.write_record(cells)?;
        }
        Ok(csv.flush()?)
    }

    /// Headers of the group columns.
    pub(super) fn group_header(&self) -> impl Iterator<Item = String> {
        self.group_by.iter().map(|column| self.text.write(column.name().to_owned()))
    }

    pub(super) fn text_cells(&self, cells: &[String]) -> Vec<String> {
        cells.iter().map(|cell| self.text.write(cell.clone())).collect()
    }
}

#[derive(Debug, Default)]
struct Collected {
    groups: Vec<Vec<String>>,
    expected: Vec<usize>,
    observations: Vec<Observation>,
}
