//! The messages at the end of a run: differences of images, signatures, failures and counts.

use crate::code::Code;
use crate::column::Column;
use crate::decimal::counted;
use crate::pair::Difference;
use crate::progress::{humanized, print_line, shown};
use crate::run::Changed;
use crate::run::counts::Counts;
use crate::run::records::Records;
use crate::run::twoafc::Agreement;

/// How the numbers of each column were made, as one line that a paper can quote.
pub(super) fn report_signatures(columns: &[Column]) {
    for Column { name, fingerprint, .. } in columns {
        print_line(&format!("signature of {name}: {}", fingerprint.signature()));
    }
}

/// The 2AFC score of each metric over all triplets, which come before those of groups.
pub(super) fn report_agreements(agreements: &[Agreement]) {
    let all = agreements.first().map(|first| &first.group);
    for Agreement { metric, expected, scored, summary, .. } in
        agreements.iter().filter(|row| Some(&row.group) == all)
    {
        let Some(summary) = summary else { continue };
        let incomplete = if scored < expected { ", INCOMPLETE" } else { "" };
        let score = summary.mean;
        print_line(&format!("2AFC {metric}: {score:.4} of {scored} triplets{incomplete}"));
    }
}

/// What the journals hold beside the rows that count.
pub(super) fn report_skipped(records: &Records) {
    let Records { repeated, torn, foreign, .. } = records;
    let unknown = records.journals().iter().filter(|journal| journal.header.is_none()).count();
    for (count, what) in [
        (*repeated, "pairs were scored twice, with equal scores"),
        (*torn, "damaged lines of journals were skipped"),
        (*foreign, "lines of journals are of another run or pair and were skipped"),
        (unknown, "journals have a damaged first line: their rows count, but not who wrote them"),
    ] {
        if count > 0 {
            print_line(&format!("note: {count} {what}"));
        }
    }
}

/// One line for each way in which the two images of pairs differ, or do not differ at all.
pub(super) fn report_differences(counts: &Counts) {
    let Changed { files, pairs, first } = &counts.changed;
    if *files > 0 {
        let (code, first) = (Code::Changed, shown(first));
        print_line(&format!(
            "warning: {code} in {}: {} changed while the run read them, first {first}",
            counted(*pairs, "pair"),
            counted(*files, "file")
        ));
    }
    for (difference, count) in Difference::ALL.into_iter().zip(counts.differing) {
        if count > 0 {
            let (code, text) = (difference.code(), difference.code().meaning());
            print_line(&format!("warning: {code} in {}: {text}", counted(count, "pair")));
        }
    }
    for (code, count) in [(Code::Infinite, counts.infinite), (Code::NotJoined, counts.unjoined)] {
        if count > 0 {
            let text = code.meaning();
            print_line(&format!("warning: {code} in {}: {text}", counted(count, "pair")));
        }
    }
}

/// Counts, failures by code with the first of each, and, of the `done` pairs that this process took
/// `elapsed_s` seconds for, time and rate.
pub(super) fn closing(counts: &Counts, done: usize, elapsed_s: f64) -> String {
    let Counts { scored, failed, failures, .. } = counts;
    let mut text = format!("{} scored", counted(*scored, "pair"));
    if *failed > 0 {
        text.push_str(&format!(", {failed} FAILED"));
    }
    if done > 0 {
        let rate = done as f64 / elapsed_s.max(1e-9);
        text.push_str(&format!(" in {}, {rate:.1} pairs/s", humanized(elapsed_s)));
    }
    for (code, failures) in failures {
        text.push_str(&format!("\n  {code} {}, first {}", failures.count, shown(&failures.first)));
    }
    text
}
