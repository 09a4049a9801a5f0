//! The rows of all runs -> a board.

use std::collections::{BTreeMap, BTreeSet};

use super::super::compare::no_method;
use super::super::inputs::{self, ColumnOptions, Input};
use super::super::protocol::Protocol;
use super::super::references::References;
use super::super::rows::{Layout, Row, each};
use crate::cli::ReportArgs;
use crate::compare::align::unit_of;
use crate::compare::assess::Settings;
use crate::compare::ranking::{Entries, Sorted};
use crate::decimal::counted;
use crate::error::Refusal;
use crate::report::{Board, Group, Metric, RunFacts};
use crate::spool::Spool;

/// The column that methods are named in.
const METHOD: &str = "method";

/// The board, and what pairs are chosen from.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) board: Board,
    pub(super) sorted: Sorted,
    /// Scores by metric and row; NaN where there is none.
    pub(super) values: Vec<Vec<f64>>,
    pub(super) inputs: Vec<Input>,
    layouts: Vec<Layout>,
}

impl Gathered {
    /// Calls `visit` with the input and the number of every row that takes part.
    pub(super) fn each(
        &self,
        mut visit: impl FnMut(&Input, u32, &Row<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut number = 0;
        for (input, layout) in self.inputs.iter().zip(&self.layouts) {
            each_of(input, layout, |row| {
                number += 1;
                visit(input, number - 1, row)
            })?;
        }
        Ok(())
    }
}

/// Reads the runs and ranks their methods.
///
/// # Errors
/// When a run cannot be read, or runs do not fit together.
pub(super) fn gather(args: &ReportArgs, spool: &Spool) -> anyhow::Result<Gathered> {
    let columns = ColumnOptions::parse(args.id_column.as_ref(), &args.metric);
    let open = |text: &String| Input::open_unfinished(text, &columns, spool);
    let inputs: Vec<Input> = args.runs.iter().map(open).collect::<anyhow::Result<_>>()?;
    refuse_equal_labels(&inputs)?;
    let all: Vec<&Input> = inputs.iter().collect();
    let protocol = Protocol::of(&all, &columns, &args.allow)?;
    let metrics: Vec<String> = protocol.metrics.iter().map(|one| one.name.clone()).collect();
    let group_by = group_by(args, &inputs);
    let layout = |input: &Input| Layout::of(input, &metrics, &group_by, None);
    let layouts: Vec<Layout> = inputs.iter().map(layout).collect::<anyhow::Result<_>>()?;

    let mut table = Table::new(&inputs, metrics.len());
    let references = References::of_all(&all)?;
    let mut runs = Vec::new();
    for (index, (input, layout)) in inputs.iter().zip(&layouts).enumerate() {
        let first = table.entries.len();
        each_of(input, layout, |row| {
            table.add(index, row, references[index].of(row.index));
            Ok(())
        })?;
        if table.entries.len() == first {
            let method = input.method.as_deref().unwrap_or_default();
            return Err(no_method(input, method)?.into());
        }
        let failed = table.values[0][first..].iter().filter(|value| value.is_nan()).count();
        runs.push(RunFacts {
            label: input.label.clone(),
            finished: input.finished.clone(),
            pairs: table.entries.len() - first,
            failed: failed.saturating_sub(input.missing),
            missing: input.missing,
        });
    }
    let Table { mut entries, values, contents, origins } = table;
    entries.methods = names(&inputs, &origins)?;
    let sorted = entries.sorted();
    if let Some(contents) = contents {
        refuse_other_contents(&sorted, &contents, &inputs)?;
    }

    let settings = Settings { confidence: args.confidence, ..Settings::default() };
    let rank = |group: usize| Group {
        values: sorted.groups[group].clone(),
        rankings: (protocol.metrics.iter().zip(&values))
            .map(|(metric, values)| sorted.rank(group, values, metric.better, &settings))
            .collect(),
    };
    let of = |metric: &inputs::Metric| Metric { name: metric.name.clone(), better: metric.better };
    let board = Board {
        runs,
        methods: sorted.methods.clone(),
        groups: (0..sorted.groups.len()).map(rank).collect(),
        group_by,
        metrics: protocol.metrics.iter().map(of).collect(),
        signatures: protocol.signatures,
        warnings: protocol.warnings,
        digits: args.digits.into(),
        settings,
    };
    Ok(Gathered { board, sorted, values, inputs, layouts })
}

/// Rows as they come.
struct Table {
    entries: Entries,
    values: Vec<Vec<f64>>,
    /// A hash of size and content of the reference of each row; `None` for one run.
    contents: Option<Vec<u32>>,
    /// Run and method of each method of the entries.
    origins: Vec<(usize, String)>,
}

impl Table {
    fn new(inputs: &[Input], metrics: usize) -> Table {
        let rows = inputs.iter().filter_map(|input| input.rows).sum();
        Table {
            entries: Entries::with_capacity(rows),
            values: vec![Vec::with_capacity(rows); metrics],
            contents: (inputs.len() > 1).then(|| Vec::with_capacity(rows)),
            origins: Vec::new(),
        }
    }

