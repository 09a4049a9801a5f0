//! Rows of two tables -> pairs that belong together.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::inputs::Input;
use super::super::references::References;
use super::super::rows::{Row, each};
use super::mismatch::{self, Found};
use super::setup::{Setup, Unit};
use crate::compare::align::{Aligned, Fault, Join, Key, Pair, Side, unit_of};

/// Methods and groups, numbered.
#[derive(Debug, Default)]
pub(super) struct Cells {
    numbers: HashMap<String, u32>,
    pub(super) list: Vec<Cell>,
    text: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) method: String,
    pub(super) groups: Vec<String>,
}

impl Cells {
    fn number(&mut self, method: &str, row: &Row<'_>) -> u32 {
        self.text.clear();
        for part in [method].into_iter().chain(row.groups()) {
            self.text.push_str(part);
            self.text.push('\0');
        }
        if let Some(&number) = self.numbers.get(&self.text) {
            return number;
        }
        let number = self.list.len() as u32;
        self.numbers.insert(self.text.clone(), number);
        let groups = row.groups().map(str::to_owned).collect();
        self.list.push(Cell { method: method.to_owned(), groups });
        number
    }

    /// Which cells have a property.
    pub(super) fn which(&self, has: impl Fn(&Cell) -> bool) -> Vec<bool> {
        self.list.iter().map(has).collect()
    }
}

/// How the rows of two runs are matched.
pub(super) struct Matching<'a> {
    base: &'a Input,
    new: &'a Input,
    setup: &'a Setup,
    /// Two methods are compared item by item; this is what the row is called.
    by_item: Option<&'a str>,
}

impl<'a> Matching<'a> {
    pub(super) fn new(base: &'a Input, new: &'a Input, setup: &'a Setup) -> Matching<'a> {
        let by_item = match (&base.method, &new.method) {
            (Some(base), Some(new)) if base != new => Some(new.as_str()),
            _ => None,
        };
        Matching { base, new, setup, by_item }
    }

    fn input(&self, is_base: bool) -> &'a Input {
        if is_base { self.base } else { self.new }
    }

    /// The text that a row is matched by, and the method that it counts to.
    fn identity<'r>(&'r self, row: &Row<'r>, is_base: bool) -> (Cow<'r, str>, &'r str) {
        if let Some(method) = self.by_item {
            return (row.item().into(), method);
        }
        let mapped = self.setup.mapped.iter().find(|(old, _)| is_base && old == row.method());
        let Some((old, new)) = mapped else { return (row.id().into(), row.method()) };
        let rest = row.id().strip_prefix(old.as_str()).filter(|rest| rest.starts_with('/'));
        let id = rest.map_or_else(|| row.id().into(), |rest| format!("{new}{rest}").into());
        (id, new)
    }

    /// Calls `visit` with the id, the method and the row of every pair of one side that takes part.
    pub(super) fn each(
        &self,
        is_base: bool,
        mut visit: impl FnMut(&str, &str, &Row<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let input = self.input(is_base);
        let layout = self.setup.layout(input)?;
        each(input, &layout, |row| {
            if input.method.as_deref().is_some_and(|method| method != row.method()) {
                return Ok(());
            }
            let (id, method) = self.identity(row, is_base);
            visit(&id, method, row)
        })
    }

    /// Calls `visit` for every pair of one side.
    fn pairs(
        &self,
        is_base: bool,
        cells: &mut Cells,
        references: &References,
        mut visit: impl FnMut(&Pair<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut count = 0usize;
        self.each(is_base, |id, method, row| {
            count += 1;
            let key = Key::of(id);
            let unit = match self.setup.unit {
                Unit::Pair => key.unit(),
                Unit::Item | Unit::Column(_) => unit_of(row.unit()),
            };
            let cell = cells.number(method, row);
            let contents = row.contents(references.of(row.index));
            visit(&Pair { key, unit, cell, contents, values: row.values })
        })?;
        let input = self.input(is_base);
        match &input.method {
            Some(method) if count == 0 => Err(mismatch::no_method(input, method)?.into()),
            _ => Ok(()),
        }
    }

    /// Matches the pairs, whose cells are numbered on the way.
    ///
    /// # Errors
    /// When a table cannot be read, or an id comes twice, or two pairs are of other images.
    pub(super) fn align(&self, cells: &mut Cells) -> anyhow::Result<Aligned> {
        let references = References::of_all(&[self.base, self.new])?;
        let (of_base, of_new) = (&references[0], &references[1]);
        let side = |is_base, cells: &mut Cells, references| -> anyhow::Result<Side> {
            let mut side = Side::new(self.setup.metrics.len());
            self.pairs(is_base, cells, references, |pair| {
                side.push(pair);
                Ok(())
            })?;
            Ok(side)
        };
        let refuse = |fault: Fault| self.refusal(fault);
        let base = side(true, cells, of_base)?;
        if self.by_item.is_some() {
            let mut join = Join::of_collapsed(base.collapsed()).map_err(refuse)?;
            let new = side(false, cells, of_new)?.collapsed();
            new.each(|pair| join.add(pair)).map_err(refuse)?;
            return join.finish().map_err(refuse);
        }
        let mut join = Join::new(base).map_err(refuse)?;
        self.pairs(false, cells, of_new, |pair| join.add(pair).map_err(refuse))?;
        join.finish().map_err(refuse)
    }

    /// Reads the tables again for the names in a message.
    fn refusal(&self, fault: Fault) -> anyhow::Error {
        let (Fault::Duplicate(key) | Fault::Contents(key)) = fault;
        let find = |is_base| -> anyhow::Result<Vec<Found>> {
            let mut found = Vec::new();
            self.each(is_base, |id, _, row| {
                if Key::of(id) == key {
                    found.push(Found::of(row));
                }
                Ok(())
            })?;
            Ok(found)
        };
        match (find(true), find(false)) {
            (Ok(of_base), Ok(of_new)) => {
                mismatch::refusal(fault, [(self.base, of_base), (self.new, of_new)]).into()
            }
            (Err(error), _) | (_, Err(error)) => error,
        }
    }
}
