//! Manifests of triplets: a reference, two distorted images, and which of the two people found
//! nearer to it. Each becomes two rows of pairs, of methods `p0` and `p1`.

use std::path::Path;

use anyhow::Context as _;

use super::format::Reader;
use super::{Location, cannot_read};
use crate::error::Refusal;

/// The methods of the two rows of a triplet, which are the names of its columns too.
pub const SIDES: [&str; 2] = ["p0", "p1"];
/// The column of what people found: the share of them that found `p1` nearer, 0 to 1.
pub const JUDGE: &str = "judge";

/// Gives the rows of pairs that a manifest of triplets stands for, its header first, to `row`.
/// Whether it is one.
///
/// # Errors
/// A [`Refusal`] when it is one and a column is missing or a judgement is no number from 0 to 1;
/// errors of `row`.
pub fn expand(
    location: &Location,
    row: &mut dyn FnMut(&[&str]) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let file = &location.file;
    let opened = Reader::open(file, location.format).with_context(|| cannot_read(file));
    // Whatever is wrong with a manifest of pairs is told when it is read as such.
    let Ok((mut reader, header)) = opened else { return Ok(false) };
    let position = |name: &str| header.iter().position(|column| column == name);
    let [Some(p0), Some(p1)] = SIDES.map(position) else { return Ok(false) };
    let needed = |name: &str| {
        position(name).ok_or_else(|| {
            fault(file, format!("a manifest of triplets has no column `{name}`"))
                .hint("triplets have the columns `ref`, `p0`, `p1` and `judge`")
        })
    };
    let (reference, judge) = (needed("ref")?, needed(JUDGE)?);
    let item = position("item").or_else(|| position("id"));
    let known =
        [Some(reference), Some(p0), Some(p1), Some(judge), position("item"), position("id")];
    let others: Vec<usize> =
        (0..header.len()).filter(|&column| !known.contains(&Some(column))).collect();
    let names = others.iter().map(|&column| header[column].as_str());
    row(&["ref", "dist", "item", "method", JUDGE].into_iter().chain(names).collect::<Vec<_>>())?;
    let mut record = csv::StringRecord::new();
    while let Some(found) = reader.read(&mut record)? {
        if let Some(found) = found.fault {
            return Err(fault(file, found.to_string()).hint(found.hint).into());
        }
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let judgement = cell(judge);
        if !judgement.parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share)) {
            let text = format!("line {}: `judge` is `{judgement}`", found.line);
            return Err(fault(file, text)
                .hint("give the share of people, from 0 to 1, that found `p1` nearer")
                .into());
        }
        let stem = Path::new(cell(reference)).with_extension("").to_string_lossy().into_owned();
        let name = item.map(cell).filter(|name| !name.is_empty()).unwrap_or(&stem);
        for (side, column) in SIDES.into_iter().zip([p0, p1]) {
            let cells = [cell(reference), cell(column), name, side, judgement];
            let others = others.iter().map(|&column| cell(column));
            row(&cells.into_iter().chain(others).collect::<Vec<_>>())?;
        }
    }
    Ok(true)
}

fn fault(file: &Path, text: String) -> Refusal {
    Refusal::inputs(format!("manifest `{}`: {text}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> anyhow::Result<Option<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs_err::write(&path, text).unwrap();
        let mut rows = String::new();
        let is_triplets = expand(&Location::of(&path), &mut |cells| {
            rows += &(cells.join(",") + "\n");
            Ok(())
        })?;
        Ok(is_triplets.then_some(rows))
    }

    #[test]
    fn a_triplet_becomes_two_pairs() {
        let rows = expanded("ref,p0,p1,judge,set\nr/1.png,a,b,0.6,cnn\nr/2.png,c,d,1,sr\n");
        let expected = "ref,dist,item,method,judge,set\nr/1.png,a,r/1,p0,0.6,cnn\n\
                        r/1.png,b,r/1,p1,0.6,cnn\nr/2.png,c,r/2,p0,1,sr\nr/2.png,d,r/2,p1,1,sr\n";
        assert_eq!(rows.unwrap().unwrap(), expected);
        assert_eq!(expanded("ref,dist\na,b\n").unwrap(), None);
        assert_eq!(expanded("").unwrap(), None);
    }

    #[test]
    fn what_is_no_judgement_is_told_with_its_line() {
        for judge in ["1.5", "-0.1", "", "yes", "NaN"] {
            let error = expanded(&format!("ref,p0,p1,judge\na,b,c,{judge}\n")).unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("line 2: `judge` is `{judge}`")),
                "{error}"
            );
        }
        let error = expanded("ref,p0,p1\na,b,c\n").unwrap_err();
        assert!(error.to_string().ends_with("no column `judge`"), "{error}");
    }
}