    fn add(&mut self, input: usize, row: &Row<'_>, reference: Option<u32>) {
        let key = format!("{input}\0{}", row.method());
        self.entries.push(&key, row.groups(), unit_of(row.item()));
        if self.origins.len() < self.entries.methods.len() {
            self.origins.push((input, row.method().to_owned()));
        }
        for (values, &value) in self.values.iter_mut().zip(row.values) {
            values.push(value);
        }
        if let Some(contents) = &mut self.contents {
            contents.push(row.contents(reference));
        }
    }
}

/// Calls `visit` for every row of a run that takes part.
fn each_of(
    input: &Input,
    layout: &Layout,
    mut visit: impl FnMut(&Row<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    each(input, layout, |row| match &input.method {
        Some(method) if method != row.method() => Ok(()),
        _ => visit(row),
    })
}

/// The columns of `--group-by`, or those that the first run was grouped by if all runs have them.
fn group_by(args: &ReportArgs, inputs: &[Input]) -> Vec<String> {
    let is_group = |name: &&String| *name != METHOD;
    if let Some(named) = &args.group_by {
        return named.iter().filter(is_group).cloned().collect();
    }
    let has_all = |name: &&String| inputs.iter().all(|input| input.column(name).is_some());
    inputs[0].group_by.iter().filter(is_group).filter(has_all).cloned().collect()
}

fn refuse_equal_labels(inputs: &[Input]) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    match inputs.iter().find(|input| !seen.insert(input.label.as_str())) {
        None => Ok(()),
        Some(twice) => Err(Refusal::usage(format!("two runs are called `{}`", twice.label))
            .hint("give them labels: `first=RUN second=RUN`")),
    }
}

/// What methods are called: by their name if only one run has it; a run without methods by its
/// label.
fn names(inputs: &[Input], origins: &[(usize, String)]) -> Result<Vec<String>, Refusal> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, method) in origins {
        *counts.entry(method).or_default() += 1;
    }
    let name = |(input, method): &(usize, String)| {
        let label = &inputs[*input].label;
        match counts[method.as_str()] {
            _ if method.is_empty() => label.clone(),
            1 => method.clone(),
            _ if label.ends_with(&format!("@{method}")) => label.clone(),
            _ => format!("{label}@{method}"),
        }
    };
    let names: Vec<String> = origins.iter().map(name).collect();
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        None => Ok(names),
        Some(twice) => Err(Refusal::usage(format!("two methods are called `{twice}`"))
            .hint("give the runs other labels: `LABEL=RUN`")),
    }
}

/// Methods are joined by item, so an item must be one image in all runs.
fn refuse_other_contents(
    sorted: &Sorted,
    contents: &[u32],
    inputs: &[Input],
) -> Result<(), Refusal> {
    let mut differing = 0;
    for group in 0..sorted.groups.len() {
        sorted.items(group, |_, pairs| {
            // An item may have several references, which every method then has.
            let of_method = |pairs: &[(usize, u32)]| {
                let mut known: Vec<u32> =
                    pairs.iter().map(|&(_, row)| contents[row as usize]).collect();
                known.sort_unstable();
                known
            };
            let mut methods = pairs.chunk_by(|a, b| a.0 == b.0).map(of_method);
            let Some(first) = methods.next() else { return };
            let is_known = |known: &[u32]| known.iter().all(|&contents| contents != 0);
            let differs = |other: Vec<u32>| {
                other.len() == first.len() && is_known(&other) && is_known(&first) && other != first
            };
            differing += usize::from(methods.any(differs));
        });
    }
    if differing == 0 {
        return Ok(());
    }
    let labels: Vec<String> = inputs.iter().map(|input| format!("`{}`", input.label)).collect();
    let (items, labels) = (counted(differing, "item"), labels.join(", "));
    let text = format!("the reference images of {items} differ in {labels}");
    Err(Refusal::inputs(text).hint(
        "report runs of the same data set; `lpips compare` of two of the runs names a pair that \
         differs",
    ))
}
