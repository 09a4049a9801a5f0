//! What is compared, and how pairs are grouped.

use super::super::gates::METHOD;
use super::super::inputs::Input;
use super::super::rows::Layout;
use crate::compare::gate::Gate;

/// What is averaged before anything is compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Pairs of one item.
    Item,
    /// Nothing: every pair counts.
    Pair,
    /// Pairs with one value of this column.
    Column(String),
}

/// What is compared in every two runs.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The metrics, in order.
    pub(super) metrics: Vec<String>,
    /// Columns that rows are grouped by.
    pub(super) group_by: Vec<String>,
    pub(super) unit: Unit,
    /// Methods of the baseline, and what they are called in the new run.
    pub(super) mapped: Vec<(String, String)>,
    /// Gates, each with the metric that it is about.
    pub(super) gates: Vec<(Gate, usize)>,
    pub(super) intersect: bool,
    /// How many movers are kept.
    pub(super) top: usize,
}

impl Setup {
    /// Columns whose values distinguish pairs: those of `--group-by`, then those of gates.
    pub(super) fn group_columns(&self) -> Vec<String> {
        let mut columns = self.group_by.clone();
        for name in self.columns_of_gates() {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        columns
    }

    fn columns_of_gates(&self) -> impl Iterator<Item = &String> {
        let scopes = self.gates.iter().flat_map(|(gate, _)| &gate.scope);
        let names = scopes.flat_map(|scope| &scope.groups).map(|(name, _)| name);
        names.filter(|name| *name != METHOD)
    }

    pub(super) fn layout(&self, input: &Input) -> anyhow::Result<Layout> {
        let unit = match &self.unit {
            Unit::Column(name) => Some(name.as_str()),
            Unit::Item | Unit::Pair => None,
        };
        for name in self.columns_of_gates() {
            input.require(name, "--fail-if")?;
        }
        Layout::of(input, &self.metrics, &self.group_columns(), unit)
    }
}
