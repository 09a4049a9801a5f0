//! `lpips compare`: opens the runs, measures every two of them, tests, and reports.

mod history;
mod json;
mod markdown;
mod matching;
mod measure;
mod mismatch;
mod report;
mod setup;
mod table;
mod test;
mod text;

use std::io::IsTerminal as _;

use self::measure::{Measured, measure};
pub(super) use self::mismatch::no_method;
use self::report::Report;
use self::setup::{Setup, Unit};
use self::text::Colour;
use super::inputs::{ColumnOptions, Input};
use super::protocol::Protocol;
use super::{gates, outputs};
use crate::cli::CompareArgs;
use crate::compare::assess::Settings;
use crate::compare::gate::{About, SyntaxError};
use crate::compare::subsets::Draws;
use crate::error::{Exit, Refusal};
use crate::progress::print_line;
use crate::run::cells::TextCells;

/// Compares runs.
///
/// # Errors
/// When a run cannot be read, runs do not fit together, or a report cannot be written.
pub fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    check_outputs(args)?;
    let gates = gates::parse(&args.fail_if)?;
    let columns = ColumnOptions::parse(args.id_column.as_ref(), &args.metric);
    let open = |texts: &[String]| -> anyhow::Result<Vec<Input>> {
        texts.iter().map(|text| Input::open(text, &columns)).collect()
    };
    let (inputs, nulls) = (open(&args.runs)?, open(&args.null)?);
    let pairs = Pairs::of(inputs, args)?;
    let all: Vec<&Input> = pairs.inputs.iter().chain(&nulls).collect();
    let protocol = Protocol::of(&all, &columns, &args.allow)?;
    let setup = Setup {
        metrics: protocol.metrics.iter().map(|metric| metric.name.clone()).collect(),
        group_by: args.group_by.clone(),
        unit: match args.unit.as_str() {
            "item" => Unit::Item,
            "pair" => Unit::Pair,
            column => Unit::Column(column.to_owned()),
        },
        mapped: mapped(&args.map_method)?,
        gates: gates::resolve(gates, &protocol.directions(), About::Worsening)?,
        intersect: args.intersect,
        top: args.top,
    };
    let settings = settings(args, &setup);
    if args.history {
        let text = history::report(&pairs, &setup, &protocol, &settings, args.digits.into())?;
        return outputs::write(&text, None).map(|()| Exit::Complete);
    }
    let mut measured = Vec::new();
    for (base, new) in pairs.each() {
        measured.push(measure(base, new, &setup, &protocol.promises(base, new))?);
    }
    refuse_idle_gates(&measured, &setup)?;
    let noise = test::noise(&nulls, &setup, &protocol, &settings)?;
    let test = test::Test { pairs: &pairs, setup: &setup, protocol: &protocol, settings };
    let report = test.report(measured, noise, args.digits.into());
    publish(&report, args)?;
    Ok(if report.gates_held() { Exit::Complete } else { Exit::Gate })
}

/// Which runs are compared with which.
#[derive(Debug)]
pub(super) struct Pairs {
    inputs: Vec<Input>,
    /// Baseline and new run.
    indices: Vec<(usize, usize)>,
}

impl Pairs {
    fn of(mut inputs: Vec<Input>, args: &CompareArgs) -> anyhow::Result<Pairs> {
        if let Some(base) = &args.base {
            inputs = methods_as_inputs(inputs, base)?;
        }
        // The first night's history is one line.
        if inputs.len() < 2 && !args.history {
            return Err(Refusal::usage("one run cannot be compared with itself")
                .hint("name two runs, or one run and the method to compare with: `--base METHOD`")
                .into());
        }
        let indices = match args.matrix {
            true => (0..inputs.len())
                .flat_map(|base| (base + 1..inputs.len()).map(move |new| (base, new)))
                .collect(),
            false => (1..inputs.len()).map(|new| (0, new)).collect(),
        };
        Ok(Pairs { inputs, indices })
    }

    fn each(&self) -> impl Iterator<Item = (&Input, &Input)> {
        self.indices.iter().map(|&(base, new)| (&self.inputs[base], &self.inputs[new]))
    }
}

