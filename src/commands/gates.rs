//! `--fail-if`: conditions read, tied to metrics, and applied to the scores of one run.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Row;
use crate::column::{Better, Column};
use crate::compare::assess::{Assessment, Sample, Settings};
use crate::compare::gate::{About, Decision, Evidence, Gate, Outcome, SyntaxError};
use crate::decimal::nine_digits;
use crate::error::{Exit, Refusal};
use crate::manifest::Manifest;
use crate::progress::{print_line, shown};
use crate::run::tables::{GroupColumn, Tables};
use crate::stats::Sum;

/// The group that a condition can name although it is no carried column.
pub(super) const METHOD: &str = "method";

/// Reads conditions.
///
/// # Errors
/// A [`Refusal`] with carets under the word that cannot be read.
pub(super) fn parse(texts: &[String]) -> Result<Vec<Gate>, Refusal> {
    texts.iter().map(|text| Gate::parse(text).map_err(|error| unreadable(&error))).collect()
}

/// The message of a condition that cannot be read.
pub(super) fn unreadable(error: &SyntaxError) -> Refusal {
    Refusal::usage(format!("cannot read a condition of `--fail-if`: {error}")).hint(
        "write `[SCOPE:] STAT > LIMIT [@ 95%]`, such as `mean > 0.002 @ 95%` or \
         `lpips_alex[scale=x4]: share(0.01) > 5%`",
    )
}

/// Finds the metric of every condition, and checks that the condition has a meaning for it.
///
/// # Errors
/// A [`Refusal`] when there is no such metric, several could be meant, or the operator is wrong.
pub(super) fn resolve(
    gates: Vec<Gate>,
    metrics: &[(&str, Better)],
    about: About,
) -> Result<Vec<(Gate, usize)>, Refusal> {
    let listed = || {
        let names = metrics.iter().map(|(name, _)| format!("`{name}`"));
        names.collect::<Vec<_>>().join(", ")
    };
    let find = |gate: Gate| {
        let metric = match &gate.scope {
            Some(scope) => {
                let found = metrics.iter().position(|(name, _)| *name == scope.column);
                found.ok_or_else(|| {
                    let message = format!("expected one of the metrics {}", listed());
                    unreadable(&SyntaxError::in_scope(&gate, &scope.column, message))
                })?
            }
            None if metrics.len() == 1 => 0,
            None => {
                let text = format!("`{}` names no metric; there are {}", gate.text, listed());
                let first = metrics.first().map_or("", |(name, _)| name);
                return Err(Refusal::usage(text).hint(format!(
                    "write the name of one first: `{first}: {}`",
                    gate.text.trim()
                )));
            }
        };
        gate.check(about, metrics[metric].1).map_err(|error| unreadable(&error))?;
        Ok((gate, metric))
    };
    gates.into_iter().map(find).collect()
}

/// Gates on the scores of one run.
#[derive(Debug, Default)]
pub(super) struct OwnGates(Vec<(Gate, usize)>);

impl OwnGates {
    /// Ties conditions to the columns of a run.
    ///
    /// # Errors
    /// As [`resolve`].
    pub(super) fn new(gates: Vec<Gate>, columns: &[Column]) -> Result<OwnGates, Refusal> {
        let metrics: Vec<(&str, Better)> =
            columns.iter().map(|column| (column.name.as_str(), column.better)).collect();
        let resolved = resolve(gates, &metrics, About::Scores)?;
        match resolved.iter().find(|(_, column)| !columns[*column].is_ranked()) {
            None => Ok(OwnGates(resolved)),
            Some((gate, column)) => {
                let (text, name) = (gate.text.trim(), &columns[*column].name);
                Err(Refusal::usage(format!("gate `{text}`: is lower or higher `{name}` better?"))
                    .hint(format!("say so: `--join FILE.csv:{name}=lower` or `{name}=higher`")))
            }
        }
    }

    /// Checks that the manifest has the columns of the groups.
    ///
    /// # Errors
    /// A [`Refusal`] that points to the name of the group.
    pub(super) fn check_groups(&self, manifest: &Manifest) -> Result<(), Refusal> {
        self.0.iter().try_for_each(|(gate, _)| groups(gate, manifest).map(|_| ()))
    }

    /// The exit code of a run that lacks pairs: no gate can be decided.
    pub(super) fn undecided(&self, otherwise: Exit) -> Exit {
        for (gate, _) in &self.0 {
            print_line(&format!("gate `{}` UNDECIDED: pairs are missing", gate.text));
        }
        if self.0.is_empty() { otherwise } else { Exit::Gate }
    }

    /// Applies every gate to every method and reports the outcomes. Gives `otherwise` if all held.
    ///
    /// # Errors
    /// When the manifest or the journals cannot be read.
    pub(super) fn exit(&self, tables: &Tables<'_>, otherwise: Exit) -> anyhow::Result<Exit> {
        let mut all_held = true;
        for (gate, column) in &self.0 {
            for (method, decision) in decide(gate, *column, tables)? {
                all_held &= decision.outcome == Outcome::Held;
                print_line(&line(gate, &method, &decision));
            }
        }
        Ok(if all_held { otherwise } else { Exit::Gate })
    }
}

