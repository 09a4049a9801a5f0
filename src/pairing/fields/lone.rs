//! Files that are in no pair, with the path that a partner would have.

use super::super::Pairing;
use super::super::pattern::Pattern;
use super::matching::{Matched, Matching, Reading, Side};
use super::position;
use crate::code::Code;
use crate::error::Refusal;
use crate::suggest::nearest;

/// Problems for which a nearest name is searched.
const NEAREST_MAX: usize = 100;

impl Matching<'_> {
    /// Adds a problem for each file that matches a pattern and has no partner, and names those that
    /// match none.
    pub(super) fn find_lone(&self, matched: &Matched, pairing: &mut Pairing) {
        let mut is_paired = vec![false; self.files.len()];
        for &(reference, distorted) in &matched.links {
            is_paired[self.reference.readings[reference].file] = true;
            is_paired[self.distorted.readings[distorted].file] = true;
        }
        matched.ambiguous.iter().for_each(|&file| is_paired[file] = true);
        let mut is_read = is_paired.clone();
        for (side, other) in
            [(&self.distorted, &self.reference), (&self.reference, &self.distorted)]
        {
            for reading in &side.readings {
                if std::mem::replace(&mut is_read[reading.file], true) {
                    continue;
                }
                let path = &self.files[reading.file];
                match self.intersect {
                    true => pairing.left_out.push(path.clone()),
                    false => {
                        let expected = expected(side, reading, other);
                        let near = (pairing.problems.len() < NEAREST_MAX)
                            .then(|| self.nearest(&expected[0], &is_paired))
                            .flatten()
                            .filter(|near| *near != path)
                            .map(|near| format!("; nearest name: `{near}`"));
                        let (expected, near) = (expected.join("` or `"), near.unwrap_or_default());
                        let message =
                            format!("`{path}` has no partner: expected `{expected}`{near}");
                        pairing.problem(Code::Unmatched, message);
                    }
                }
            }
        }
        let unread = self.files.iter().zip(is_read).filter(|(_, is_read)| !is_read);
        unread.for_each(|(path, _)| pairing.unmatched.push(self.miss(path)));
    }

    /// Why `--intersect` leaves no pair: no two files agree in the fields that both have.
    pub(super) fn nothing_in_common(&self) -> Refusal {
        let first = |side: &Side<'_>| {
            let path = side.readings.first().map(|reading| &self.files[reading.file]);
            path.map(|path| format!("`{path}` with {}", side.described(0)))
        };
        let firsts: Vec<String> =
            [&self.reference, &self.distorted].iter().filter_map(|side| first(side)).collect();
        let text = format!(
            "no file of `--ref` has a partner among those of `--dist`; the first are {}",
            firsts.join(" and ")
        );
        Refusal::inputs(text).hint(
            "write what only one of the two names has into its pattern, outside the braces, such \
             as `--dist 'out/{item}_x4.png'`",
        )
    }

    /// Why a file matches no pattern: the one that it comes nearest to.
    fn miss(&self, path: &str) -> String {
        let patterns = self.reference.patterns.iter().chain(self.distorted.patterns);
        let misses = patterns.map(|pattern| (pattern.miss(path), pattern));
        let best = misses.max_by_key(|((matched, _), _)| *matched);
        best.map_or_else(
            || format!("`{path}`"),
            |((_, why), of)| format!("`{path}`: {why} in `{of}`"),
        )
    }

    /// The lone file in the folder of `expected` that was probably meant by it.
    fn nearest(&self, expected: &str, is_paired: &[bool]) -> Option<&String> {
        let (folder, name) = split(expected);
        let beside = self.files.iter().zip(is_paired).filter(|(_, is_paired)| !**is_paired);
        let beside = beside.map(|(path, _)| path).filter(|path| split(path).0 == folder);
        let beside: Vec<&String> = beside.collect();
        let near = nearest(name, beside.iter().map(|path| split(path).1))?;
        beside.into_iter().find(|path| split(path).1 == near)
    }
}

/// The paths that a partner of `reading` would have, one for each pattern of the `other` side.
fn expected(side: &Side<'_>, reading: &Reading, other: &Side<'_>) -> Vec<String> {
    let pattern: &Pattern = &side.patterns[reading.pattern];
    let value_of = |field: &str| Some(reading.values[position(pattern, field)?].as_str());
    other.patterns.iter().map(|other| other.filled(&value_of)).collect()
}

/// Folder and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
