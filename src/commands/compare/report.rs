//! What a comparison found, before it is written in any format.

use super::measure::{Moved, Selected};
use crate::column::Better;
use crate::compare::align::Counts;
use crate::compare::assess::{Assessment, Settings};
use crate::compare::gate::{Decision, Outcome};
use crate::compare::noise::Noise;
use crate::compare::numbers::Decimals;
use crate::compare::subsets::{ENUMERATED_MAX, Probability};
use crate::compare::verdict::Verdict;

/// Everything that is printed.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) settings: Settings,
    /// Digits after the decimal point that were asked for.
    pub(super) digits: usize,
    /// What is averaged first: `item`, `pair` or a column.
    pub(super) unit: String,
    pub(super) metrics: Vec<MetricFacts>,
    /// Every two runs, in order.
    pub(super) comparisons: Vec<Comparison>,
    pub(super) rows: Vec<Row>,
    pub(super) gates: Vec<GateRow>,
    pub(super) noise: Vec<NoiseRow>,
    /// The signature of every metric, by name; of a new run only where it differs.
    pub(super) signatures: Vec<(String, String)>,
    /// Warnings about the whole comparison.
    pub(super) warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct MetricFacts {
    pub(super) name: String,
    pub(super) better: Better,
}

/// Two runs.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) base: String,
    pub(super) new: String,
    /// For the first metric.
    pub(super) counts: Counts,
    /// Methods that only one of the runs has.
    pub(super) lone_methods: [Vec<String>; 2],
    /// By metric.
    pub(super) movers: Vec<Vec<Moved>>,
}

/// One metric, method and group.
#[derive(Debug)]
pub(super) struct Row {
    /// Index of the comparison.
    pub(super) comparison: usize,
    /// Index of the metric.
    pub(super) metric: usize,
    pub(super) method: String,
    pub(super) group: Vec<(String, String)>,
    pub(super) statistics: Assessment,
    pub(super) adjusted: Option<Probability>,
    pub(super) verdict: Verdict,
    pub(super) notes: Vec<String>,
}

/// One gate, applied to one method of one new run.
#[derive(Debug)]
pub(super) struct GateRow {
    pub(super) condition: String,
    pub(super) comparison: usize,
    pub(super) metric: usize,
    pub(super) method: String,
    pub(super) decision: Decision,
    /// Why it is undecided.
    pub(super) reason: Option<String>,
}

/// What a gate's statistic reaches between runs of one model.
#[derive(Debug)]
pub(super) struct NoiseRow {
    pub(super) condition: String,
    pub(super) metric: usize,
    pub(super) method: String,
    pub(super) noise: Noise,
    /// The limit of the gate; `None` if the statistic is of no gate.
    pub(super) limit: Option<f64>,
}

impl NoiseRow {
    /// Whether the gate fires at noise.
    pub(super) fn is_too_tight(&self) -> bool {
        let floor = self.noise.floor();
        self.limit.zip(floor).is_some_and(|(limit, floor)| limit < floor)
    }
}

impl Report {
    /// The worst row of the first metric.
    pub(super) fn verdict(&self) -> Verdict {
        let rows = self.rows.iter().filter(|row| row.metric == 0);
        rows.map(|row| row.verdict).min().unwrap_or(Verdict::Undecided)
    }

    /// The row that the verdict is of: the worst one with the smallest p value.
    pub(super) fn decisive_row(&self) -> Option<&Row> {
        let verdict = self.verdict();
        let rows = self.rows.iter().filter(|row| row.metric == 0 && row.verdict == verdict);
        let p = |row: &Row| row.adjusted.map_or(1.0, Probability::value);
        rows.min_by(|a, b| p(a).total_cmp(&p(b)))
    }

    /// Whether every gate held.
    pub(super) fn gates_held(&self) -> bool {
        self.gates.iter().all(|gate| gate.decision.outcome == Outcome::Held)
    }

    pub(super) fn metric_of(&self, row: &Row) -> &MetricFacts {
        &self.metrics[row.metric]
    }

    /// Counts of better, same and worse units.
    pub(super) fn standing(&self, row: &Row) -> [usize; 3] {
        let Assessment { higher, lower, .. } = row.statistics;
        let same = row.statistics.same();
        match self.metric_of(row).better {
            Better::Lower => [lower, same, higher],
            Better::Higher => [higher, same, lower],
        }
    }

    /// The pairs of all comparisons together.
    pub(super) fn counts(&self) -> Counts {
        self.comparisons.iter().fold(Counts::default(), |all, one| Counts {
            common: all.common + one.counts.common,
            only_base: all.only_base + one.counts.only_base,
            only_new: all.only_new + one.counts.only_new,
            failed_base: all.failed_base + one.counts.failed_base,
            failed_new: all.failed_new + one.counts.failed_new,
        })
    }

