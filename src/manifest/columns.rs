//! What the columns of a manifest mean, and the defaults of those that are absent.

use std::collections::HashSet;
use std::path::Path;

use csv::StringRecord;

use super::Entry;
use crate::error::{Refusal, quoted};
use crate::suggest::nearest;

/// Headers that name the reference, the preferred one first.
pub(super) const REFERENCE: &[&str] = &["ref", "reference", "gt", "hr"];
/// Headers that name the distorted image, the preferred one first.
const DISTORTED: &[&str] = &["dist", "distorted", "pred", "sr"];
/// Columns and methods of the two distorted images of a triplet.
pub(super) const SIDES: [&str; 2] = ["p0", "p1"];
/// Names of output columns, which a carried column must not have.
const RESERVED: &[&str] = &["width", "height", "status", "error_code", "error", "metric"];
/// Starts of the names of metric columns.
const RESERVED_PREFIXES: &[&str] = &["lpips_", "baseline_"];

/// Whether a carried column cannot have this name, because it has a meaning of its own.
#[must_use]
pub fn has_meaning(name: &str) -> bool {
    let known = REFERENCE.iter().chain(DISTORTED).chain(&["id"]);
    known.copied().any(|one| one == name) || is_output(name)
}

/// Whether a header names both paths of a pair, or the paths of a triplet.
pub(super) fn has_paths(header: &[String]) -> bool {
    let has_one = |names: &[&str]| header.iter().any(|name| names.contains(&name.as_str()));
    has_one(REFERENCE) && (has_one(DISTORTED) || has_one(&SIDES))
}

/// Whether this is the name of an output column.
fn is_output(name: &str) -> bool {
    let is_metric = RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    is_metric || RESERVED.contains(&name)
}

/// Where the columns are.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) reference: usize,
    pub(super) distorted: usize,
    id: Option<usize>,
    item: Option<usize>,
    method: Option<usize>,
    pub(super) carried: Vec<usize>,
}

impl Columns {
    pub(super) fn new(header: &[String]) -> Result<Columns, Refusal> {
        if let Some(place) = header.iter().position(String::is_empty) {
            let message = format!("column {} of {} has no name", place + 1, header.len());
            return Err(Refusal::inputs(message).hint("name it in the header, or remove it"));
        }
        let mut seen = HashSet::new();
        if let Some(name) = header.iter().find(|name| !seen.insert(*name)) {
            return Err(Refusal::inputs(format!("the column `{name}` appears twice"))
                .hint("rename one of the two"));
        }
        let position = |name: &str| header.iter().position(|column| column == name);
        let one_of = |names: &[&str]| -> Result<usize, Refusal> {
            let found: Vec<&str> =
                names.iter().copied().filter(|name| position(name).is_some()).collect();
            match found[..] {
                [name] => Ok(position(name).unwrap_or_default()),
                [] => Err(no_column(header, names)),
                _ => Err(Refusal::inputs(format!("the columns {} mean the same", quoted(&found)))
                    .hint("keep one of them, rename the others")),
            }
        };
        let (reference, distorted) = (one_of(REFERENCE)?, one_of(DISTORTED)?);
        let (id, item, method) = (position("id"), position("item"), position("method"));
        let known = [Some(reference), Some(distorted), id, item, method];
        let carried: Vec<usize> =
            (0..header.len()).filter(|&column| !known.contains(&Some(column))).collect();
        for name in carried.iter().map(|&column| &header[column]) {
            if is_output(name) {
                let message = format!("the column `{name}` has the name of an output column");
                let hint = format!("rename it, for example to `input_{name}`");
                return Err(Refusal::inputs(message).hint(hint));
            }
        }
        Ok(Columns { reference, distorted, id, item, method, carried })
    }

    pub(super) fn entry(&self, record: &StringRecord) -> Entry {
        let cell = |column: Option<usize>| {
            column.and_then(|column| record.get(column)).filter(|cell| !cell.is_empty())
        };
        let text = |column| record.get(column).unwrap_or_default().to_owned();
        let reference = text(self.reference);
        let item = cell(self.item).map_or_else(|| without_extension(&reference), str::to_owned);
        let method = cell(self.method).unwrap_or_default().to_owned();
        let id = match cell(self.id) {
            Some(id) => id.to_owned(),
            None if method.is_empty() => item.clone(),
            None => format!("{method}/{item}"),
        };
        let carried = self.carried.iter().map(|&column| text(column)).collect();
        Entry { id, item, method, distorted: text(self.distorted), reference, carried }
    }
}

fn without_extension(path: &str) -> String {
    Path::new(path).with_extension("").to_string_lossy().into_owned()
}

fn no_column(header: &[String], names: &[&str]) -> Refusal {
    let accepted = quoted(names);
    if header.is_empty() {
        return Refusal::inputs(format!("there is no header, and so no column `{}`", names[0]))
            .hint("the first line must name the columns: at least `ref,dist`");
    }
    let found: Vec<&str> = header.iter().map(String::as_str).collect();
    let message = format!("no column `{}`; found {}", names[0], quoted(&found));
    let is_path = |cell: &&str| Path::new(cell).extension().is_some();
    if let ([only], Some(separator)) = (&found[..], header[0].find([';', '\t', ' ', '|'])) {
        let separator = &only[separator..=separator];
        return Refusal::inputs(message).hint(format!(
            "separate cells with commas, or tabs in a .tsv file, not `{separator}`"
        ));
    }
    if found.iter().any(is_path) {
        return Refusal::inputs(message).hint(
            "the first line names the columns: put `ref,dist` above the first pair, or what the \
             columns are",
        );
    }
    let near = names.iter().find_map(|name| nearest(name, found.iter().copied()));
    Refusal::inputs(message).hint(match near {
        Some(near) => format!("rename `{near}` to `{}`; accepted here: {accepted}", names[0]),
        None => format!("the first line must name the columns; accepted here: {accepted}"),
    })
}
