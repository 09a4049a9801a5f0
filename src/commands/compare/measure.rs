//! Two runs -> the units of every row of the report, selected by method and group.

use std::collections::{BTreeSet, HashMap};

use super::super::gates::METHOD;
use super::super::inputs::Input;
use super::matching::{Cells, Matching};
use super::mismatch;
use super::setup::Setup;
use crate::compare::align::{Aligned, Counts, Key, Mover, Units};
use crate::compare::tolerance::Promise;

/// A row of the report, or what a gate is applied to, before it is tested.
#[derive(Clone, Debug)]
pub(super) struct Selected {
    pub(super) metric: usize,
    pub(super) method: String,
    /// Group columns and their values; none for the total.
    pub(super) group: Vec<(String, String)>,
    /// The gate that it is for; `None` for a row of the table.
    pub(super) gate: Option<usize>,
    pub(super) units: Units,
    pub(super) counts: Counts,
}

/// The pairs that changed most in one metric.
#[derive(Clone, Debug)]
pub(super) struct Movers {
    pub(super) pairs: Vec<Moved>,
}

/// In which lists of movers a pair stands, and at which place.
type Places = HashMap<Key, Vec<(usize, usize)>>;

/// A pair that changed, with its files.
#[derive(Clone, Debug, Default)]
pub(super) struct Moved {
    pub(super) id: String,
    pub(super) base: f64,
    pub(super) new: f64,
    pub(super) difference: f64,
    pub(super) reference: String,
    /// The distorted images of baseline and new run.
    pub(super) distorted: [String; 2],
}

/// Everything that two runs have to say to each other.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) selected: Vec<Selected>,
    pub(super) movers: Vec<Movers>,
    /// For the first metric.
    pub(super) counts: Counts,
    /// Methods that only the baseline has, and those that only the new run has.
    pub(super) lone_methods: [Vec<String>; 2],
    /// Gates that name a group that no pair is in.
    pub(super) idle_gates: Vec<usize>,
}

/// Compares two runs.
///
/// # Errors
/// When a table cannot be read, or the runs have no pair in common.
pub(super) fn measure(
    base: &Input,
    new: &Input,
    setup: &Setup,
    promises: &[Promise],
) -> anyhow::Result<Measured> {
    let matching = Matching::new(base, new, setup);
    let mut cells = Cells::default();
    let aligned = matching.align(&mut cells)?;
    let everything = cells.which(|_| true);
    let counts = aligned.counts(0, &everything);
    if counts.common == 0 {
        return Err(mismatch::nothing_in_common(base, new)?.into());
    }
    let select = Select { aligned: &aligned, cells: &cells, setup, promises };
    let selected = select.rows();
    let gated = select.gates();
    let idle = |gate: &usize| !gated.iter().any(|one| one.gate == Some(*gate));
    let idle_gates = (0..setup.gates.len()).filter(idle).collect();
    let (mut movers, keys) = select.movers();
    if !keys.is_empty() {
        name(&matching, &mut movers, &keys)?;
    }
    Ok(Measured {
        selected: selected.into_iter().chain(gated).collect(),
        movers,
        counts,
        lone_methods: select.lone_methods(),
        idle_gates,
    })
}

/// Finds ids and paths of the pairs that changed most.
fn name(matching: &Matching<'_>, movers: &mut [Movers], keys: &Places) -> anyhow::Result<()> {
    for is_base in [true, false] {
        matching.each(is_base, |id, _, row| {
            let [reference, distorted] = row.paths();
            for &(list, place) in keys.get(&Key::of(id)).into_iter().flatten() {
                let moved = &mut movers[list].pairs[place];
                moved.id.clear();
                moved.id.push_str(id);
                reference.clone_into(&mut moved.reference);
                distorted.clone_into(&mut moved.distorted[usize::from(!is_base)]);
            }
            Ok(())
        })?;
    }
    // Equal changes come in the order of hashes otherwise.
    for list in movers {
        let size = |pair: &Moved| pair.difference.abs();
        list.pairs.sort_by(|a, b| size(b).total_cmp(&size(a)).then_with(|| a.id.cmp(&b.id)));
    }
    Ok(())
}

