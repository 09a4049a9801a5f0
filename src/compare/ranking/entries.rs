//! Which method, group and item the pairs of a ranking belong to.

use std::collections::HashMap;

use rayon::prelude::*;

/// Which method, group and item each pair belongs to: 16 bytes a pair.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// Names of methods, in the order of their first pair.
    pub methods: Vec<String>,
    /// Values of the group columns, in the order of their first pair.
    pub groups: Vec<Vec<String>>,
    cells: Vec<Cell>,
    cell_of: HashMap<String, u32>,
    places: Vec<Place>,
}

/// The pairs of one method in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    pub(super) group: u32,
    pub(super) method: u32,
}

/// A pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    item: u64,
    cell: u32,
    row: u32,
}

impl Entries {
    /// With room for so many pairs.
    #[must_use]
    pub fn with_capacity(pairs: usize) -> Entries {
        Entries { places: Vec::with_capacity(pairs), ..Entries::default() }
    }

    /// Adds the next pair: its method, the values of the group columns, and a hash of its item.
    pub fn push<'a>(&mut self, method: &str, group: impl Iterator<Item = &'a str>, item: u64) {
        let group: Vec<&str> = group.collect();
        let text = format!("{method}\0{}", group.join("\0"));
        let cell = match self.cell_of.get(&text) {
            Some(&cell) => cell,
            None => {
                let cell = self.cells.len() as u32;
                let method = place_of(&mut self.methods, |known| known == method, || method.into());
                let group = place_of(
                    &mut self.groups,
                    |known| known.iter().map(String::as_str).eq(group.iter().copied()),
                    || group.iter().map(|&value| value.to_owned()).collect(),
                );
                self.cells.push(Cell { group, method });
                self.cell_of.insert(text, cell);
                cell
            }
        };
        self.places.push(Place { item, cell, row: self.places.len() as u32 });
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Sorts the pairs by group and item. Afterwards pairs cannot be added.
    #[must_use]
    pub fn sorted(mut self) -> Sorted {
        let Entries { methods, groups, cells, ref mut places, .. } = self;
        places.par_sort_unstable_by_key(|place| {
            let Cell { group, method } = cells[place.cell as usize];
            (group, place.item, method, place.row)
        });
        Sorted { methods, groups, cells, places: self.places }
    }
}

fn place_of<T>(list: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> u32 {
    let found = list.iter().position(is_it);
    found.unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    }) as u32
}

/// [`Entries`], by group and item.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// Names of methods.
    pub methods: Vec<String>,
    /// Values of the group columns.
    pub groups: Vec<Vec<String>>,
    pub(super) cells: Vec<Cell>,
    places: Vec<Place>,
}

impl Sorted {
    /// Calls `visit` with the rows of each item of a group: the item, and for each pair its method
    /// and row, by method.
    pub fn items(&self, group: usize, mut visit: impl FnMut(u64, &[(usize, u32)])) {
        let mut pairs = Vec::new();
        for same in self.group(group).chunk_by(|a, b| a.item == b.item) {
            pairs.clear();
            let pair = |place: &Place| (self.cells[place.cell as usize].method as usize, place.row);
            pairs.extend(same.iter().map(pair));
            visit(same[0].item, &pairs);
        }
    }

    /// Number of the items of a group.
    pub(super) fn item_count(&self, group: usize) -> usize {
        self.group(group).chunk_by(|a, b| a.item == b.item).count()
    }

    fn group(&self, group: usize) -> &[Place] {
        let of = |place: &Place| self.cells[place.cell as usize].group as usize;
        let start = self.places.partition_point(|place| of(place) < group);
        let len = self.places[start..].partition_point(|place| of(place) == group);
        &self.places[start..start + len]
    }
}
