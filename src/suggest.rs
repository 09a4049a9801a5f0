//! The name that was probably meant, for messages about a name that does not exist.

use std::path::{Component, Path};

/// Larger folders are not searched: in one of this size a search takes a few milliseconds, about
/// as long as decoding an image, and every row of a run may name a missing file. The rule depends
/// on the folder alone, so that the message of a row does not depend on other rows.
const SIBLINGS_MAX: usize = 1000;

/// The candidate that was most probably meant by `name`, or `None` if none looks like it.
///
/// A candidate whose stem continues the name's stem, or the reverse (`0801.png` and
/// `0801_x4.png`, but not `080.png`), comes before one with a few other letters.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let stem = stem(name);
    let most_changes = (name.chars().count() / 3).max(1);
    let cost = |candidate: &str| {
        let other = self::stem(candidate);
        let (short, long) = if stem.len() < other.len() { (stem, other) } else { (other, stem) };
        if long.strip_prefix(short).is_some_and(|rest| continues(short, rest)) {
            return Some((0, long.len() - short.len()));
        }
        if candidate.len().abs_diff(name.len()) > 4 * most_changes {
            return None;
        }
        let changes = strsim::osa_distance(name, candidate);
        (changes <= most_changes).then_some((1, changes))
    };
    let costs = candidates.filter_map(|candidate| Some((cost(candidate)?, candidate)));
    costs.min().map(|(_, candidate)| candidate)
}

/// The name in the folder of `path` that was most probably meant by a `path` that does not exist.
/// Folders of more than a thousand entries are not searched.
#[must_use]
pub fn nearest_file(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs_err::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten();
    let siblings: Vec<String> = entries
        .take(SIBLINGS_MAX + 1)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    if siblings.len() > SIBLINGS_MAX {
        return None;
    }
    let name = path.file_name()?.to_string_lossy();
    nearest(&name, siblings.iter().map(String::as_str)).map(str::to_owned)
}

/// What is unusual about how a path that does not exist is written.
#[must_use]
pub fn unusual_spelling(path: &Path) -> Option<&'static str> {
    let has = |test: &dyn Fn(&str) -> bool| {
        let is_name = |part: Component<'_>| match part {
            Component::Normal(name) => test(&name.to_string_lossy()),
            _ => false,
        };
        path.components().any(is_name)
    };
    if has(&|name| name.trim() != name) {
        return Some("a name in it begins or ends with a space");
    }
    has(&|name| name.contains('\\')).then_some("write `/` for each `\\`")
}

/// Whether `rest` is an addition to `short`, and not the end of its last word or number.
fn continues(short: &str, rest: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    match (short.chars().next_back(), rest.chars().next()) {
        (Some(_), None) => true,
        (Some(last), Some(next)) => match (is_digit(last), is_digit(next)) {
            (true, true) => false,
            (false, false) => !next.is_alphanumeric() || short.chars().count() > 2,
            _ => true,
        },
        (None, _) => false,
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_longer_one_or_one_with_a_slip() {
        let near = |name, candidates: &[&'static str]| nearest(name, candidates.iter().copied());
        assert_eq!(near("0801.png", &["0802.png", "0801_x4.png"]), Some("0801_x4.png"));
        assert_eq!(near("0801_x4.png", &["0801.png", "0802_x4.png"]), Some("0801.png"));
        assert_eq!(near("dst", &["ref", "dist"]), Some("dist"));
        assert_eq!(near("metod", &["item", "method"]), Some("method"));
        assert_eq!(near("astronaut.png", &["butterfly.png"]), None);
        assert_eq!(near("2", &["20", "2_x4"]), Some("2_x4"));
        assert_eq!(near("a", &["apple"]), None);
        assert_eq!(near("a", &[]), None);
    }
}