    /// Digits that a row needs so that its numbers say what its verdict says.
    pub(super) fn decimals(&self, row: &Row) -> Decimals {
        Decimals::for_row(&row.statistics, row.verdict, &self.settings, self.digits)
    }

    /// What a row is called: its method and group.
    pub(super) fn name(&self, row: &Row) -> String {
        let mut parts = Vec::new();
        if self.comparisons.len() > 1 {
            let Comparison { base, new, .. } = &self.comparisons[row.comparison];
            let is_one_base = self.comparisons.iter().all(|one| one.base == *base);
            parts.push(if is_one_base { new.clone() } else { format!("{base} > {new}") });
        }
        let is_named = parts.last().is_some_and(|last| names_method(last, &row.method));
        if !row.method.is_empty() && !is_named {
            parts.push(row.method.clone());
        }
        let group = |(name, value): &(String, String)| format!("{name}={value}");
        parts.extend(row.group.iter().map(group));
        if row.group.is_empty() && (parts.is_empty() || self.has_groups()) {
            parts.push("all".to_owned());
        }
        parts.join(" ")
    }

    fn has_groups(&self) -> bool {
        self.rows.iter().any(|row| !row.group.is_empty())
    }

    /// How the tests were made, as one line.
    pub(super) fn test_signature(&self) -> String {
        let Settings { confidence, margin, draws, .. } = &self.settings;
        let margin = margin.map(|margin| format!("|margin:{margin}")).unwrap_or_default();
        format!(
            "test:signflip|unit:{}|confidence:{}{margin}|adjust:holm|resamples:{}|seed:{}|lpips:{}",
            self.unit,
            confidence.to_string().trim_end_matches('%'),
            draws.resamples,
            draws.seed,
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// The footnotes of a row.
pub(super) fn notes(
    selected: &Selected,
    statistics: &Assessment,
    verdict: Verdict,
    settings: &Settings,
    unit: &str,
) -> Vec<String> {
    let Assessment { n, .. } = *statistics;
    let units = if unit == "item" || unit == "pair" { format!("{unit}s") } else { unit.to_owned() };
    let mut notes = Vec::new();
    if n == 0 {
        notes.push("no pair has a score on both sides".to_owned());
    }
    if n == 1 && verdict != Verdict::Identical {
        notes.push(format!("with 1 {unit} there is neither a test nor an interval"));
    }
    if verdict == Verdict::Undecided && (2..=ENUMERATED_MAX).contains(&n) {
        let smallest = Probability::new(2, 1 << n);
        if smallest.value() > settings.confidence.alpha() {
            let level = statistics.highest_level.unwrap_or_default() * 100.0;
            notes.push(format!(
                "with {n} {units} p cannot be below {}, and no interval has more than {level}%",
                smallest.value()
            ));
        }
    }
    if let Some(mde80) = statistics.mde80.filter(|_| verdict == Verdict::Undecided) {
        notes.push(format!(
            "this set resolves {} at 80 % power",
            crate::compare::numbers::rough(mde80)
        ));
    }
    if matches!(verdict, Verdict::Better | Verdict::Worse) {
        notes.extend(dominant(selected.units.sample.differences(), unit));
    }
    if selected.units.within_tolerance > 0 {
        notes.push(format!(
            "differences that both numerics classes allow count as 0 (here {}; docs/numerics.md)",
            selected.units.within_tolerance
        ));
    }
    let left_out = selected.units.sample.left_out();
    if left_out > 0 {
        notes.push(format!("{left_out} {units} are infinite on one side and left out"));
    }
    if selected.units.weights_matter {
        notes.push(format!(
            "these are means over {units}, which have different numbers of pairs; summary.csv has \
             means over pairs"
        ));
    }
    notes
}

/// Whether a run is called by its method: `METHOD`, or `RUN@METHOD`.
pub(super) fn names_method(run: &str, method: &str) -> bool {
    run == method || run.ends_with(&format!("@{method}"))
}

/// With fewer units than this one of them can decide the mean, and no method helps.
const FEW: usize = 30;

/// Whether one unit makes most of the mean of few.
fn dominant(differences: &[f64], unit: &str) -> Option<String> {
    if differences.len() < 3 || differences.len() >= FEW {
        return None;
    }
    let sum: f64 = differences.iter().sum();
    let largest = differences.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))?;
    let share = 100.0 * largest / sum;
    if sum == 0.0 || !(50.0..).contains(&share) {
        return None;
    }
    let mut sorted = differences.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = crate::compare::numbers::rough(crate::stats::quantile(&sorted, 0.5));
    let share = if share < 1000.0 { format!("{share:.0} %") } else { "most".to_owned() };
    Some(format!("one {unit} makes {share} of the mean difference; the median is {median}"))
}
