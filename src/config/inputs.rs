//! The pairs that the command line names: a manifest, folders, patterns, or files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::InputArgs;
use crate::error::Refusal;
use crate::pairing::{Folder, Folders, Pattern, Patterns};
use crate::shell;
use crate::source::Source;

/// The command line allows one kind of input only, and folders only together.
pub(super) fn source(inputs: InputArgs) -> anyhow::Result<Source> {
    if let Some(path) = inputs.manifest {
        let is_stdin = path.as_os_str() == "-";
        return Ok(if is_stdin { Source::Stdin } else { Source::File(path) });
    }
    if let Some(folder) = inputs.all_pairs {
        return Ok(Source::AllPairs(folder));
    }
    if !inputs.reference.is_empty() {
        return two_sides(inputs);
    }
    let pair: Option<[PathBuf; 2]> = inputs.pair.and_then(|pair| pair.try_into().ok());
    let [reference, distorted] = pair.context("no pairs were named")?;
    Ok(Source::Pair { reference, distorted })
}

/// `--ref` and `--dist`: folders, or patterns on both sides.
fn two_sides(inputs: InputArgs) -> anyhow::Result<Source> {
    let InputArgs { reference, distorted, ref_suffix, dist_suffix, intersect, .. } = inputs;
    let unnamed = |path: PathBuf| Ok(Named { method: None, path });
    let (mut folders, reference) = split(reference.into_iter().map(unnamed))?;
    let (distorted, by) = split(distorted.iter().map(|value| Named::read(value)))?;
    let suffixes = [("--ref-suffix", &ref_suffix), ("--dist-suffix", &dist_suffix)];
    if reference.is_empty() && by.is_empty() {
        if folders.len() > 1 {
            return Err(several_references(&folders).into());
        }
        let reference = folders.pop().context("no folder of references")?.path;
        return Ok(Source::Folders(Folders {
            reference,
            distorted,
            reference_suffixes: without_empty(ref_suffix),
            distorted_suffixes: without_empty(dist_suffix),
            intersect,
        }));
    }
    for (option, folders) in [("--ref", &folders), ("--dist", &distorted)] {
        if let Some(folder) = folders.first() {
            return Err(mixed(option, folder).into());
        }
    }
    if let Some((option, _)) = suffixes.iter().find(|(_, values)| !values.is_empty()) {
        let message = format!("`{option}` belongs to folders, not to patterns");
        return Err(Refusal::usage(message)
            .hint("write the suffix into the pattern, as in `{item}_x4.png`")
            .into());
    }
    Ok(Source::Patterns(Patterns { reference, distorted: by, intersect }))
}

/// The folders and the patterns of one side.
fn split(
    values: impl Iterator<Item = Result<Named, Refusal>>,
) -> Result<(Vec<Folder>, Vec<Pattern>), Refusal> {
    let (mut folders, mut patterns) = (Vec::new(), Vec::new());
    for value in values {
        let value = value?;
        match value.pattern()? {
            Some(pattern) => patterns.push(pattern),
            None => folders.push(Folder { path: value.path, method: value.method }),
        }
    }
    Ok((folders, patterns))
}

/// A value of `--dist`: a path, or `NAME=PATH`.
struct Named {
    method: Option<String>,
    path: PathBuf,
}

impl Named {
    /// A path that exists is never taken for a name.
    fn read(value: &Path) -> Result<Named, Refusal> {
        let whole = Named { method: None, path: value.to_owned() };
        let Some((name, path)) = value.to_str().and_then(|text| text.split_once('=')) else {
            return Ok(whole);
        };
        if name.is_empty() || name.contains(['/', '{', '}']) || whole.exists() {
            return Ok(whole);
        }
        if path.is_empty() {
            let message = format!("`--dist {name}=` names a method and no folder");
            return Err(Refusal::usage(message).hint("write `--dist NAME=DIR`"));
        }
        Ok(Named { method: Some(name.to_owned()), path: path.into() })
    }

    /// Whether there is such a path, or the folder that a pattern begins with.
    fn exists(&self) -> bool {
        let fixed = self.path.to_str().and_then(|text| text.split_once('{'));
        let folder = fixed.and_then(|(fixed, _)| fixed.rsplit_once('/'));
        self.path.exists() || folder.is_some_and(|(folder, _)| Path::new(folder).exists())
    }

    /// The pattern; `None` if it is a path. Braces belong to a path that exists.
    fn pattern(&self) -> Result<Option<Pattern>, Refusal> {
        let Some(text) = self.path.to_str().filter(|_| !self.path.exists()) else {
            return Ok(None);
        };
        Pattern::parse(text, self.method.clone())
    }
}

/// An empty suffix is none.
fn without_empty(suffixes: Vec<String>) -> Vec<String> {
    suffixes.into_iter().filter(|suffix| !suffix.is_empty()).collect()
}

fn in_pattern(folder: &Folder) -> String {
    folder.path.join("{item}.png").display().to_string()
}

fn several_references(folders: &[Folder]) -> Refusal {
    let options: Vec<String> =
        folders.iter().map(|folder| shell::option("--ref", &in_pattern(folder))).collect();
    Refusal::usage("several --ref are patterns, and these are folders").hint(format!(
        "write patterns on both sides, such as `{}` and `--dist 'DIR/{{item}}.png'`",
        options.join(" ")
    ))
}

fn mixed(option: &str, folder: &Folder) -> Refusal {
    let message = format!(
        "`{option} {}` is a folder, and the other side has a pattern",
        folder.path.display()
    );
    let as_pattern = shell::option(option, &in_pattern(folder));
    Refusal::usage(message).hint(format!("write a pattern on both sides: `{as_pattern}`"))
}
