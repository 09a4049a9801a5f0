//! Guesses the suffixes of names that would pair what has no partner.

use std::collections::{BTreeSet, HashSet};

use super::Folders;
use crate::shell;

/// References, and distorted names near each, from which suffixes are guessed.
const GUESSED_FROM: usize = 16;

/// The options that would pair most of what has no partner; `None` unless they pair at least half
/// of the references. Both lists are sorted by key.
pub(super) fn hint(
    folders: &Folders,
    references: &[(String, String)],
    distorted: &[(String, String)],
) -> Option<String> {
    let guesses = guesses(references, distorted);
    let guesses = guesses.into_iter().filter(|(of_reference, of_distorted)| {
        let is_free = |new: &str, known: &[String]| new.is_empty() || known.is_empty();
        is_free(of_reference, &folders.reference_suffixes)
            && is_free(of_distorted, &folders.distorted_suffixes)
    });
    let keys: HashSet<&str> = distorted.iter().map(|(key, _)| key.as_str()).collect();
    let paired = |(of_reference, of_distorted): &(&str, &str)| {
        let stems = references.iter().filter_map(|(key, _)| key.strip_suffix(of_reference));
        stems.filter(|stem| keys.contains(format!("{stem}{of_distorted}").as_str())).count()
    };
    let best = guesses.map(|guess| (paired(&guess), guess)).max_by_key(|(count, guess)| {
        let (of_reference, of_distorted) = *guess;
        (*count, std::cmp::Reverse(of_reference.len() + of_distorted.len()), of_distorted)
    });
    let (count, (of_reference, of_distorted)) = best.filter(|(count, _)| *count > 0)?;
    if 2 * count < references.len() {
        return None;
    }
    let all = |known: &[String], new: &str| -> Vec<String> {
        known.iter().cloned().chain((!new.is_empty()).then(|| new.to_owned())).collect()
    };
    let options: Vec<String> = [
        ("--ref-suffix", all(&folders.reference_suffixes, of_reference)),
        ("--dist-suffix", all(&folders.distorted_suffixes, of_distorted)),
    ]
    .into_iter()
    .flat_map(|(name, values)| values.into_iter().map(move |value| shell::option(name, &value)))
    .collect();
    Some(format!("`{}` would pair {count} of them", options.join(" ")))
}

/// Endings of a reference and of a distorted name that begin alike.
fn guesses<'a>(
    references: &'a [(String, String)],
    distorted: &'a [(String, String)],
) -> BTreeSet<(&'a str, &'a str)> {
    let mut guesses = BTreeSet::new();
    for (key, _) in references.iter().take(GUESSED_FROM) {
        let at = distorted.partition_point(|(other, _)| other < key);
        let near = distorted.iter().skip(at.saturating_sub(GUESSED_FROM));
        for (other, _) in near.take(2 * GUESSED_FROM) {
            let common = key.char_indices().zip(other.chars()).take_while(|((_, a), b)| a == b);
            let len = common.last().map_or(0, |((at, c), _)| at + c.len_utf8());
            // What separates the words of a name belongs to the ending.
            let len = key[..len].trim_end_matches(['_', '-', '.', ' ']).len();
            let (of_reference, of_distorted) = (&key[len..], &other[len..]);
            let is_ending = |text: &str| !text.contains('/');
            if len > 0 && is_ending(of_reference) && is_ending(of_distorted) {
                guesses.insert((of_reference, of_distorted));
            }
        }
    }
    guesses
}
