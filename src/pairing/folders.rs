//! Pairs of folders: by relative path without extension and without a suffix.

mod suffix;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization as _;

use super::walk::{EXTENSIONS, has_image_name, is_same, walk};
use super::{Pairing, Row};
use crate::code::Code;
use crate::error::Refusal;
use crate::suggest::nearest;

/// Problems for which a nearest name is searched.
const NEAREST_MAX: usize = 100;

/// A folder of distorted images.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// Its method, if it was named.
    pub method: Option<String>,
}

/// The folders of `--ref` and `--dist`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    /// References.
    pub reference: PathBuf,
    /// Distorted images, a folder per method.
    pub distorted: Vec<Folder>,
    /// What names of references may end with, before the extension; any name if empty.
    pub reference_suffixes: Vec<String>,
    /// The same of distorted images.
    pub distorted_suffixes: Vec<String>,
    /// Whether files without a partner are left out rather than problems.
    pub intersect: bool,
}

/// The images of one folder by key: relative path without extension and without suffix, in
/// Unicode's normal form C.
type Keyed = BTreeMap<String, String>;

/// Walks the folders and pairs their files.
///
/// # Errors
/// A [`Refusal`] when two folders have one method, or a folder cannot be read or holds no image.
pub fn pair_by_name(folders: &Folders) -> anyhow::Result<Pairing> {
    let methods = method_names(&folders.distorted)?;
    let mut pairing = Pairing::default();
    let [of_reference, of_distorted] = [&folders.reference_suffixes, &folders.distorted_suffixes];
    let references = pairing.scan(folders, &folders.reference, of_reference, of_distorted)?;
    let mut distorted: Vec<Keyed> = Vec::new();
    for folder in &folders.distorted {
        distorted.push(pairing.scan(folders, &folder.path, of_distorted, of_reference)?);
    }
    for (key, path) in &references {
        let item = stripped(&stem(path), &folders.reference_suffixes).unwrap_or_default();
        for ((folder, keyed), method) in folders.distorted.iter().zip(&distorted).zip(&methods) {
            let Some(found) = keyed.get(key) else { continue };
            pairing.rows.push(Row {
                reference: shown(&folders.reference, path),
                distorted: shown(&folder.path, found),
                item: item.clone(),
                method: method.clone(),
                ..Row::default()
            });
        }
    }
    for (folder, keyed) in folders.distorted.iter().zip(&distorted) {
        pairing.find_unmatched(folders, &folder.path, &references, keyed);
    }
    if folders.intersect && pairing.rows.is_empty() && pairing.problems.is_empty() {
        return Err(pairing.nothing_in_common(folders).into());
    }
    Ok(pairing)
}

impl Pairing {
    /// The images of a folder by key. `others` are the suffixes of the other side: where one folder
    /// holds both sides, a file is of the side that has the longer suffix.
    fn scan(
        &mut self,
        folders: &Folders,
        folder: &Path,
        suffixes: &[String],
        others: &[String],
    ) -> anyhow::Result<Keyed> {
        let all: Vec<&Path> = folders.all().collect();
        let apart: Vec<PathBuf> = all
            .iter()
            .filter(|other| !is_same(other, folder))
            .map(|other| other.to_path_buf())
            .collect();
        let is_shared = all.iter().filter(|other| is_same(other, folder)).count() > 1;
        let mut keyed = Keyed::new();
        for path in self.images(folder, &apart)? {
            let stem = stem(&path);
            let key = stripped(&stem, suffixes);
            let of_other = is_shared.then(|| stripped(&stem, others)).flatten();
            let is_longer = |other: &String| key.as_ref().is_none_or(|key| other.len() < key.len());
            if of_other.as_ref().is_some_and(is_longer) {
                continue;
            }
            let Some(key) = key else {
                let (whole, ends) = (shown(folder, &path), or(suffixes));
                self.leave(folders, whole, |whole| {
                    format!("`{whole}`: the name does not end in {ends}")
                });
                continue;
            };
            let earlier = keyed.insert(key.nfc().collect(), path.clone());
            if let Some(earlier) = earlier {
                let (whole, earlier) = (shown(folder, &path), shown(folder, &earlier));
                let message = format!("`{whole}` and `{earlier}` have the same name for a pair");
                self.problem(Code::Ambiguous, message);
            }
        }
        Ok(keyed)
    }

    /// Paths, relative to `folder`, of the images below it and not below the folders `apart`.
    pub(super) fn images(
        &mut self,
        folder: &Path,
        apart: &[PathBuf],
    ) -> anyhow::Result<Vec<String>> {
        let walked = walk(folder, apart, &has_image_name)?;
        if walked.files.is_empty() && walked.problems.is_empty() {
            let text = format!("the folder `{}` holds no image", folder.display());
            return Err(Refusal::inputs(text)
                .hint(format!("files with these extensions are taken: {}", EXTENSIONS.join(", ")))
                .into());
        }
        self.absorb(walked.problems, walked.ignored);
        Ok(walked.files)
    }

