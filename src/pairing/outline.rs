//! The outline of a pairing: how many pairs each value of each field has, and the first rows.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Pairing, Row};

/// Values of a field that are listed; all are counted.
const LISTED_MAX: usize = 20;
/// Rows that are shown.
const ROWS_MAX: usize = 5;

/// What becomes of folders or patterns, before an image is opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outline {
    /// Rows of the manifest.
    pub pairs: usize,
    /// The method, then the fields that are carried.
    pub fields: Vec<Values>,
    /// The first rows.
    pub rows: Vec<Sample>,
    /// Files without a partner that were left out, and images that match no pattern.
    pub left_out: usize,
    /// The first of them.
    pub left_out_names: Vec<String>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

/// The values of a field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Values {
    /// Its name.
    pub field: String,
    /// How many values it has.
    pub count: usize,
    /// The first values, each with its pairs.
    pub pairs: BTreeMap<String, usize>,
}

/// A row as an example.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Sample {
    /// The reference.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The distorted image.
    #[serde(rename = "dist")]
    pub distorted: String,
    /// What is being reproduced.
    pub item: String,
    /// Who made the distorted image.
    pub method: String,
}

impl Outline {
    /// The outline of `pairing`.
    #[must_use]
    pub fn of(pairing: &Pairing) -> Outline {
        let method = values("method", pairing.rows.iter().map(|row| row.method.as_str()));
        let carried = pairing.fields.iter().enumerate().map(|(index, field)| {
            values(field, pairing.rows.iter().map(|row| row.fields[index].as_str()))
        });
        let left_out = [&pairing.left_out, &pairing.unmatched];
        Outline {
            pairs: pairing.rows.len(),
            fields: std::iter::once(method).chain(carried).filter(|one| one.count > 0).collect(),
            rows: pairing.rows.iter().take(ROWS_MAX).map(sample).collect(),
            left_out: left_out.iter().map(|names| names.count).sum(),
            left_out_names: left_out.iter().flat_map(|names| names.kept.clone()).collect(),
            warnings: pairing.warnings.clone(),
        }
    }
}

fn values<'a>(field: &str, of_rows: impl Iterator<Item = &'a str>) -> Values {
    let mut pairs: BTreeMap<String, usize> = BTreeMap::new();
    for value in of_rows.filter(|value| !value.is_empty()) {
        match pairs.get_mut(value) {
            Some(count) => *count += 1,
            None => drop(pairs.insert(value.to_owned(), 1)),
        }
    }
    let count = pairs.len();
    Values { field: field.to_owned(), count, pairs: pairs.into_iter().take(LISTED_MAX).collect() }
}

fn sample(row: &Row) -> Sample {
    Sample {
        reference: row.reference.clone(),
        distorted: row.distorted.clone(),
        item: row.item.clone(),
        method: row.method.clone(),
    }
}