/// Picks rows out of two aligned runs.
struct Select<'a> {
    aligned: &'a Aligned,
    cells: &'a Cells,
    setup: &'a Setup,
    promises: &'a [Promise],
}

impl Select<'_> {
    fn methods(&self) -> BTreeSet<&str> {
        self.cells.list.iter().map(|cell| cell.method.as_str()).collect()
    }

    fn counts_of(&self, method: &str) -> Counts {
        self.aligned.counts(0, &self.cells.which(|cell| cell.method == method))
    }

    fn lone_methods(&self) -> [Vec<String>; 2] {
        let mut lone = [Vec::new(), Vec::new()];
        for method in self.methods() {
            let counts = self.counts_of(method);
            if counts.common == 0 {
                lone[usize::from(counts.only_base == 0)].push(method.to_owned());
            }
        }
        lone
    }

    /// The rows of the table: for every metric and method that both runs have the total, then the
    /// groups in the order of their values.
    fn rows(&self) -> Vec<Selected> {
        let mut rows = Vec::new();
        let columns = self.setup.group_by.len();
        for metric in 0..self.setup.metrics.len() {
            for method in self.methods() {
                if self.counts_of(method).common == 0 {
                    continue;
                }
                rows.push(self.select(metric, method, &[], None));
                let of_method = self.cells.list.iter().filter(|cell| cell.method == method);
                let groups: BTreeSet<&[String]> =
                    of_method.map(|cell| &cell.groups[..columns]).collect();
                for values in groups.into_iter().filter(|values| !values.is_empty()) {
                    let names = self.setup.group_by.iter().cloned();
                    let group: Vec<_> = names.zip(values.iter().cloned()).collect();
                    let row = self.select(metric, method, &group, None);
                    if row.counts.common > 0 {
                        rows.push(row);
                    }
                }
            }
        }
        rows
    }

    /// What gates are applied to: every method, also those that only one run has.
    fn gates(&self) -> Vec<Selected> {
        let mut rows = Vec::new();
        for (index, (gate, metric)) in self.setup.gates.iter().enumerate() {
            let groups = gate.scope.as_ref().map(|scope| scope.groups.clone()).unwrap_or_default();
            for method in self.methods() {
                let is_named = groups.iter().all(|(name, value)| name != METHOD || value == method);
                let is_left_out = self.setup.intersect && self.counts_of(method).common == 0;
                if !is_named || is_left_out {
                    continue;
                }
                let row = self.select(*metric, method, &groups, Some(index));
                let Counts { common, only_base, only_new, .. } = row.counts;
                if common + only_base + only_new > 0 {
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn select(
        &self,
        metric: usize,
        method: &str,
        group: &[(String, String)],
        gate: Option<usize>,
    ) -> Selected {
        let columns = self.setup.group_columns();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let wanted: Vec<(usize, &str)> =
            group.iter().filter_map(|(name, value)| Some((place(name)?, value.as_str()))).collect();
        let cells = self.cells.which(|cell| {
            cell.method == method && wanted.iter().all(|&(at, value)| cell.groups[at] == value)
        });
        Selected {
            metric,
            method: method.to_owned(),
            group: group.to_vec(),
            gate,
            units: self.aligned.units(metric, &cells, self.promises[metric]),
            counts: self.aligned.counts(metric, &cells),
        }
    }

    /// The pairs that changed most, and where each of them stands in the lists.
    fn movers(&self) -> (Vec<Movers>, Places) {
        let mut keys = Places::new();
        let everything = self.cells.which(|_| true);
        let mut lists = Vec::new();
        for metric in 0..self.setup.metrics.len() {
            let promise = self.promises[metric];
            let found = self.aligned.movers(metric, &everything, promise, self.setup.top);
            for (place, mover) in found.iter().enumerate() {
                keys.entry(mover.key).or_default().push((metric, place));
            }
            let moved = |&Mover { base, new, difference, .. }: &Mover| Moved {
                base,
                new,
                difference,
                ..Moved::default()
            };
            lists.push(Movers { pairs: found.iter().map(moved).collect() });
        }
        (lists, keys)
    }
}
