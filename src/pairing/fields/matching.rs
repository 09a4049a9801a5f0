//! Which readings of files agree, and the rows that they make.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::pattern::{Pattern, Values};
use super::super::{Pairing, Row};
use super::{METHOD, position};
use crate::code::Code;

/// One way to read a file.
#[derive(Debug)]
pub(super) struct Reading {
    /// Index of the file.
    pub(super) file: usize,
    /// Index of the pattern, among those of its side.
    pub(super) pattern: usize,
    /// The values of the pattern's fields.
    pub(super) values: Values,
}

/// All readings as references, or as distorted images.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) patterns: &'a [Pattern],
    pub(super) readings: Vec<Reading>,
}

/// All readings of all files.
#[derive(Debug)]
pub(super) struct Matching<'a> {
    pub(super) files: &'a [String],
    pub(super) reference: Side<'a>,
    pub(super) distorted: Side<'a>,
    /// Whether files without a partner are left out rather than problems.
    pub(super) intersect: bool,
}

/// A reference and a distorted image that agree: indices of their readings.
pub(super) type Link = (usize, usize);

/// The pairs.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) links: Vec<Link>,
    /// Files that would have two partners or two readings.
    pub(super) ambiguous: BTreeSet<usize>,
}

impl Side<'_> {
    pub(super) fn pattern(&self, index: usize) -> &Pattern {
        &self.patterns[self.readings[index].pattern]
    }

    fn of_pattern(&self, pattern: usize) -> impl Iterator<Item = (usize, &Reading)> {
        self.readings.iter().enumerate().filter(move |(_, reading)| reading.pattern == pattern)
    }

    /// `item=baby, scale=4`.
    pub(super) fn described(&self, index: usize) -> String {
        let fields = self.pattern(index).fields().iter().zip(&self.readings[index].values);
        fields.map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(", ")
    }

    /// The readings of a file that are in `links`, by file.
    fn by_file(&self, links: impl Iterator<Item = usize>) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut by_file: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for reading in links {
            by_file.entry(self.readings[reading].file).or_default().insert(reading);
        }
        by_file
    }
}

impl Matching<'_> {
    /// Pairs the files that agree, and reports those that are ambiguous.
    pub(super) fn matched(&self, pairing: &mut Pairing) -> Matched {
        let links = self.links();
        let mut ambiguous: BTreeMap<usize, String> = BTreeMap::new();
        for (side, of_side) in [
            (&self.reference, self.reference.by_file(links.iter().map(|link| link.0))),
            (&self.distorted, self.distorted.by_file(links.iter().map(|link| link.1))),
        ] {
            for (file, readings) in of_side {
                let described = readings.iter().take(2).map(|&index| side.described(index));
                if let [one, other] = &described.collect::<Vec<_>>()[..] {
                    let what =
                        format!("can be read in two ways that have a partner: {one}; {other}");
                    ambiguous.insert(file, what);
                }
            }
        }
        let mut partners: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for &(reference, distorted) in &links {
            let file = self.distorted.readings[distorted].file;
            partners.entry(file).or_default().insert(self.reference.readings[reference].file);
        }
        for (file, references) in partners {
            let paths: Vec<&String> =
                references.iter().take(2).map(|&one| &self.files[one]).collect();
            if let [one, other] = paths[..] {
                let what = || format!("has two references: `{one}` and `{other}`");
                ambiguous.entry(file).or_insert_with(what);
            }
        }
        for (&file, what) in &ambiguous {
            pairing.problem(Code::Ambiguous, format!("`{}` {what}", self.files[file]));
            pairing.hint = Some(AMBIGUOUS.to_owned());
        }
        let is_clear = |&(reference, distorted): &Link| {
            let files =
                [self.reference.readings[reference].file, self.distorted.readings[distorted].file];
            files.iter().all(|file| !ambiguous.contains_key(file))
        };
        let links = links.into_iter().filter(is_clear).collect();
        Matched { links, ambiguous: ambiguous.into_keys().collect() }
    }

    /// Every reference and every distorted image that agree in all fields that both have. A file is
    /// no partner of itself.
    fn links(&self) -> Vec<Link> {
        let mut links = Vec::new();
        for (of, reference) in self.reference.patterns.iter().enumerate() {
            for (by, distorted) in self.distorted.patterns.iter().enumerate() {
                let fields = reference.fields().iter().enumerate();
                let shared: Vec<[usize; 2]> = fields
                    .filter_map(|(at, field)| Some([at, position(distorted, field)?]))
                    .collect();
                if !shared.is_empty() {
                    self.link(of, by, &shared, &mut links);
                }
            }
        }
        links
    }

    /// Links the files of two patterns, of which `shared` are the positions of common fields.
    fn link(&self, of: usize, by: usize, shared: &[[usize; 2]], links: &mut Vec<Link>) {
        let key = |reading: &Reading, side: usize| -> Vec<String> {
            shared.iter().map(|at| reading.values[at[side]].clone()).collect()
        };
        let mut references: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
        for (index, reading) in self.reference.of_pattern(of) {
            references.entry(key(reading, 0)).or_default().push(index);
        }
        for (index, reading) in self.distorted.of_pattern(by) {
            let partners = references.get(&key(reading, 1)).into_iter().flatten();
            let is_other = |&&one: &&usize| self.reference.readings[one].file != reading.file;
            links.extend(partners.filter(is_other).map(|&reference| (reference, index)));
        }
    }

    /// A row for each link, by reference, then in the order of the distorted patterns and files.
    pub(super) fn rows(&self, links: &[Link], carried: &[String]) -> Vec<Row> {
        let mut links = links.to_vec();
        links.sort_by_key(|&(reference, distorted)| {
            let by = &self.distorted.readings[distorted];
            (self.reference.readings[reference].file, by.pattern, by.file)
        });
        links.iter().map(|&link| self.row(link, carried)).collect()
    }

    fn row(&self, (reference, distorted): Link, carried: &[String]) -> Row {
        let (of, by) = (self.reference.pattern(reference), self.distorted.pattern(distorted));
        let reference = &self.reference.readings[reference];
        let distorted = &self.distorted.readings[distorted];
        let value = |field: &str| {
            let own = position(by, field).map(|at| &distorted.values[at]);
            own.or_else(|| position(of, field).map(|at| &reference.values[at]))
        };
        let method = by.method.as_ref().or_else(|| value(METHOD)).cloned().unwrap_or_default();
        let fields = by.fields().iter().zip(&distorted.values);
        let fields = fields.filter(|(field, _)| *field != METHOD).map(|(_, value)| value);
        let named = (!method.is_empty()).then_some(&method);
        let id: Vec<&str> = named.into_iter().chain(fields).map(String::as_str).collect();
        Row {
            reference: self.files[reference.file].clone(),
            distorted: self.files[distorted.file].clone(),
            id: id.join("/"),
            item: reference.values.join("/"),
            fields: carried.iter().map(|one| value(one).cloned().unwrap_or_default()).collect(),
            method,
        }
    }
}

const AMBIGUOUS: &str = "spell out in the patterns what is the same in all files, or give `--ref` \
                         and `--dist` one more field in common";
