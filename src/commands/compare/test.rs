//! From the units of every row to verdicts, gates and noise floors.

use super::super::inputs::Input;
use super::super::protocol::Protocol;
use super::Pairs;
use super::measure::{Measured, Selected, measure};
use super::report::{Comparison, GateRow, MetricFacts, NoiseRow, Report, Row, notes};
use super::setup::{Setup, Unit};
use crate::compare::align::Counts;
use crate::compare::assess::{Assessment, Settings};
use crate::compare::gate::{About, Decision, Evidence, Gate, Outcome};
use crate::compare::noise::Noise;
use crate::compare::verdict::{Verdict, holm};
use crate::decimal::counted;
use crate::error::Refusal;

/// How measured rows are tested.
pub(super) struct Test<'a> {
    pub(super) pairs: &'a Pairs,
    pub(super) setup: &'a Setup,
    pub(super) protocol: &'a Protocol,
    pub(super) settings: Settings,
}

/// A measured row with its statistics.
struct Tested {
    comparison: usize,
    selected: Selected,
    statistics: Assessment,
}

impl Test<'_> {
    /// Tests everything that was measured.
    pub(super) fn report(
        mut self,
        measured: Vec<Measured>,
        noise: Vec<NoiseRow>,
        digits: usize,
    ) -> Report {
        let asked = self.settings.draws.resamples;
        self.settings = self.settings.for_tests(largest_family(&measured));
        let labels = self.pairs.each().map(|(base, new)| (base.label.clone(), new.label.clone()));
        let mut comparisons = Vec::new();
        let mut tested = Vec::new();
        for (comparison, (one, (base, new))) in measured.into_iter().zip(labels).enumerate() {
            let Measured { selected, movers, counts, lone_methods, .. } = one;
            let movers = movers.into_iter().map(|list| list.pairs).collect();
            comparisons.push(Comparison { base, new, counts, lone_methods, movers });
            tested.extend(selected.into_iter().map(|selected| Tested {
                comparison,
                statistics: selected.units.sample.assess(&self.settings),
                selected,
            }));
        }
        let (of_gates, of_rows): (Vec<Tested>, Vec<Tested>) =
            tested.into_iter().partition(|one| one.selected.gate.is_some());
        let mut warnings = self.protocol.warnings.clone();
        let raised = self.settings.draws.resamples;
        if raised > asked {
            warnings.push(format!("resamples raised from {asked} to {raised} for so many tests"));
        }
        Report {
            digits,
            unit: unit_name(self.setup).to_owned(),
            metrics: facts(self.protocol),
            comparisons,
            gates: of_gates.iter().filter_map(|one| self.gate(one)).collect(),
            rows: self.rows(of_rows),
            noise,
            signatures: self.protocol.signatures.clone(),
            warnings,
            settings: self.settings,
        }
    }

    /// Verdicts, after Holm within every metric and group.
    fn rows(&self, tested: Vec<Tested>) -> Vec<Row> {
        let mut adjusted = vec![None; tested.len()];
        for index in 0..tested.len() {
            let family: Vec<usize> = (0..tested.len())
                .filter(|&other| is_one_family(&tested[index].selected, &tested[other].selected))
                .collect();
            if family.first() == Some(&index) {
                let raw: Vec<_> = family.iter().map(|&one| tested[one].statistics.p).collect();
                for (&one, p) in family.iter().zip(holm(&raw)) {
                    adjusted[one] = p;
                }
            }
        }
        let settings = &self.settings;
        let row = |(Tested { comparison, selected, statistics }, adjusted)| {
            let better = self.protocol.metrics[selected.metric].better;
            let verdict = Verdict::on(&statistics, adjusted, settings.confidence, better);
            let notes = notes(&selected, &statistics, verdict, settings, unit_name(self.setup));
            let Selected { metric, method, group, .. } = selected;
            Row { comparison, metric, method, group, statistics, adjusted, verdict, notes }
        };
        tested.into_iter().zip(adjusted).map(row).collect()
    }

    fn gate(&self, tested: &Tested) -> Option<GateRow> {
        let Tested { comparison, selected, statistics } = tested;
        let (gate, metric) = &self.setup.gates[selected.gate?];
        let better = self.protocol.metrics[*metric].better;
        let evidence = evidence(selected, statistics, better, self.setup.intersect);
        let decision = gate.decide(&evidence);
        Some(GateRow {
            condition: gate.text.clone(),
            comparison: *comparison,
            metric: *metric,
            method: selected.method.clone(),
            decision,
            reason: reason(gate, &decision, selected, evidence.is_complete),
        })
    }
}

