//! Methods whose every image is identical to its reference, by the stamps and values of the rows.
//!
//! Such a method was hardly ever meant: the folder of references was given twice, or copied.

use std::collections::HashMap;

use super::journal::Record;
use crate::column::{Column, Origin};
use crate::manifest::Entry;

/// A single identical pair says nothing about its method.
const PAIRS_MIN: usize = 2;

/// The methods of which every scored pair, and at least two, are identical.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identical {
    /// How many methods.
    pub methods: usize,
    /// Their pairs.
    pub pairs: usize,
    /// The first of them, in the order of the manifest; may be empty.
    pub first: String,
}

/// The pairs of each method.
#[derive(Debug, Default)]
pub(super) struct Methods(HashMap<String, Tally>);

#[derive(Clone, Copy, Debug)]
struct Tally {
    /// Position among the methods.
    position: usize,
    scored: usize,
    identical: usize,
}

impl Methods {
    /// Counts a row if it was scored.
    pub(super) fn add(&mut self, entry: &Entry, record: &Record, columns: &[Column]) {
        if record.failure.is_some() {
            return;
        }
        let identical = usize::from(is_identical(record, columns));
        if let Some(tally) = self.0.get_mut(&entry.method) {
            tally.scored += 1;
            tally.identical += identical;
        } else {
            let tally = Tally { position: self.0.len(), scored: 1, identical };
            self.0.insert(entry.method.clone(), tally);
        }
    }

    /// The methods whose pairs are all identical.
    pub(super) fn identical(self) -> Identical {
        let is_whole = |tally: &Tally| tally.scored >= PAIRS_MIN && tally.identical == tally.scored;
        let whole: Vec<(String, Tally)> =
            self.0.into_iter().filter(|(_, tally)| is_whole(tally)).collect();
        let (methods, pairs) = (whole.len(), whole.iter().map(|(_, tally)| tally.scored).sum());
        let first = whole.into_iter().min_by_key(|(_, tally)| tally.position);
        Identical { methods, pairs, first: first.map(|(method, _)| method).unwrap_or_default() }
    }
}

/// Whether the two files have the same bytes, or all distances are exactly 0; without distances,
/// whether every PSNR is infinite and every SSIM is 1.
fn is_identical(record: &Record, columns: &[Column]) -> bool {
    if let [reference, distorted, ..] = record.stamps[..]
        && reference.has_content_of(&distorted)
    {
        return true;
    }
    let computed = columns.iter().zip(&record.values).filter(|(column, _)| !column.is_joined());
    let totals = computed.filter_map(|(column, value)| Some((column, value.as_ref()?.total)));
    let (distances, others): (Vec<_>, Vec<_>) =
        totals.partition(|(column, _)| matches!(column.from, Origin::Model { .. }));
    match distances.is_empty() {
        true => {
            let of_identical = |total: f64| total.is_infinite() || total == 1.0;
            others.iter().any(|(_, total)| total.is_infinite())
                && others.iter().all(|&(_, total)| of_identical(total))
        }
        false => distances.iter().all(|(_, total)| *total == 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::journal::record;
    use super::super::plan::tests::column;
    use super::*;
    use crate::code::Code;
    use crate::column::Value;
    use crate::error::Failure;

    /// What is found of pairs, each a method, the total of LPIPS and whether the files are copies.
    fn found(pairs: &[(&str, Option<f64>, bool)]) -> Identical {
        let mut methods = Methods::default();
        for &(method, total, is_copy) in pairs {
            let failed = || Record::failed(0, Failure::new(Code::Size, "no"));
            let mut of = total.map_or_else(failed, |total| record(0, total));
            of.values = total.into_iter().map(|total| Some(Value::whole(total))).collect();
            if let [_, distorted] = &mut of.stamps[..] {
                distorted.xxh3 += u128::from(!is_copy);
            }
            let entry = Entry {
                id: String::new(),
                item: String::new(),
                method: method.to_owned(),
                reference: String::new(),
                distorted: String::new(),
                carried: Vec::new(),
            };
            methods.add(&entry, &of, &[column("lpips_alex")]);
        }
        methods.identical()
    }

    #[test]
    fn every_scored_pair_of_a_method_must_be_identical() {
        let (zero, other) = (Some(0.0), Some(1e-9));
        let expected = Identical { methods: 2, pairs: 5, first: "b".to_owned() };
        let pairs = [
            ("one", zero, true),
            ("mixed", zero, false),
            ("b", zero, false),
            ("a", other, true),
            ("mixed", other, false),
            ("b", zero, true),
            ("a", other, true),
            ("b", None, false),
            ("b", zero, false),
        ];
        assert_eq!(found(&pairs), expected);
        assert_eq!(found(&[("a", None, false), ("a", None, false)]), Identical::default());
    }
}
