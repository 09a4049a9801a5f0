//! Triplets: a reference, two distorted images, and which of the two people found nearer to it.
//! A manifest with a row per triplet becomes one with two rows, of methods `p0` and `p1`; a
//! manifest that has such rows is recognised by all of them, or refused.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use csv::StringRecord;
use xxhash_rust::xxh3::xxh3_128;

use super::columns::{REFERENCE, SIDES};
use super::fault::{Fault, Faults};
use super::format::Reader;
use super::{Entry, Location, cannot_read, expect_file};
use crate::error::Refusal;

/// The column of what people found: the share of them that found `p1` nearer, 0 to 1.
pub const JUDGE: &str = "judge";

const SHARE: &str = "give the share of people, from 0 to 1, that found `p1` nearer";
const IN_TURNS: &str = "put the `p1` row of each triplet right below its `p0` row, with equal \
                        `ref`, `item` and `judge`; if the rows are no triplets, \
                        rename the column `judge`";

/// A judgement as a number.
#[must_use]
pub fn judgement(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

/// The rows of pairs that a manifest of triplets stands for, their header first.
#[derive(Debug)]
pub struct Triplets {
    reader: Reader,
    header: Vec<String>,
    location: Location,
}

/// Where the columns of triplets are.
struct Columns {
    reference: usize,
    sides: [usize; 2],
    judge: usize,
    id: Option<usize>,
    item: Option<usize>,
    others: Vec<usize>,
}

impl Triplets {
    /// Opens a manifest; `None` if it has no columns of triplets. Whatever is wrong with a manifest
    /// of pairs is reported when it is read as such.
    ///
    /// # Errors
    /// A [`Refusal`] when the file is none that can be read.
    pub fn open(location: &Location) -> anyhow::Result<Option<Triplets>> {
        expect_file(location)?;
        let opened = Reader::open(&location.file, location.format)
            .with_context(|| cannot_read(&location.file));
        let Ok((reader, header)) = opened else { return Ok(None) };
        let has = |name: &str| header.iter().any(|column| column == name);
        let sides = SIDES.into_iter().filter(|side| has(side)).count();
        let is_triplets = sides == 2 || (sides == 1 && has(JUDGE) && !has("dist"));
        Ok(is_triplets.then(|| Triplets { reader, header, location: location.clone() }))
    }

    /// As [`Manifest::dialect`](super::Manifest::dialect).
    #[must_use]
    pub fn dialect(&self) -> Vec<String> {
        self.location
            .dialect
            .iter()
            .cloned()
            .chain(self.reader.dialect(self.location.format))
            .collect()
    }

    /// Gives each row of pairs to `row`, the header first.
    ///
    /// # Errors
    /// A [`Refusal`] when a column is missing, or with the faults of rows; errors of `row`.
    pub fn expand(
        mut self,
        row: &mut dyn FnMut(&[&str]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let columns =
            Columns::new(&self.header).map_err(|refusal| self.location.located(refusal))?;
        let Columns { reference, sides, judge, id, item, others } = &columns;
        self.reader.expect_paths(&[*reference, sides[0], sides[1]]);
        // With an id, several triplets may have one item.
        let has_ids = id.is_some() && item.is_some();
        let first = ["ref", "dist", "item", "method", JUDGE].into_iter();
        let names = others.iter().map(|&column| self.header[column].as_str());
        row(&has_ids.then_some("id").into_iter().chain(first).chain(names).collect::<Vec<_>>())?;
        let mut faults = Faults::default();
        let mut lines: HashMap<u128, u64> = HashMap::new();
        let mut record = StringRecord::new();
        while let Some(found) = self.reader.read(&mut record)? {
            let line = found.line;
            let fault = found.fault.or_else(|| columns.fault_of(&record, line));
            if let Some(fault) = fault {
                faults.push(fault);
                continue;
            }
            let cell = |column: usize| record.get(column).unwrap_or_default();
            let filled = |column: &Option<usize>| column.map(cell).filter(|name| !name.is_empty());
            let stem =
                Path::new(cell(*reference)).with_extension("").to_string_lossy().into_owned();
            let name = filled(item).or(filled(id)).unwrap_or(&stem);
            let key = filled(id).unwrap_or(name);
            let earlier = *lines.entry(xxh3_128(key.as_bytes())).or_insert(line);
            if earlier != line {
                let message = format!("the triplet `{key}` appears again; first in line {earlier}");
                faults.push(Fault::at_line(line, message, "give each triplet its own `id`"));
                continue;
            }
            for (side, column) in SIDES.into_iter().zip(sides) {
                let id = has_ids.then(|| format!("{side}/{key}"));
                let cells = [cell(*reference), cell(*column), name, side, cell(*judge)];
                let others = others.iter().map(|&column| cell(column));
                row(&id.as_deref().into_iter().chain(cells).chain(others).collect::<Vec<_>>())?;
            }
        }
        match faults.refusal() {
            Some(refusal) => Err(self.location.located(refusal).into()),
            None => Ok(()),
        }
    }
}

impl Columns {
    fn new(header: &[String]) -> Result<Columns, Refusal> {
        const NEEDED: &str = "triplets have the columns `ref`, `p0`, `p1` and `judge`";
        let position = |name: &str| header.iter().position(|column| column == name);
        let needed = |name: &str, found: Option<usize>| {
            let missing =
                || Refusal::inputs(format!("a manifest of triplets has no column `{name}`"));
            found.ok_or_else(|| missing().hint(NEEDED))
        };
        for name in ["dist", "method"] {
            if position(name).is_some() {
                let message = format!("a manifest of triplets has a column `{name}`");
                let hint = "rename the column; the rows of a triplet have the images and methods \
                            `p0` and `p1`";
                return Err(Refusal::inputs(message).hint(hint));
            }
        }
        let reference = needed("ref", REFERENCE.iter().find_map(|name| position(name)))?;
        let sides = [needed("p0", position("p0"))?, needed("p1", position("p1"))?];
        let judge = needed(JUDGE, position(JUDGE))?;
        let (id, item) = (position("id"), position("item"));
        let known = [Some(reference), Some(sides[0]), Some(sides[1]), Some(judge), id, item];
        let others = (0..header.len()).filter(|&column| !known.contains(&Some(column))).collect();
        Ok(Columns { reference, sides, judge, id, item, others })
    }

    /// What is wrong with a row whose cells could be read.
    fn fault_of(&self, record: &StringRecord, line: u64) -> Option<Fault> {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let [p0, p1] = self.sides;
        for (name, column) in [("ref", self.reference), ("p0", p0), ("p1", p1)] {
            if cell(column).is_empty() {
                let message = format!("the `{name}` cell is empty");
                return Some(Fault::at_line(line, message, "give every triplet its three paths"));
            }
        }
        let judge = cell(self.judge);
        let fault = || Fault::at_line(line, format!("`judge` is `{judge}`"), SHARE);
        judgement(judge).is_none().then(fault)
    }
}

/// Finds out whether the rows of a manifest of pairs are triplets: two rows each, `p0` and `p1`.
#[derive(Debug)]
pub(super) struct Judged {
    /// The carried column of judgements.
    judge: Option<usize>,
    rows: usize,
    /// Rows with the method of a side.
    sides: usize,
    /// The last row of a `p0`.
    first: Option<Entry>,
    /// Why the rows are not all triplets.
    fault: Option<Fault>,
}

impl Judged {
    pub(super) fn new(carried: &[String]) -> Judged {
        let judge = carried.iter().position(|column| column == JUDGE);
        Judged { judge, rows: 0, sides: 0, first: None, fault: None }
    }

    /// Takes the next row.
    pub(super) fn add(&mut self, line: u64, entry: Entry) {
        let Some(judge) = self.judge else { return };
        self.sides += usize::from(SIDES.contains(&&*entry.method));
        if self.fault.is_none() {
            self.fault = self.fault_of(line, &entry, judge);
        }
        self.first = self.rows.is_multiple_of(2).then_some(entry);
        self.rows += 1;
    }

    fn fault_of(&self, line: u64, entry: &Entry, judge: usize) -> Option<Fault> {
        let side = SIDES[self.rows % 2];
        if entry.method != side {
            let method = &entry.method;
            let message = format!("expected the row `{side}` of a triplet, found `{method}`");
            return Some(Fault::at_line(line, message, IN_TURNS));
        }
        if let Some(first) = self.first.as_ref().filter(|_| side == SIDES[1]) {
            let pairs = [
                ("ref", &first.reference, &entry.reference),
                ("item", &first.item, &entry.item),
                (JUDGE, &first.carried[judge], &entry.carried[judge]),
            ];
            if let Some((name, p0, p1)) = pairs.into_iter().find(|(_, p0, p1)| p0 != p1) {
                let message = format!("`{name}` is `{p0}` for `p0` and `{p1}` for `p1`");
                return Some(Fault::at_line(line, message, IN_TURNS));
            }
        }
        let found = &entry.carried[judge];
        let fault = || Fault::at_line(line, format!("`judge` is `{found}`"), SHARE);
        judgement(found).is_none().then(fault)
    }

    /// The column of judgements if all rows are triplets, `None` if none is.
    ///
    /// # Errors
    /// The first row because of which only some of them are.
    pub(super) fn finish(self) -> Result<Option<usize>, Fault> {
        match self.fault {
            _ if self.sides == 0 => Ok(None),
            Some(fault) => Err(fault),
            None if self.rows % 2 == 1 => {
                let message = "the last triplet has no row `p1`";
                Err(Fault {
                    place: "end of file".to_owned(),
                    message: message.into(),
                    hint: IN_TURNS,
                })
            }
            None => Ok(self.judge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;
    use crate::manifest::Manifest;

    fn location(text: &str) -> (tempfile::TempDir, Location) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs_err::write(&path, text).unwrap();
        (folder, Location::of(&path))
    }

    fn expanded(text: &str) -> anyhow::Result<Option<String>> {
        let (_folder, location) = location(text);
        let Some(triplets) = Triplets::open(&location)? else { return Ok(None) };
        let mut rows = String::new();
        triplets.expand(&mut |cells| {
            rows += &(cells.join(",") + "\n");
            Ok(())
        })?;
        Ok(Some(rows))
    }

    fn refused(text: &str) -> String {
        render(&expanded(text).unwrap_err())
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
    fn triplets_of_one_item_differ_by_their_ids() {
        let rows = expanded("gt,p0,p1,judge,id,item\nr,a,b,0,1,x\nr,c,d,1,2,x\n").unwrap().unwrap();
        let expected = "id,ref,dist,item,method,judge\np0/1,r,a,x,p0,0\np1/1,r,b,x,p1,0\n\
                        p0/2,r,c,x,p0,1\np1/2,r,d,x,p1,1\n";
        assert_eq!(rows, expected);
    }

    #[test]
    fn each_fault_of_a_triplet_has_its_line_in_the_file_that_people_wrote() {
        for judge in ["1.5", "-0.1", "", "yes", "NaN", "-nan", "inf", "1e400", " 1"] {
            let message = refused(&format!("ref,p0,p1,judge\na,b,c,{judge}\n"));
            let expected = format!("t.csv`: line 2: `judge` is `{judge}`\nhint: give the share");
            assert!(message.contains(&expected), "{message}");
        }
        for (text, expected) in [
            ("ref,p0,p1\na,b,c\n", "no column `judge`"),
            ("ref,p0,judge\na,b,1\n", "no column `p1`"),
            ("ref,p0,p1,judge,method\na,b,c,1,x\n", "has a column `method`\nhint: rename"),
            ("ref,dist,p0,p1,judge\na,b,c,d,1\n", "has a column `dist`"),
            (
                "ref,p0,p1,judge\n\na,b,,1\na,b,c,2\n",
                "line 3: the `p1` cell is empty; line 4: `judge`",
            ),
            (
                "ref,p0,p1,judge,id\na,b,c,1,x\n\na,c,d,0,x\n",
                "line 4: the triplet `x` appears again; \
              first in line 2\nhint: give each triplet its own `id`",
            ),
            (
                "ref,p0,p1,judge,note\na,b,c,0,\"x\nd,e,f,0,x\n",
                "line 2, column 9: the quote that opens",
            ),
        ] {
            let message = refused(text);
            assert!(message.contains(expected), "{text:?} gives {message}");
        }
    }

    #[test]
    fn rows_of_pairs_are_triplets_as_a_whole_or_refused() {
        let judged = |rows: &str| {
            let (_folder, location) = location(&format!("ref,dist,item,method,judge\n{rows}"));
            Manifest::open(location)
                .map(|manifest| manifest.judge())
                .map_err(|error| render(&error))
        };
        let triplet = |item: &str| format!("r,a,{item},p0,0.5\nr,b,{item},p1,0.5\n");
        assert_eq!(judged(&(triplet("1") + &triplet("2"))), Ok(Some(0)));
        assert_eq!(judged("r,a,1,edsr,ann\nr,b,1,swin,bob\n"), Ok(None));
        for (rows, expected) in [
            (
                triplet("1") + "r,b,2,p1,0\nr,a,2,p0,0\n",
                "line 4: expected the row `p0` of a triplet",
            ),
            (triplet("1") + "r,a,2,p0,0\n", "end of file: the last triplet has no row `p1`"),
            (
                "r,a,1,p0,0\nr,a,2,p0,0\nr,b,1,p1,0\nr,b,2,p1,0\n".into(),
                "line 3: expected the row `p1`",
            ),
            (triplet("1") + "r,c,2,edsr,0\nr,c,3,swin,0\n", "line 4: expected the row `p0`"),
            (
                "r,c,2,edsr,0\nr,c,3,swin,0\n".to_owned() + &triplet("1"),
                "line 2: expected the row `p0`",
            ),
            ("r,a,1,p0,0\nr,b,2,p1,0\n".into(), "line 3: `item` is `1` for `p0` and `2` for `p1`"),
            ("r,a,1,p0,0\ns,b,1,p1,0\n".into(), "line 3: `ref` is `r` for `p0` and `s` for `p1`"),
            ("r,a,1,p0,0\nr,b,1,p1,1\n".into(), "line 3: `judge` is `0` for `p0` and `1` for `p1`"),
            (
                "r,a,1,p0,left\nr,b,1,p1,left\n".into(),
                "line 2: `judge` is `left`\nhint: give the share",
            ),
            ("r,a,1,p0,nan\nr,b,1,p1,nan\n".into(), "line 2: `judge` is `nan`"),
            ("r,a,1,p0,7\nr,b,1,p1,7\n".into(), "line 2: `judge` is `7`"),
        ] {
            let message = judged(&rows).unwrap_err();
            assert!(message.contains(expected), "{rows:?} gives {message}");
        }
    }
}
