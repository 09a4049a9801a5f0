//! The report of `lpips check`, as text for people and as JSON for programs.

use super::estimate::{Estimate, TooLarge};
use crate::check::{Finding, Report};
use crate::code::{Code, Severity};
use crate::decimal::counted;
use crate::image::Size;
use crate::pairing::{Outline, Sample, Values};
use crate::progress::{humanized, shown};

/// Examples of one code that the text shows.
const SHOWN_MAX: usize = 5;

pub(super) fn document(
    report: &Report,
    estimate: &anyhow::Result<Option<Estimate>>,
) -> serde_json::Value {
    let findings: Vec<&Finding> = report.findings.iter().collect();
    let sizes = report.work.iter().map(|(shape, work)| {
        let Size { width, height } = shape.size;
        serde_json::json!({
            "width": width, "height": height, "pairs": work.pairs, "images": work.images,
        })
    });
    serde_json::json!({
        "pairing": report.outline,
        "pairs": report.pairs,
        "scorable": report.scorable,
        "errors": report.findings.count(Severity::Error),
        "warnings": report.findings.count(Severity::Warning),
        "findings": findings,
        "sizes": sizes.collect::<Vec<_>>(),
        "estimate": estimate.as_ref().ok(),
        "environment": estimate.as_ref().err().map(|error| format!("{error:#}")),
    })
}

pub(super) fn text(report: &Report, estimate: Option<&Estimate>) -> String {
    let mut text = report.outline.as_ref().map(outline).unwrap_or_default();
    for Finding { severity, code, meaning, count, examples, .. } in report.findings.iter() {
        let severity = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        text.push_str(&format!("{severity}: {code} ({count}): {meaning}\n"));
        for example in examples.iter().take(SHOWN_MAX) {
            let place = match example.place.as_str() {
                "" => String::new(),
                place => format!("{}: ", shown(place)),
            };
            text.push_str(&format!("    {place}{}\n", shown(&example.message)));
        }
        if *count > SHOWN_MAX {
            text.push_str(&format!("    and {} more; see --json\n", count - SHOWN_MAX));
        }
    }
    let images: u64 = report.work.values().map(|work| work.images).sum();
    let images = counted(images as usize, "image");
    let too_large = estimate.as_ref().and_then(|estimate| estimate.too_large.as_ref());
    let scorable = report.scorable - too_large.map_or(0, |too_large| too_large.pairs as usize);
    text.push_str(&format!("{scorable} of {} can be scored", counted(report.pairs, "pair")));
    let sizes: Vec<Size> = report.work.keys().map(|shape| shape.size).collect();
    match (sizes.first(), sizes.last()) {
        (Some(first), Some(last)) if first == last => {
            text.push_str(&format!(": {images} of {first}"));
        }
        (Some(first), Some(last)) => {
            text.push_str(&format!(": {images} of {first} to {last}"));
        }
        _ => {}
    }
    let [errors, warnings] = [Severity::Error, Severity::Warning].map(|s| report.findings.count(s));
    let errors = errors + usize::from(too_large.is_some());
    text.push_str(&match (errors, warnings) {
        (0, 0) => "; no problems found".to_owned(),
        (0, warnings) => format!("; {} of warnings, no error", counted(warnings, "kind")),
        (errors, warnings) => {
            format!("; {} of errors, {warnings} of warnings", counted(errors, "kind"))
        }
    });
    if let Some(Estimate { device, seconds, memory_bytes, too_large }) = estimate {
        let gigabytes = *memory_bytes as f64 / 1e9;
        let time = humanized(*seconds);
        text.push_str(&format!("\n{device}: about {time}, {gigabytes:.1} GB of memory"));
        if let Some(TooLarge { pairs, reason }) = too_large {
            let code = Code::TooLarge;
            text.push_str(&format!(
                "\nerror: {code} ({pairs}): the memory does not hold a pair of {reason}"
            ));
        }
    }
    text
}

/// How folders or patterns were paired: pairs by value of each field, the first rows, and all files
/// that are left over.
fn outline(outline: &Outline) -> String {
    let Outline { fields, rows, left_out, left_out_names, warnings, .. } = outline;
    let mut text = String::new();
    for Values { field, count, pairs } in fields {
        let listed = pairs.iter().map(|(value, count)| format!("{} ({count})", shown(value)));
        let listed = listed.collect::<Vec<_>>().join(", ");
        let more = if *count > pairs.len() { ", ..." } else { "" };
        text.push_str(&format!(
            "{field}: {}, with pairs: {listed}{more}\n",
            counted(*count, "value")
        ));
    }
    for Sample { reference, distorted, item, method } in rows {
        let method = if method.is_empty() { String::new() } else { format!(", method {method}") };
        let row = format!("{reference} and {distorted}: item {item}{method}");
        text.push_str(&format!("    {}\n", shown(&row)));
    }
    if *left_out > 0 {
        text.push_str(&format!("left out: {}\n", counted(*left_out, "file")));
        left_out_names.iter().for_each(|name| text.push_str(&format!("    {}\n", shown(name))));
        if *left_out > left_out_names.len() {
            text.push_str(&format!("    and {} more\n", left_out - left_out_names.len()));
        }
    }
    for warning in warnings {
        text.push_str(&format!("warning: {}\n", shown(warning)));
    }
    text
}