    /// A file without a partner: a problem, or left out if only pairs were asked for.
    fn leave(&mut self, folders: &Folders, whole: String, message: impl FnOnce(&str) -> String) {
        match folders.intersect {
            true => self.left_out.push(whole),
            false => self.problem(Code::Unmatched, message(&whole)),
        }
    }

    /// Why `--intersect` leaves no pair: all files were left out.
    fn nothing_in_common(&self, folders: &Folders) -> Refusal {
        let first_of = |folder: &Path| {
            let mut files = self.left_out.kept.iter();
            Some(format!("`{}`", files.find(|file| Path::new(file).starts_with(folder))?))
        };
        let names: Vec<String> = folders.all().filter_map(first_of).collect();
        let distorted = folders.distorted.iter().map(|folder| folder.path.display().to_string());
        let text = format!(
            "no image of `{}` has a partner in {}; the first names are {}",
            folders.reference.display(),
            or(&distorted.collect::<Vec<_>>()),
            names.join(" and ")
        );
        let otherwise = "name the endings in which names differ with `--ref-suffix` and \
                         `--dist-suffix`, or give patterns such as `--dist 'out/{item}_x4.png'`";
        Refusal::inputs(text).hint(self.hint.clone().unwrap_or_else(|| otherwise.to_owned()))
    }

    fn find_unmatched(
        &mut self,
        folders: &Folders,
        folder: &Path,
        references: &Keyed,
        keyed: &Keyed,
    ) {
        let lone = |of: &Keyed, other: &Keyed| -> Vec<(String, String)> {
            let alone = of.iter().filter(|(key, _)| !other.contains_key(*key));
            alone.map(|(key, path)| (key.clone(), path.clone())).collect()
        };
        let lone_references = lone(references, keyed);
        let lone_distorted = lone(keyed, references);
        if self.hint.is_none() {
            self.hint = suffix::hint(folders, &lone_references, &lone_distorted);
        }
        for (mine, others, of, beside) in [
            (&lone_references, &lone_distorted, &*folders.reference, folder),
            (&lone_distorted, &lone_references, folder, &*folders.reference),
        ] {
            for (key, path) in mine {
                let near = (self.problems.len() < NEAREST_MAX)
                    .then(|| nearest(key, others.iter().map(|(key, _)| key.as_str())))
                    .flatten()
                    .and_then(|near| others.iter().find(|(key, _)| key == near));
                let near = near.map(|(_, path)| format!("; nearest name: `{path}`"));
                self.leave(folders, shown(of, path), |whole| {
                    let (beside, near) = (beside.display(), near.unwrap_or_default());
                    format!("`{whole}` has no partner in `{beside}`{near}")
                });
            }
        }
    }
}

impl Folders {
    fn all(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&*self.reference).chain(self.distorted.iter().map(|folder| &*folder.path))
    }
}

fn stem(path: &str) -> String {
    Path::new(path).with_extension("").to_string_lossy().into_owned()
}

/// `stem` without the longest of `suffixes` that it ends with; `None` if it ends with none, or
/// nothing of the name is left.
fn stripped(stem: &str, suffixes: &[String]) -> Option<String> {
    if suffixes.is_empty() {
        return Some(stem.to_owned());
    }
    let keys = suffixes.iter().filter_map(|suffix| stem.strip_suffix(suffix.as_str()));
    let keys = keys.filter(|key| !key.is_empty() && !key.ends_with('/'));
    keys.min_by_key(|key| key.len()).map(str::to_owned)
}

/// Names between backquotes, the last after `or`.
fn or(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

pub(super) fn shown(folder: &Path, relative: &str) -> String {
    folder.join(relative).display().to_string()
}

/// The methods of the folders. One that is not named has the last part of its folder's path, or the
/// whole path where that is not unique; a single one has an empty name.
fn method_names(folders: &[Folder]) -> Result<Vec<String>, Refusal> {
    let last = |folder: &Folder| {
        let name = folder.path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| folder.path.display().to_string())
    };
    let named = |of: &dyn Fn(&Folder) -> String| -> Vec<String> {
        folders.iter().map(|one| one.method.clone().unwrap_or_else(|| of(one))).collect()
    };
    let is_unique = |names: &[String]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
    if let [Folder { method: None, .. }] = folders {
        return Ok(vec![String::new()]);
    }
    let names = named(&last);
    if is_unique(&names) {
        return Ok(names);
    }
    let names = named(&|folder| folder.path.display().to_string());
    if is_unique(&names) {
        return Ok(names);
    }
    let mut seen = BTreeSet::new();
    let repeated = names.iter().find(|name| !seen.insert(*name)).map_or("", String::as_str);
    Err(Refusal::usage(format!("--dist `{repeated}` is given twice"))
        .hint("give each folder once; `--dist NAME=DIR` gives its method another name"))
}

#[cfg(test)]
mod tests;