/// The methods of one run, each as a run: `base` first.
fn methods_as_inputs(inputs: Vec<Input>, base: &str) -> anyhow::Result<Vec<Input>> {
    let [run] = <[Input; 1]>::try_from(inputs).map_err(|inputs| {
        Refusal::usage(format!("`--base` is about one run, and {} are named", inputs.len()))
            .hint("name one run; RUN@METHOD is one method of a run")
    })?;
    let methods = mismatch::methods(&run)?;
    if !methods.contains(base) {
        return Err(mismatch::no_method(&run, base)?.into());
    }
    let others = methods.iter().filter(|method| *method != base);
    let all = [base.to_owned()].into_iter().chain(others.cloned());
    let inputs: Vec<Input> = all
        .map(|method| Input { label: method.clone(), method: Some(method), ..run.clone() })
        .collect();
    if inputs.len() < 2 {
        let text = format!("`{}` has no method but `{base}`", run.table.display());
        return Err(Refusal::inputs(text).hint("name a run of several methods").into());
    }
    Ok(inputs)
}

fn settings(args: &CompareArgs, setup: &Setup) -> Settings {
    let mut levels = Vec::new();
    for (gate, _) in &setup.gates {
        levels.extend(gate.level.filter(|level| !levels.contains(level)));
    }
    Settings {
        confidence: args.confidence,
        margin: args.margin,
        draws: Draws { resamples: args.resamples, seed: args.seed },
        levels,
    }
}

fn mapped(texts: &[String]) -> Result<Vec<(String, String)>, Refusal> {
    let split = |text: &String| match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => {
            Ok((old.to_owned(), new.to_owned()))
        }
        _ => Err(Refusal::usage(format!("cannot read `--map-method {text}`"))
            .hint("write OLD=NEW: the method's name in the baseline, and in the new run")),
    };
    texts.iter().map(split).collect()
}

/// A gate about a group that does not exist would hold for ever.
fn refuse_idle_gates(measured: &[Measured], setup: &Setup) -> Result<(), Refusal> {
    let is_idle = |gate: &usize| measured.iter().all(|one| one.idle_gates.contains(gate));
    let Some(idle) = (0..setup.gates.len()).find(is_idle) else { return Ok(()) };
    let (gate, _) = &setup.gates[idle];
    let value = gate.scope.iter().flat_map(|scope| &scope.groups).map(|(_, value)| value).next();
    let message = "expected a group that has pairs".to_owned();
    Err(gates::unreadable(&SyntaxError::in_scope(gate, value.map_or("", String::as_str), message)))
}

fn check_outputs(args: &CompareArgs) -> Result<(), Refusal> {
    let outputs = [&args.markdown, &args.json, &args.bench_json, &args.csv];
    outputs::check(&outputs)?;
    if args.history && outputs.into_iter().flatten().next().is_some() {
        return Err(Refusal::usage("`--history` is printed as text only")
            .hint("leave `--markdown`, `--json`, `--bench-json` and `--csv` out"));
    }
    Ok(())
}

/// Writes all outputs. The text goes to stdout unless another format does; then people read the
/// verdict and the gates on stderr.
fn publish(report: &Report, args: &CompareArgs) -> anyhow::Result<()> {
    let outputs = [&args.markdown, &args.json, &args.bench_json, &args.csv];
    if let Some(path) = &args.markdown {
        outputs::write(markdown::report(report).as_bytes(), Some(path))?;
    }
    if let Some(path) = &args.json {
        outputs::write(&outputs::pretty(&json::report(report))?, Some(path))?;
    }
    if let Some(path) = &args.bench_json {
        outputs::write(&outputs::pretty(&json::bench(report))?, Some(path))?;
    }
    if let Some(path) = &args.csv {
        outputs::write(
            &table::csv(report, &args.group_by, TextCells::of(args.csv_safe))?,
            Some(path),
        )?;
    }
    if outputs::go_to_stdout(&outputs) {
        print_line(text::head(report, Colour::Never).trim_end());
        return Ok(());
    }
    let has_colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let colour = if has_colour { Colour::Always } else { Colour::Never };
    outputs::write(text::report(report, colour).as_bytes(), None)
}
