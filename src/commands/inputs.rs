//! The runs of a comparison: where their rows are, which metrics they have, and what decided the
//! numbers.

mod argument;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::argument::{Argument, is_table_of_run};
use crate::column::{Better, Column, Fingerprint, Origin};
use crate::compare::tolerance::Promise;
use crate::error::Refusal;
use crate::regular;
use crate::run::cells::TextCells;
use crate::run::finished::Stored;
use crate::run::outputs::NotedColumn;
use crate::run::plan::Plan;
use crate::run::tables::Tables;
use crate::run::{RunDir, names};
use crate::spool::Spool;
use crate::suggest::nearest;

/// Largest run.json that is read.
const FACTS_BYTES_MAX: u64 = 64 << 20;
/// Columns by which a table of this program is recognised.
const OURS: [&str; 8] = ["id", "item", "method", "ref", "dist", "width", "height", "status"];
/// Names of metrics that this program writes, as they begin, and which direction is better.
const KNOWN: [(&str, Better); 5] = [
    ("lpips_", Better::Lower),
    ("baseline_", Better::Lower),
    ("dists", Better::Lower),
    ("psnr_", Better::Higher),
    ("ssim_", Better::Higher),
];

/// What the user said about columns.
#[derive(Clone, Debug, Default)]
pub(super) struct ColumnOptions {
    /// `--id-column`.
    pub(super) id: Option<String>,
    /// `--metric`.
    pub(super) metrics: Vec<(String, Option<Better>)>,
}

impl ColumnOptions {
    /// Reads `--metric NAME[:lower|higher]`.
    pub(super) fn parse(id: Option<&String>, metrics: &[String]) -> ColumnOptions {
        let metric = |text: &String| match text.rsplit_once(':') {
            Some((name, "lower")) => (name.to_owned(), Some(Better::Lower)),
            Some((name, "higher")) => (name.to_owned(), Some(Better::Higher)),
            _ => (text.clone(), None),
        };
        ColumnOptions { id: id.cloned(), metrics: metrics.iter().map(metric).collect() }
    }

    fn better(&self, name: &str) -> Option<Better> {
        let given = self.metrics.iter().find(|(metric, _)| metric == name);
        let known = KNOWN.iter().find(|(start, _)| name.starts_with(start));
        given.and_then(|&(_, better)| better).or(known.map(|&(_, better)| better))
    }
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Input {
    /// What it is called in the report.
    pub(super) label: String,
    /// The CSV file of its rows.
    pub(super) table: PathBuf,
    /// The run directory, if it is one.
    pub(super) run_dir: Option<PathBuf>,
    /// The only method to compare.
    pub(super) method: Option<String>,
    /// The header of the table.
    pub(super) header: Vec<String>,
    /// Name of the column of ids.
    pub(super) id_column: String,
    /// The metrics, in the order of the table.
    pub(super) metrics: Vec<Metric>,
    /// Within it bits are equal; `None` if unknown.
    pub(super) numerics_class: Option<String>,
    /// When the run was finished, UTC.
    pub(super) finished: Option<String>,
    /// Rows that were not tried; more than none if the run is not finished.
    pub(super) missing: usize,
    /// The folder that paths of images are relative to, if it is known.
    pub(super) folder: Option<PathBuf>,
    /// The columns that the run was grouped by.
    pub(super) group_by: Vec<String>,
    /// Rows that the table must have.
    pub(super) rows: Option<usize>,
}

/// A metric column of a run.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) better: Better,
    /// `None` if it is not known how the numbers were made.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) promise: Promise,
}

impl Metric {
    fn of(column: &Column) -> Metric {
        let is_fp32 = column.fingerprint.get("prec") == Some("fp32");
        let promise = match column.from {
            Origin::Pixels(_) | Origin::Joined { .. } => Promise::Exact,
            _ if is_fp32 => Promise::Fp32,
            _ => Promise::Exact,
        };
        Metric {
            name: column.name.clone(),
            better: column.better,
            fingerprint: Some(column.fingerprint.clone()),
            promise,
        }
    }

    /// The fingerprint as one line.
    pub(super) fn signature(&self) -> String {
        match &self.fingerprint {
            Some(fingerprint) => fingerprint.signature(),
            None => format!("{}|protocol:unknown", self.name),
        }
    }
}

