//! Whether scores of two runs mean the same thing: which metrics they share, and in which settings
//! these differ.

use super::inputs::{ColumnOptions, Input, Metric};
use crate::column::Better;
use crate::compare::tolerance::Promise;
use crate::error::Refusal;
use crate::suggest::nearest;

/// Joins the numerics classes of a run that was computed in several.
const MIXED: &str = " + ";

/// The metrics that are compared.
#[derive(Debug)]
pub(super) struct Protocol {
    pub(super) metrics: Vec<Metric>,
    pub(super) signatures: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Protocol {
    /// The metrics that all runs have, or those that were asked for.
    ///
    /// # Errors
    /// A [`Refusal`] when there are none, or settings differ that are not allowed to.
    pub(super) fn of(
        inputs: &[&Input],
        options: &ColumnOptions,
        allowed: &[String],
    ) -> Result<Protocol, Refusal> {
        let base = inputs[0];
        let has = |name: &str| inputs.iter().all(|input| input.metric(name).is_some());
        let metrics: Vec<Metric> = if options.metrics.is_empty() {
            base.metrics.iter().filter(|metric| has(&metric.name)).cloned().collect()
        } else {
            let named = options.metrics.iter().map(|(name, better)| {
                for input in inputs {
                    let Some(metric) = input.metric(name) else { return Err(lacks(input, name)) };
                    if better.is_some_and(|better| better != metric.better) {
                        let text = format!("`--metric`: the direction of `{name}` is known");
                        return Err(Refusal::usage(text)
                            .hint(format!("write `--metric {name}` without a direction")));
                    }
                }
                base.metric(name).cloned().ok_or_else(|| lacks(base, name))
            });
            named.collect::<Result<_, _>>()?
        };
        if metrics.is_empty() {
            return Err(nothing_shared(inputs));
        }
        let mut protocol = Protocol { metrics, signatures: Vec::new(), warnings: Vec::new() };
        check_allowed(allowed, inputs)?;
        for &new in &inputs[1..] {
            protocol.agree(base, new, allowed)?;
        }
        protocol.warn_of_unknown(inputs);
        protocol.warn_of_left_out(inputs, options);
        protocol.sign(inputs);
        Ok(protocol)
    }

    /// Refuses settings that differ.
    fn agree(&mut self, base: &Input, new: &Input, allowed: &[String]) -> Result<(), Refusal> {
        for metric in &self.metrics {
            for Differing { field, there, here } in differing(base, new, &metric.name) {
                let what = format!(
                    "`{field}` of {} is `{there}` in `{}` and `{here}` in `{}`",
                    metric.name, base.label, new.label
                );
                if !allowed.contains(&field) {
                    return Err(Refusal::inputs(format!(
                        "the scores mean different things: {what}"
                    ))
                    .hint(format!(
                        "score both with the same settings, or pass `--allow {field}` if this \
                             difference is what you compare"
                    )));
                }
                self.warnings.push(format!("compared although {what}"));
            }
        }
        Ok(())
    }

    fn warn_of_unknown(&mut self, inputs: &[&Input]) {
        for metric in &self.metrics {
            let unknown = inputs.iter().filter(|input| !input.protocol_is_known(&metric.name));
            let mut labels: Vec<String> =
                unknown.map(|input| format!("`{}`", input.label)).collect();
            labels.dedup();
            if !labels.is_empty() {
                self.warnings.push(format!(
                    "the protocol of {} is unknown in {}: whether the scores mean the same thing \
                     was not checked",
                    metric.name,
                    labels.join(", ")
                ));
            }
        }
    }

    fn warn_of_left_out(&mut self, inputs: &[&Input], options: &ColumnOptions) {
        if !options.metrics.is_empty() {
            return;
        }
        let mut names: Vec<&str> = Vec::new();
        for metric in inputs.iter().flat_map(|input| &input.metrics) {
            let is_compared = self.metrics.iter().any(|one| one.name == metric.name);
            if !is_compared && !names.contains(&metric.name.as_str()) {
                names.push(&metric.name);
            }
        }
        if !names.is_empty() {
            let names = names.join(", ");
            self.warnings.push(format!("not compared, since not every run has it: {names}"));
        }
    }

    fn sign(&mut self, inputs: &[&Input]) {
        for metric in &self.metrics {
            let signature = |input: &Input| input.metric(&metric.name).map(Metric::signature);
            let of_base = signature(inputs[0]);
            self.signatures.extend(of_base.clone().map(|text| (metric.name.clone(), text)));
            for input in &inputs[1..] {
                let text = signature(input).filter(|text| Some(text) != of_base.as_ref());
                let name = format!("{}@{}", metric.name, input.label);
                if !self.signatures.iter().any(|(known, _)| *known == name) {
                    self.signatures.extend(text.map(|text| (name, text)));
                }
            }
        }
    }

    /// Names of the metrics, and which direction is better.
    pub(super) fn directions(&self) -> Vec<(&str, Better)> {
        self.metrics.iter().map(|metric| (metric.name.as_str(), metric.better)).collect()
    }

    /// By how much scores of two runs may differ without meaning anything, for each metric.
    pub(super) fn promises(&self, base: &Input, new: &Input) -> Vec<Promise> {
        let classes = base.numerics_class.as_ref().zip(new.numerics_class.as_ref());
        let is_one = classes.is_some_and(|(base, new)| base == new && !base.contains(MIXED));
        let promise = |metric: &Metric| {
            let both = [base, new].map(|input| input.metric(&metric.name).map(|one| one.promise));
            match both {
                [Some(base), Some(new)] if classes.is_some() && !is_one && base == new => base,
                _ => Promise::Exact,
            }
        };
        self.metrics.iter().map(promise).collect()
    }
}

/// A setting that differs.
struct Differing {
    field: String,
    there: String,
    here: String,
}

fn differing(base: &Input, new: &Input, metric: &str) -> Vec<Differing> {
    let fingerprint = |input: &Input| input.metric(metric).and_then(|one| one.fingerprint.clone());
    let Some((base, new)) = fingerprint(base).zip(fingerprint(new)) else { return Vec::new() };
    let added = new.fields().map(|(key, _)| key).filter(|key| base.get(key).is_none());
    let keys = base.fields().map(|(key, _)| key).chain(added);
    let shown = |value: Option<&str>| value.unwrap_or("not set").to_owned();
    keys.filter(|key| base.get(key) != new.get(key))
        .map(|key| Differing {
            field: key.to_owned(),
            there: shown(base.get(key)),
            here: shown(new.get(key)),
        })
        .collect()
}

/// A misspelt field would allow nothing.
fn check_allowed(allowed: &[String], inputs: &[&Input]) -> Result<(), Refusal> {
    let metrics = inputs.iter().flat_map(|input| &input.metrics);
    let mut fields: Vec<String> = metrics
        .flat_map(|metric| &metric.fingerprint)
        .flat_map(|fingerprint| fingerprint.fields().map(|(key, _)| key.to_owned()))
        .collect();
    fields.sort();
    fields.dedup();
    let Some(unknown) = allowed.iter().find(|name| !fields.contains(name)) else { return Ok(()) };
    let near = nearest(unknown, fields.iter().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let hint = format!("{near}the fields of these runs are {}", fields.join(", "));
    Err(Refusal::usage(format!("`--allow {unknown}`: no run has such a setting")).hint(hint))
}

fn lacks(input: &Input, name: &str) -> Refusal {
    let names = || input.metrics.iter().map(|metric| metric.name.as_str());
    let near = nearest(name, names()).map(|near| format!("did you mean `{near}`? "));
    let known = names().collect::<Vec<_>>().join(", ");
    Refusal::usage(format!("`{}` has no metric `{name}`", input.table.display()))
        .hint(format!("{}its metrics are {known}", near.unwrap_or_default()))
}

fn nothing_shared(inputs: &[&Input]) -> Refusal {
    let of = |input: &&Input| {
        let names: Vec<&str> = input.metrics.iter().map(|metric| metric.name.as_str()).collect();
        format!("`{}` has {}", input.label, names.join(", "))
    };
    let text = inputs.iter().map(of).collect::<Vec<_>>().join("; ");
    Refusal::inputs(format!("the runs have no metric in common: {text}"))
        .hint("score both with the same `--net` and `--metrics`")
}
