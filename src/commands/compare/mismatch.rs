//! What to say when two runs do not fit together.

use std::collections::BTreeSet;

use super::super::inputs::Input;
use super::super::rows::{Layout, Row, each};
use crate::compare::align::Fault;
use crate::error::Refusal;
use crate::suggest::nearest;

/// Ids and methods that are read for a suggestion.
const SAMPLE: usize = 2000;

/// A row that a message is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    id: String,
    line: u64,
    size: [String; 2],
}

impl Found {
    pub(super) fn of(row: &Row<'_>) -> Found {
        Found { id: row.id().to_owned(), line: row.line, size: row.size().map(str::to_owned) }
    }
}

/// Ids that come twice, or pairs of other images.
pub(super) fn refusal(fault: Fault, sides: [(&Input, Vec<Found>); 2]) -> Refusal {
    let [(base, of_base), (new, of_new)] = &sides;
    if let Fault::Duplicate(_) = fault {
        let (input, found) = if of_base.len() > 1 { &sides[0] } else { &sides[1] };
        let (path, id) = (input.table.display(), found.first().map_or("", |row| &row.id));
        let lines: Vec<String> = found.iter().map(|row| row.line.to_string()).collect();
        let text = format!("`{path}`: the id `{id}` comes twice, in lines {}", lines.join(" and "));
        return Refusal::inputs(text)
            .hint("name a column of unique ids with `--id-column`, or remove one of the rows");
    }
    let (Some(first), Some(second)) = (of_base.first(), of_new.first()) else {
        return Refusal::inputs("a pair has other images in the two runs");
    };
    let Found { id, line, size: [width, height] } = first;
    let [other_width, other_height] = &second.size;
    let what = if first.size == second.size {
        "the reference has other contents in the two runs".to_owned()
    } else {
        format!("the images are {width}x{height} there and {other_width}x{other_height} here")
    };
    let (there, here) = (base.table.display(), new.table.display());
    Refusal::inputs(format!("`{id}` ({there} line {line}, {here} line {}): {what}", second.line))
        .hint("compare runs of the same data set; scores of other images have no common meaning")
}

/// A sample of the distinct values of a cell.
fn sample(input: &Input, cell: fn(&Row<'_>) -> String) -> anyhow::Result<BTreeSet<String>> {
    let layout = Layout::of(input, &[], &[], None)?;
    let mut found = BTreeSet::new();
    each(input, &layout, |row| {
        if found.len() < SAMPLE {
            found.insert(cell(row));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Two runs without a common id.
pub(super) fn nothing_in_common(base: &Input, new: &Input) -> anyhow::Result<Refusal> {
    let ids = [sample(base, |row| row.id().to_owned())?, sample(new, |row| row.id().to_owned())?];
    let methods =
        [sample(base, |row| row.method().to_owned())?, sample(new, |row| row.method().to_owned())?];
    let first = ids[0].first().map_or("", String::as_str);
    let near = nearest(first, ids[1].iter().map(String::as_str));
    let near = near.or(ids[1].first().map(String::as_str)).unwrap_or_default();
    let text = format!(
        "`{}` and `{}` have no id in common: `{first}` there, `{near}` here",
        base.table.display(),
        new.table.display()
    );
    let hint = match likely_mapping(&ids, &methods) {
        Some((old, new)) => {
            format!("if these are one method under two names: `--map-method {old}={new}`")
        }
        None => "give pairs the same ids in both runs, or name the columns of ids with \
                 `--id-column`"
            .to_owned(),
    };
    Ok(Refusal::inputs(text).hint(hint))
}

/// Two methods whose ids are equal but for the method's name, or the only ones.
fn likely_mapping<'a>(
    ids: &[BTreeSet<String>; 2],
    methods: &'a [BTreeSet<String>; 2],
) -> Option<(&'a str, &'a str)> {
    let pairs = methods[0].iter().flat_map(|old| methods[1].iter().map(move |new| (old, new)));
    for (old, new) in pairs.filter(|(old, new)| old != new && !old.is_empty() && !new.is_empty()) {
        let renamed = |id: &String| {
            let rest = id.strip_prefix(old.as_str())?;
            rest.starts_with('/').then(|| format!("{new}{rest}"))
        };
        if ids[0].iter().filter_map(renamed).any(|id| ids[1].contains(&id)) {
            return Some((old, new));
        }
    }
    None
}

/// A method that a run does not have.
pub(in crate::commands) fn no_method(input: &Input, method: &str) -> anyhow::Result<Refusal> {
    let mut methods = sample(input, |row| row.method().to_owned())?;
    methods.remove("");
    if methods.is_empty() {
        let text = format!("the pairs of `{}` have no method", input.table.display());
        return Ok(Refusal::inputs(text).hint(format!("leave out the method `{method}`")));
    }
    let near = nearest(method, methods.iter().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let names: Vec<String> = methods.iter().map(|name| format!("`{name}`")).collect();
    let text = format!("`{}` has no method `{method}`", input.table.display());
    Ok(Refusal::inputs(text).hint(format!("{near}its methods are {}", names.join(", "))))
}

/// The methods of a run.
pub(super) fn methods(input: &Input) -> anyhow::Result<BTreeSet<String>> {
    sample(input, |row| row.method().to_owned())
}