impl Input {
    /// Opens `[LABEL=]RUN[@METHOD]`. A path that exists wins over the reading as label or method.
    pub(super) fn open(text: &str, columns: &ColumnOptions) -> anyhow::Result<Input> {
        Input::open_with(text, columns, None)
    }

    /// As [`Self::open`]; of a run that is not finished, a table is made in `spool`.
    pub(super) fn open_unfinished(
        text: &str,
        columns: &ColumnOptions,
        spool: &Spool,
    ) -> anyhow::Result<Input> {
        Input::open_with(text, columns, Some(spool))
    }

    fn open_with(
        text: &str,
        columns: &ColumnOptions,
        spool: Option<&Spool>,
    ) -> anyhow::Result<Input> {
        let Argument { label, path, method } = Argument::read(text)?;
        let mut input = if path.is_dir() {
            Input::of_run(&path, spool)?
        } else if is_table_of_run(&path) {
            let folder = path.parent().unwrap_or(Path::new(""));
            Input::of_run(folder, spool)?
        } else {
            Input::of_table(&path, columns)?
        };
        input.label = label;
        input.method = method;
        Ok(input)
    }

    fn of_run(path: &Path, spool: Option<&Spool>) -> anyhow::Result<Input> {
        let shown = path.display();
        let run_dir = RunDir::existing(path)?;
        let plan = Plan::of(&run_dir)?.plan;
        let table = run_dir.file(names::PAIRS);
        let facts = run_dir.file(names::RUN);
        if !facts.exists() || !table.exists() {
            if let Some(spool) = spool {
                return Input::of_journals(path, spool);
            }
            let text = format!("the run `{shown}` is not finished: no `{}`", names::RUN);
            return Err(Refusal::inputs(text)
                .hint(format!("`lpips merge {shown}` finishes it, or prints what is missing"))
                .into());
        }
        let facts: serde_json::Value =
            serde_json::from_slice(&regular::read(&facts, FACTS_BYTES_MAX)?).with_context(
                || {
                    Refusal::inputs(format!("`{}` is damaged", facts.display()))
                        .hint(format!("`lpips merge {shown}` writes it again"))
                },
            )?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        // Without a direction there is nothing to compare by.
        let joined = serde_json::from_value(facts["provenance"]["joined"].clone());
        let joined: Vec<NotedColumn> = joined.unwrap_or_default();
        let joined = joined.iter().map(NotedColumn::column);
        let joined: Vec<Column> = joined.filter(Column::is_ranked).collect();
        Ok(Input {
            header: header(&table)?,
            table,
            id_column: "id".to_owned(),
            metrics: plan.columns.iter().chain(&joined).map(Metric::of).collect(),
            numerics_class: text(&facts["fingerprint"]["numerics_class"])
                .or(Some(plan.numerics_class)),
            finished: text(&facts["provenance"]["finished"]),
            folder: text(&facts["provenance"]["inputs"]["folder"]).map(PathBuf::from),
            missing: 0,
            group_by: plan.group_by,
            rows: Some(plan.pairs),
            run_dir: Some(path.to_owned()),
            label: String::new(),
            method: None,
        })
    }

    /// A run that is not finished: the table of what its journals hold.
    fn of_journals(path: &Path, spool: &Spool) -> anyhow::Result<Input> {
        let stored = Stored::open(path)?;
        let plan = &stored.frozen.plan;
        let number = fs_err::read_dir(spool.path())?.count();
        let table = spool.path().join(format!("{number}.csv"));
        let tables = Tables {
            manifest: &stored.manifest,
            records: &stored.records,
            columns: &plan.columns,
            per_layer: false,
            group_by: &[],
            text: TextCells::default(),
        };
        tables.write_pairs(&mut fs_err::File::create(&table)?)?;
        Ok(Input {
            header: header(&table)?,
            table,
            id_column: "id".to_owned(),
            metrics: plan.columns.iter().map(Metric::of).collect(),
            numerics_class: Some(plan.numerics_class.clone()),
            finished: None,
            folder: stored.records.folder().map(PathBuf::from),
            missing: stored.missing(),
            group_by: plan.group_by.clone(),
            rows: Some(plan.pairs),
            run_dir: Some(path.to_owned()),
            label: String::new(),
            method: None,
        })
    }