fn evidence<'a>(
    selected: &'a Selected,
    statistics: &'a Assessment,
    better: crate::column::Better,
    intersect: bool,
) -> Evidence<'a> {
    let sample = &selected.units.sample;
    Evidence {
        values: sample.differences(),
        row: statistics,
        about: About::Worsening,
        better,
        is_complete: intersect || selected.counts.is_complete() && sample.left_out() == 0,
    }
}

/// Why a gate is undecided.
fn reason(
    gate: &Gate,
    decision: &Decision,
    selected: &Selected,
    is_complete: bool,
) -> Option<String> {
    if decision.outcome != Outcome::Undecided {
        return None;
    }
    let Counts { only_base, only_new, failed_base, failed_new, .. } = selected.counts;
    if !is_complete {
        return Some(format!(
            "{} missing, {} failed, {} infinite on one side; `--intersect` leaves them out",
            counted(only_base + only_new, "pair"),
            failed_base + failed_new,
            selected.units.sample.left_out()
        ));
    }
    let n = selected.units.sample.differences().len();
    Some(match gate.level.filter(|_| n > 0) {
        Some(level) => format!("no {level} interval with n = {n}"),
        None => "no pair has a score on both sides".to_owned(),
    })
}

fn is_one_family(a: &Selected, b: &Selected) -> bool {
    a.metric == b.metric && a.group == b.group && a.gate == b.gate
}

/// Tests of one metric and group.
fn largest_family(measured: &[Measured]) -> usize {
    let rows: Vec<&Selected> = measured.iter().flat_map(|one| &one.selected).collect();
    let mut sizes = std::collections::HashMap::new();
    for row in &rows {
        *sizes.entry((row.metric, &row.group, row.gate)).or_insert(0usize) += 1;
    }
    sizes.into_values().max().unwrap_or(1)
}

/// What is averaged first.
pub(super) fn unit_name(setup: &Setup) -> &str {
    match &setup.unit {
        Unit::Item => "item",
        Unit::Pair => "pair",
        Unit::Column(name) => name,
    }
}

pub(super) fn facts(protocol: &Protocol) -> Vec<MetricFacts> {
    let of = |metric: &super::super::inputs::Metric| MetricFacts {
        name: metric.name.clone(),
        better: metric.better,
    };
    protocol.metrics.iter().map(of).collect()
}

/// What the statistics of gates reach between runs of one model; without gates, means and largest
/// changes.
///
/// # Errors
/// When there is one such run only, or one cannot be read.
pub(super) fn noise(
    nulls: &[Input],
    setup: &Setup,
    protocol: &Protocol,
    settings: &Settings,
) -> anyhow::Result<Vec<NoiseRow>> {
    match nulls.len() {
        0 => return Ok(Vec::new()),
        1 => {
            return Err(Refusal::usage("`--null` names one run")
                .hint("name two or more runs of the same model: `--null RUN --null RUN`")
                .into());
        }
        _ => {}
    }
    let is_own = setup.gates.is_empty();
    let setup = if is_own { with_usual_gates(setup, protocol) } else { setup.clone() };
    let setup = Setup { group_by: Vec::new(), top: 0, ..setup };
    let mut rows: Vec<NoiseRow> = Vec::new();
    let ordered = (0..nulls.len())
        .flat_map(|base| (0..nulls.len()).map(move |new| (base, new)))
        .filter(|(base, new)| base != new);
    for (base, new) in ordered {
        let (base, new) = (&nulls[base], &nulls[new]);
        let measured = measure(base, new, &setup, &protocol.promises(base, new))?;
        for selected in measured.selected {
            let Some((gate, metric)) = selected.gate.map(|index| &setup.gates[index]) else {
                continue;
            };
            let statistics = selected.units.sample.assess(settings);
            let better = protocol.metrics[*metric].better;
            let decision = gate.decide(&evidence(&selected, &statistics, better, true));
            let is_row =
                |row: &&mut NoiseRow| row.condition == gate.text && row.method == selected.method;
            match rows.iter_mut().find(is_row) {
                Some(row) => row.noise.add(decision.value),
                None => {
                    let mut noise = Noise::default();
                    noise.add(decision.value);
                    rows.push(NoiseRow {
                        condition: gate.text.clone(),
                        metric: *metric,
                        method: selected.method.clone(),
                        noise,
                        limit: decision.limit.filter(|_| !is_own),
                    });
                }
            }
        }
    }
    Ok(rows)
}

fn with_usual_gates(setup: &Setup, protocol: &Protocol) -> Setup {
    let gates = protocol.metrics.iter().enumerate().flat_map(|(index, metric)| {
        let name = metric.name.replace('"', "\"\"");
        ["mean", "max"].into_iter().filter_map(move |statistic| {
            let gate = Gate::parse(&format!("\"{name}\": {statistic} > 0")).ok()?;
            Some((gate, index))
        })
    });
    Setup { gates: gates.collect(), ..setup.clone() }
}
