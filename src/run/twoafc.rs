//! The 2AFC score of the LPIPS paper: how often a metric agrees with people about which of two
//! distorted images is nearer to the reference.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Context as _;
use xxhash_rust::xxh3::xxh3_64;

use super::cells::ALL;
use super::tables::Tables;
use crate::batch::Row;
use crate::column::Better;
use crate::decimal::nine_digits;
use crate::manifest::triplets;
use crate::stats::{Observation, Summary, summarize};

/// One line of twoafc.csv.
#[derive(Clone, PartialEq, Debug)]
pub struct Agreement {
    /// Cells of the group columns; [`ALL`] in the row of all triplets.
    pub group: Vec<String>,
    /// The metric column.
    pub metric: String,
    /// Triplets of the group.
    pub expected: usize,
    /// Triplets of which both pairs have this metric.
    pub scored: usize,
    /// Of their scores; `None` when nothing was scored.
    pub summary: Option<Summary>,
}

/// What a triplet scores: the share of people who agree with the metric; a tie counts half.
/// (`score_2afc_dataset` of the published code.)
#[must_use]
pub fn score(better: Better, d0: f64, d1: f64, judge: f64) -> f64 {
    let (d0, d1) = match better {
        Better::Lower => (d0, d1),
        Better::Higher => (d1, d0),
    };
    if d0 < d1 {
        1.0 - judge
    } else if d1 < d0 {
        judge
    } else {
        0.5
    }
}

impl Tables<'_> {
    /// The agreement of every metric: all triplets first, then the groups in the order of their
    /// first triplet.
    ///
    /// # Errors
    /// When the manifest or the journal cannot be read.
    pub fn agreements(&self) -> anyhow::Result<Vec<Agreement>> {
        let Some(judge) = self.manifest.judge() else { return Ok(Vec::new()) };
        let mut groups = Groups::new(self.group_by.len(), self.columns.len());
        let mut rows = self.manifest.rows()?;
        let mut records = self.records.reader(1);
        for triplet in 0..self.manifest.len() as Row / 2 {
            let entry = rows.read(2 * triplet)?;
            let sides = [records.read(2 * triplet)?, records.read(2 * triplet + 1)?];
            let judgement = triplets::judgement(&entry.carried[judge]);
            let judgement = judgement.context("a judgement that is no share")?;
            let item = xxh3_64(entry.item.as_bytes());
            let value = |column: usize| {
                let total = |side: usize| sides[side].as_ref()?.total(column);
                let column = &self.columns[column];
                column.is_ranked().then_some(())?;
                Some(score(column.better, total(0)?, total(1)?, judgement))
            };
            let cells = self.group_by.iter().map(|column| column.written(&entry));
            groups.add(cells.collect(), item, &value);
        }
        let agreements = groups.groups.into_iter().flat_map(|group| {
            let Group { cells, expected, observations } = group;
            let columns = self.columns.iter().zip(observations);
            columns.map(move |(column, mut observations)| Agreement {
                group: cells.clone(),
                metric: column.name.clone(),
                expected,
                scored: observations.len(),
                summary: summarize(&mut observations),
            })
        });
        Ok(agreements.collect())
    }

    /// Writes twoafc.csv.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_agreements(&self, rows: &[Agreement], out: &mut dyn Write) -> anyhow::Result<()> {
        let mut csv = csv::Writer::from_writer(out);
        let columns =
            ["metric", "expected", "scored", "complete", "score", "ci95_low", "ci95_high"];
        csv.write_record(self.group_header().chain(columns.map(String::from)))?;
        for Agreement { group, metric, expected, scored, summary } in rows {
            let complete = if expected == scored { "yes" } else { "no" };
            let number = |value: Option<f64>| value.map(nine_digits).unwrap_or_default();
            let interval = summary.as_ref().and_then(|summary| summary.ci95);
            let mut cells = self.text_cells(group);
            cells.push(metric.clone());
            cells.extend([expected, scored].map(ToString::to_string));
            cells.push(complete.to_owned());
            cells.push(number(summary.as_ref().map(|summary| summary.mean)));
            cells.push(number(interval.map(|(low, _)| low)));
            cells.push(number(interval.map(|(_, high)| high)));
            csv.write_record(cells)?;
        }
        Ok(csv.flush()?)
    }
}

/// Triplets by group.
struct Groups {
    /// All triplets, then the groups in the order of their first triplet.
    groups: Vec<Group>,
    places: HashMap<Vec<String>, usize>,
    /// Metric columns.
    columns: usize,
}

struct Group {
    cells: Vec<String>,
    expected: usize,
    /// By metric column.
    observations: Vec<Vec<Observation>>,
}

impl Groups {
    fn new(group_columns: usize, columns: usize) -> Groups {
        let mut groups = Groups { groups: Vec::new(), places: HashMap::new(), columns };
        groups.push(vec![ALL.to_owned(); group_columns]);
        groups
    }

    fn push(&mut self, cells: Vec<String>) -> usize {
        let observations = vec![Vec::new(); self.columns];
        self.groups.push(Group { cells, expected: 0, observations });
        self.groups.len() - 1
    }

    /// Counts a triplet, with its `value` of each metric column, in all triplets and in its group.
    fn add(&mut self, cells: Vec<String>, item: u64, value: &dyn Fn(usize) -> Option<f64>) {
        let of_its_own = (!cells.is_empty()).then(|| match self.places.get(&cells) {
            Some(&place) => place,
            None => {
                let place = self.push(cells.clone());
                self.places.insert(cells, place);
                place
            }
        });
        for place in std::iter::once(0).chain(of_its_own) {
            let Group { expected, observations, .. } = &mut self.groups[place];
            *expected += 1;
            for (column, observations) in observations.iter_mut().enumerate() {
                let observed = value(column).map(|value| Observation { item, group: 0, value });
                observations.extend(observed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(d0<d1)*(1-judge) + (d1<d0)*judge + (d1==d0)*0.5`, by hand.
    #[test]
    fn a_score_is_the_share_of_people_who_agree() {
        let cases = [
            (0.1, 0.2, 0.0, 1.0),
            (0.1, 0.2, 1.0, 0.0),
            (0.1, 0.2, 0.4, 0.6),
            (0.2, 0.1, 0.4, 0.4),
            (0.2, 0.1, 1.0, 1.0),
            (0.3, 0.3, 1.0, 0.5),
            (0.3, 0.3, 0.2, 0.5),
        ];
        for (d0, d1, judge, expected) in cases {
            assert_eq!(score(Better::Lower, d0, d1, judge), expected, "{d0} {d1} {judge}");
            assert_eq!(score(Better::Higher, d1, d0, judge), expected, "{d0} {d1} {judge}");
        }
    }
}
