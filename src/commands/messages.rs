//! The messages at the end of a run: differences of images, signatures, failures and counts.

use crate::code::Code;
use crate::column::Column;
use crate::decimal::counted;
use crate::pair::Difference;
use crate::progress::{humanized, print_line, shown};
use crate::run::counts::Counts;
use crate::run::records::Records;
use crate::run::twoafc::Agreement;
use crate::run::{Changed, Identical};

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
        let (score, triplets) = (summary.mean, counted(*scored, "triplet"));
        print_line(&format!("2AFC {metric}: {score:.4} of {triplets}{incomplete}"));
    }
}

/// What the journals hold beside the rows that count.
pub(super) fn report_skipped(records: &Records) {
    let Records { repeated, torn, foreign, .. } = records;
    let unknown = records.journals().iter().filter(|journal| journal.header.is_none()).count();
    for (count, what, which) in [
        (*repeated, "pair", "scored twice, with equal scores"),
        (*torn, "damaged line", "of journals skipped"),
        (*foreign, "line", "of journals skipped: of another run or pair"),
        (unknown, "journal", "with a damaged first line: the rows count, but not who wrote them"),
    ] {
        if count > 0 {
            print_line(&format!("note: {} {which}", counted(count, what)));
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
    let Identical { methods, pairs, first } = &counts.identical;
    if *pairs > 0 {
        let of = match (methods, first.as_str()) {
            (1, "") => String::new(),
            (1, first) => format!(" of method `{}`", shown(first)),
            (methods, first) => format!(" of {methods} methods, first `{}`", shown(first)),
        };
        let (code, pairs) = (Code::WholeIdentical, counted(*pairs, "pair"));
        print_line(&format!("warning: {code} in {pairs}{of}: {}", code.meaning()));
    }
    let differing = Difference::ALL.map(Difference::code).into_iter().zip(counts.differing);
    let others = [
        (Code::Fp16Overflow, counts.rescored),
        (Code::Infinite, counts.infinite),
        (Code::NotJoined, counts.unjoined),
    ];
    for (code, count) in differing.chain(others).filter(|&(_, count)| count > 0) {
        let (pairs, text) = (counted(count, "pair"), code.meaning());
        print_line(&format!("warning: {code} in {pairs}: {text}"));
    }
}

/// Counts, failures by code with the first of each, and time and rate of the `now` pairs that this
/// process has scored in `elapsed_s` seconds.
pub(super) fn closing(counts: &Counts, now: usize, elapsed_s: f64) -> String {
    let Counts { scored, failed, failures, .. } = counts;
    let mut text = format!("{} scored", counted(*scored, "pair"));
    if *failed > 0 {
        text.push_str(&format!(", {failed} FAILED"));
    }
    if now > 0 {
        if now < *scored {
            text.push_str(&format!("; this attempt scored {now}"));
        }
        let rate = now as f64 / elapsed_s.max(1e-9);
        text.push_str(&format!(" in {}, {rate:.1} pairs/s", humanized(elapsed_s)));
    }
    for (code, failures) in failures {
        text.push_str(&format!("\n  {code} {}, first {}", failures.count, shown(&failures.first)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_rate_are_those_of_the_pairs_that_this_attempt_scored() {
        let of = |scored, failed| Counts { scored, failed, ..Counts::default() };
        for (counts, now, expected) in [
            (of(21, 0), 21, "21 pairs scored in 3.0 s, 7.0 pairs/s"),
            (of(1, 2), 1, "1 pair scored, 2 FAILED in 3.0 s, 0.3 pairs/s"),
            (of(6, 15), 0, "6 pairs scored, 15 FAILED"),
            (of(6, 0), 3, "6 pairs scored; this attempt scored 3 in 3.0 s, 1.0 pairs/s"),
        ] {
            assert_eq!(closing(&counts, now, 3.0), expected);
        }
    }
}