fn line(gate: &Gate, method: &str, decision: &Decision) -> String {
    let whose = if method.is_empty() { String::new() } else { format!(" ({})", shown(method)) };
    let number = |value: Option<f64>| value.map_or_else(|| "nothing".to_owned(), nine_digits);
    let outcome = match decision.outcome {
        Outcome::Held => "held",
        Outcome::Failed => "FAILED",
        Outcome::Undecided => "UNDECIDED: pairs are missing, or there are too few items",
    };
    let (value, limit) = (number(decision.value), number(decision.limit));
    format!("gate `{}`{whose} {outcome}: {value} against {limit}", gate.text)
}

/// The scores of one method.
#[derive(Debug, Default)]
struct Scores {
    /// Hash of the item, and score.
    of_items: Vec<(u64, f64)>,
    failed: usize,
}

fn decide(
    gate: &Gate,
    column: usize,
    tables: &Tables<'_>,
) -> anyhow::Result<Vec<(String, Decision)>> {
    let groups = groups(gate, tables.manifest)?;
    let mut methods: BTreeMap<String, Scores> = BTreeMap::new();
    let mut rows = tables.manifest.rows()?;
    let mut records = tables.records.reader(1);
    for row in 0..tables.manifest.len() as Row {
        let entry = rows.read(row)?;
        if !groups.iter().all(|(column, value)| column.cell(&entry) == *value) {
            continue;
        }
        let scores = methods.entry(entry.method.clone()).or_default();
        match records.read(row)?.and_then(|record| record.total(column)) {
            // What pairs.csv says.
            Some(score) => {
                let score = nine_digits(score).parse().unwrap_or(score);
                scores.of_items.push((xxh3_64(entry.item.as_bytes()), score));
            }
            None => scores.failed += 1,
        }
    }
    let better = tables.columns[column].better;
    if methods.is_empty() {
        methods.insert(String::new(), Scores::default());
    }
    let decided = methods.into_iter().map(|(method, scores)| {
        let Scores { mut of_items, failed } = scores;
        let values = item_means(&mut of_items);
        (method, apply(gate, &values, better, failed == 0))
    });
    Ok(decided.collect())
}

/// Means over the pairs of an item, in the order of the hashes of items.
fn item_means(scores: &mut [(u64, f64)]) -> Vec<f64> {
    scores.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    scores
        .chunk_by(|a, b| a.0 == b.0)
        .map(|item| mean(item.iter().map(|(_, score)| *score)))
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    let mut sum = Sum::default();
    values.for_each(|value| sum.add(value));
    sum.value() / count
}

fn apply(gate: &Gate, values: &[f64], better: Better, is_complete: bool) -> Decision {
    let mean = (!values.is_empty()).then(|| mean(values.iter().copied()));
    let levels: Vec<_> = gate.level.into_iter().collect();
    let settings = Settings { levels, ..Settings::default() }.for_tests(1);
    // Infinite scores have no interval.
    let is_finite = values.iter().all(|value| value.is_finite());
    let at_levels = match gate.level {
        Some(_) if is_finite => Sample::of_differences(values).assess(&settings).at_levels,
        level => level.into_iter().map(|level| (level, None)).collect(),
    };
    let row = Assessment {
        n: values.len(),
        new_mean: mean,
        difference: mean,
        at_levels,
        ..Assessment::default()
    };
    gate.decide(&Evidence { values, row: &row, about: About::Scores, better, is_complete })
}

/// The group columns of a condition with the values that it names.
fn groups<'g>(gate: &'g Gate, manifest: &Manifest) -> Result<Vec<(GroupColumn, &'g str)>, Refusal> {
    let named = gate.scope.iter().flat_map(|scope| &scope.groups);
    let find = |(name, value): &'g (String, String)| {
        let column = GroupColumn::find(name, manifest).map_err(|_| {
            let carried = manifest.carried().iter().map(String::as_str);
            let names: Vec<&str> = ["item", METHOD].into_iter().chain(carried).collect();
            let message = format!("expected one of the columns {}", names.join(", "));
            unreadable(&SyntaxError::in_scope(gate, name, message))
        })?;
        Ok((column, value.as_str()))
    };
    named.map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(condition: &str, values: &[f64], better: Better) -> Outcome {
        apply(&Gate::parse(condition).unwrap(), values, better, true).outcome
    }

    #[test]
    fn scores_of_an_item_are_averaged_first() {
        let mut scores = vec![(1, 0.1), (2, 0.5), (1, 0.3)];
        assert_eq!(item_means(&mut scores), [0.2, 0.5]);
    }

    #[test]
    fn infinite_scores_take_part() {
        let scores = [f64::INFINITY, 30.0, 40.0];
        assert_eq!(outcome("mean < 35", &scores, Better::Higher), Outcome::Held);
        assert_eq!(outcome("max < 30", &scores, Better::Higher), Outcome::Held);
        assert_eq!(outcome("max < 30.1", &scores, Better::Higher), Outcome::Failed);
        assert_eq!(outcome("mean < 35 @ 95%", &scores, Better::Higher), Outcome::Undecided);
    }

    #[test]
    fn a_gate_without_scores_is_undecided() {
        assert_eq!(outcome("mean > 0", &[], Better::Lower), Outcome::Undecided);
    }
}