    fn of_table(path: &Path, columns: &ColumnOptions) -> anyhow::Result<Input> {
        let header = header(path)?;
        let is_ours = OURS.iter().all(|name| header.iter().any(|column| column == name));
        let id_column = match &columns.id {
            Some(name) if !is_ours => find(path, &header, name, "--id-column")?,
            _ if header.iter().any(|column| column == "id") => "id".to_owned(),
            _ => return Err(foreign(path, &header, "it has no column `id`").into()),
        };
        let named: Vec<String> = match (columns.metrics.is_empty(), is_ours) {
            (false, _) => columns.metrics.iter().map(|(name, _)| name.clone()).collect(),
            (true, true) => metrics_of_ours(&header),
            (true, false) => {
                return Err(foreign(path, &header, "lpips did not write it").into());
            }
        };
        let mut metrics = Vec::new();
        for name in named {
            let name = find(path, &header, &name, "--metric")?;
            let Some(better) = columns.better(&name) else {
                let text = format!("`{}`: is lower or higher `{name}` better?", path.display());
                let hint = format!("say so: `--metric {name}:lower` or `--metric {name}:higher`");
                return Err(Refusal::usage(text).hint(hint).into());
            };
            metrics.push(Metric { name, better, fingerprint: None, promise: Promise::Exact });
        }
        Ok(Input {
            table: path.to_owned(),
            header,
            id_column,
            metrics,
            run_dir: None,
            numerics_class: None,
            finished: None,
            missing: 0,
            folder: None,
            group_by: Vec::new(),
            rows: None,
            label: String::new(),
            method: None,
        })
    }

    /// The metric of this name.
    pub(super) fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }

    /// The place of a column of the table.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// The place of a column that an option names.
    pub(super) fn require(&self, name: &str, option: &str) -> anyhow::Result<usize> {
        find(&self.table, &self.header, name, option)?;
        self.column(name).context("the column was found")
    }

    /// Whether it is known how the numbers of this metric were made.
    pub(super) fn protocol_is_known(&self, name: &str) -> bool {
        self.metric(name).is_some_and(|metric| metric.fingerprint.is_some())
    }
}

fn header(path: &Path) -> anyhow::Result<Vec<String>> {
    let damaged = || {
        Refusal::inputs(format!("`{}` cannot be read as CSV", path.display()))
            .hint("name a run directory, a pairs.csv or another CSV file with a header")
    };
    let mut reader = csv::Reader::from_reader(regular::open(path)?);
    let header = reader.headers().with_context(damaged)?;
    if header.is_empty() || header.iter().all(str::is_empty) {
        return Err(anyhow::anyhow!("it is empty").context(damaged()));
    }
    // Excel writes a byte order mark.
    let names = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned());
    Ok(names.collect())
}

/// The columns between the size and the status, without those of layers.
fn metrics_of_ours(header: &[String]) -> Vec<String> {
    let place = |name: &str| header.iter().position(|column| column == name);
    let range = place("height").map_or(0, |at| at + 1)..place("status").unwrap_or(0);
    let columns = header.get(range).unwrap_or_default();
    let is_layer = |name: &String| {
        name.rsplit_once("_layer").is_some_and(|(_, n)| n.bytes().all(|b| b.is_ascii_digit()))
    };
    columns.iter().filter(|name| !is_layer(name)).cloned().collect()
}

fn find(path: &Path, header: &[String], name: &str, option: &str) -> Result<String, Refusal> {
    if header.iter().any(|column| column == name) {
        return Ok(name.to_owned());
    }
    let near = nearest(name, header.iter().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let text = format!("`{}` has no column `{name}`, which `{option}` names", path.display());
    Err(Refusal::usage(text).hint(format!("{near}its columns are {}", listed(header))))
}

fn foreign(path: &Path, header: &[String], why: &str) -> Refusal {
    Refusal::usage(format!("which columns of `{}` are compared? {why}", path.display())).hint(
        format!(
            "name them with `--id-column NAME` and `--metric NAME:lower` or `NAME:higher`; its \
             columns are {}",
            listed(header)
        ),
    )
}

/// Names of columns, not too many of them.
fn listed(header: &[String]) -> String {
    const MAX: usize = 20;
    let names: Vec<String> = header.iter().take(MAX).map(|name| format!("`{name}`")).collect();
    let more = header.len().saturating_sub(MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
