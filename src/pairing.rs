//! Folders become pairs: by relative path without extension, never by order.
//!
//! This module knows names of files, and refuses to look into them. What has no partner is a
//! [`Problem`], never left out in silence.

mod all;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use walkdir::WalkDir;

use crate::code::Code;
use crate::error::{Refusal, quoted};
use crate::suggest::nearest;

pub use self::all::all_pairs;

/// Extensions, in lower case, of files that are taken for images. What a file is decides when it is
/// read; this only keeps text files and the like out of the pairing.
const EXTENSIONS: &[&str] = &[
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "pam", "gif", "avif", "heic", "jxl", "jp2", "exr", "hdr", "npy",
];
/// Problems for which a nearest name is searched.
const NEAREST_MAX: usize = 100;
/// References, and distorted names for each, from which a suffix is guessed.
const SUFFIXED_MAX: usize = 16;
/// Problems that a refusal lists.
const LISTED_MAX: usize = 5;

/// The folders of `--ref` and `--dist`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    /// References.
    pub reference: PathBuf,
    /// Distorted images, a folder per method.
    pub distorted: Vec<PathBuf>,
    /// What distorted names end with, before the extension, and references do not.
    pub suffix: String,
}

/// One pair of files, with paths as the folders were typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The reference.
    pub reference: String,
    /// The distorted image.
    pub distorted: String,
    /// Relative path of the reference without extension.
    pub item: String,
    /// Name of the folder of the distorted image; empty if there is one folder only.
    pub method: String,
}

/// A file that cannot be paired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Its code.
    pub code: Code,
    /// Which file, and which one may have been meant.
    pub message: String,
}

/// Files that are no images by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ignored {
    /// Files and folders whose names start with a dot.
    pub hidden: usize,
    /// Files with other extensions, and links to nothing with such names.
    pub others: usize,
    /// Links to a folder above them; what is there was found already.
    pub loops: usize,
}

/// The outcome for all folders.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pairing {
    /// By reference, then by method.
    pub rows: Vec<Row>,
    /// What could not be paired.
    pub problems: Vec<Problem>,
    /// What was left out by its name.
    pub ignored: Ignored,
    /// A `--dist-suffix` that would pair most of what is alone, and how many references.
    pub suffix: Option<(String, usize)>,
}

/// The images of one folder by key: relative path without extension and without suffix.
type Keyed = BTreeMap<String, String>;

/// Walks the folders and pairs their files.
///
/// # Errors
/// A [`Refusal`] when a folder cannot be read or holds no image.
pub fn pair(folders: &Folders) -> anyhow::Result<Pairing> {
    let mut pairing = Pairing::default();
    let references = pairing.scan(&folders.reference, "")?;
    let methods = method_names(&folders.distorted);
    let mut distorted: Vec<Keyed> = Vec::new();
    for folder in &folders.distorted {
        distorted.push(pairing.scan(folder, &folders.suffix)?);
    }
    for (key, path) in &references {
        for ((folder, keyed), method) in folders.distorted.iter().zip(&distorted).zip(&methods) {
            let Some(found) = keyed.get(key) else { continue };
            pairing.rows.push(Row {
                reference: shown(&folders.reference, path),
                distorted: shown(folder, found),
                item: key.clone(),
                method: method.clone(),
            });
        }
    }
    for (folder, keyed) in folders.distorted.iter().zip(&distorted) {
        pairing.find_unmatched(folders, folder, &references, keyed);
    }
    Ok(pairing)
}

impl Pairing {
    /// Why the folders cannot be scored as they are; `None` if every file has its partner.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        if self.problems.is_empty() {
            return None;
        }
        let listed: Vec<&str> =
            self.problems.iter().take(LISTED_MAX).map(|problem| problem.message.as_str()).collect();
        let more = match self.problems.len().saturating_sub(LISTED_MAX) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        let text = format!(
            "{} files have no partner; nothing was paired by order\n  {}{more}",
            self.problems.len(),
            listed.join("\n  ")
        );
        Some(
            Refusal::inputs(text).hint(match &self.suffix {
                Some((suffix, count)) => {
                    // As one argument, a suffix may begin with a hyphen.
                    let joint = if suffix.starts_with('-') { '=' } else { ' ' };
                    format!("`--dist-suffix{joint}{suffix}` would pair {count} of them")
                }
                None => {
                    "rename or remove them, or write a manifest; `lpips check` lists all of them"
                        .to_owned()
                }
            }),
        )
    }

    /// What was paired and what was left out, for people.
    #[must_use]
    pub fn note(&self) -> String {
        let Ignored { hidden, others, loops } = self.ignored;
        let items: BTreeSet<&str> = self.rows.iter().map(|row| row.item.as_str()).collect();
        let mut note =
            format!("paired {} references by name: {} pairs", items.len(), self.rows.len());
        if hidden + others > 0 {
            note.push_str(&format!(
                "; ignored {hidden} hidden files and {others} that are no images by their names"
            ));
        }
        if loops > 0 {
            note.push_str(&format!("; skipped {loops} links to a folder above them"));
        }
        note
    }

    fn problem(&mut self, code: Code, message: String) {
        self.problems.push(Problem { code, message });
    }

    /// The images of a folder by key.
    fn scan(&mut self, folder: &Path, suffix: &str) -> anyhow::Result<Keyed> {
        let mut keyed = Keyed::new();
        for path in self.images(folder)? {
            let without_extension = Path::new(&path).with_extension("");
            let key = without_extension.to_string_lossy();
            let Some(key) = key.strip_suffix(suffix) else {
                let whole = shown(folder, &path);
                let message = format!("`{whole}`: the name does not end in `{suffix}`");
                self.problem(Code::Unmatched, message);
                continue;
            };
            let earlier = keyed.insert(key.to_owned(), path.clone());
            if let Some(earlier) = earlier {
                let (whole, earlier) = (shown(folder, &path), shown(folder, &earlier));
                let message = format!("`{whole}` and `{earlier}` differ in their extension only");
                self.problem(Code::Ambiguous, message);
            }
        }
        Ok(keyed)
    }

    /// Paths, relative to `folder`, of the images at or below it, in the order of their names. A
    /// link to nothing is one if it has the name of one: its pair fails as of any missing file.
    fn images(&mut self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let place = || Refusal::inputs(format!("cannot read the folder `{}`", folder.display()));
        // A folder that is missing, or a file, is reported as such and not as an empty walk.
        fs_err::read_dir(folder).with_context(place)?;
        let mut images = Vec::new();
        let mut hidden = 0;
        let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
        let visible = walk.filter_entry(|entry| {
            let skip = entry.depth() > 0 && is_hidden(entry.path());
            hidden += usize::from(skip);
            !skip
        });
        for entry in visible {
            let path = match entry {
                Ok(entry) if entry.file_type().is_dir() => continue,
                Ok(entry) => entry.into_path(),
                Err(error) if error.loop_ancestor().is_some() => {
                    self.ignored.loops += 1;
                    continue;
                }
                Err(error) => match error.path().filter(|path| path.is_symlink()) {
                    Some(link) if is_hidden(link) => {
                        self.ignored.hidden += 1;
                        continue;
                    }
                    Some(link) => link.to_owned(),
                    None => return Err(error).with_context(place),
                },
            };
            if !has_image_name(&path) {
                self.ignored.others += 1;
                continue;
            }
            match path.strip_prefix(folder).unwrap_or(&path).to_str() {
                Some(relative) => images.push(relative.to_owned()),
                None => {
                    let path = path.display();
                    let message = format!("`{path}`: the name is not UTF-8; rename the file");
                    self.problem(Code::Name, message);
                }
            }
        }
        self.ignored.hidden += hidden;
        if images.is_empty() && self.problems.is_empty() {
            let text = format!("the folder `{}` holds no image", folder.display());
            return Err(Refusal::inputs(text)
                .hint(format!("files with these extensions are taken: {}", EXTENSIONS.join(", ")))
                .into());
        }
        Ok(images)
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
        if folders.suffix.is_empty() {
            self.suffix = self.suffix.take().or(common_suffix(&lone_references, &lone_distorted));
        }
        for (mine, others, of, beside) in [
            (&lone_references, &lone_distorted, &folders.reference, folder),
            (&lone_distorted, &lone_references, &folder.to_owned(), &*folders.reference),
        ] {
            for (key, path) in mine {
                let near = (self.problems.len() < NEAREST_MAX)
                    .then(|| nearest(key, others.iter().map(|(key, _)| key.as_str())))
                    .flatten()
                    .and_then(|near| others.iter().find(|(key, _)| key == near));
                let near = near.map(|(_, path)| format!("; nearest name: `{path}`"));
                let message = format!(
                    "`{}` has no partner in `{}`{}",
                    shown(of, path),
                    beside.display(),
                    near.unwrap_or_default()
                );
                self.problem(Code::Unmatched, message);
            }
        }
    }
}

/// The ending that most distorted names have and their references have not; `None` unless it would
/// pair half of the references. Both lists are sorted by key.
fn common_suffix(
    references: &[(String, String)],
    distorted: &[(String, String)],
) -> Option<(String, usize)> {
    let position = |key: &str| distorted.partition_point(|(other, _)| other.as_str() < key);
    let has = |key: &str| distorted.get(position(key)).is_some_and(|(other, _)| other == key);
    let suffixes: BTreeSet<&str> = references
        .iter()
        .take(SUFFIXED_MAX)
        .flat_map(|(key, _)| {
            let longer = distorted[position(key)..].iter().take(SUFFIXED_MAX);
            longer.filter_map(|(other, _)| other.strip_prefix(key.as_str()))
        })
        .collect();
    let paired =
        |suffix: &str| references.iter().filter(|(key, _)| has(&format!("{key}{suffix}"))).count();
    let best = suffixes.into_iter().map(|suffix| (paired(suffix), suffix)).max()?;
    (2 * best.0 >= references.len()).then(|| (best.1.to_owned(), best.0))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

fn shown(folder: &Path, relative: &str) -> String {
    folder.join(relative).display().to_string()
}

/// The last part of each folder's path, or the whole path where that does not tell them apart.
fn method_names(folders: &[PathBuf]) -> Vec<String> {
    if folders.len() == 1 {
        return vec![String::new()];
    }
    let last = |folder: &PathBuf| {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_else(|| folder.display().to_string())
    };
    let names: Vec<String> = folders.iter().map(last).collect();
    let unique: BTreeSet<&String> = names.iter().collect();
    if unique.len() == names.len() {
        names
    } else {
        folders.iter().map(|folder| folder.display().to_string()).collect()
    }
}

/// A refusal of folders that are given twice.
///
/// # Errors
/// When two of `--ref` and `--dist` are the same.
pub fn refuse_repeated(folders: &Folders) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for folder in &folders.distorted {
        if !seen.insert(folder) {
            let name = folder.display().to_string();
            return Err(Refusal::usage(format!("--dist {} is given twice", quoted(&[&name]))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::render;

    /// A folder with empty files.
    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for path in paths {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, "").unwrap();
        }
        root
    }

    fn folders(root: &Path, distorted: &[&str], suffix: &str) -> Folders {
        Folders {
            reference: root.join("hr"),
            distorted: distorted.iter().map(|name| root.join(name)).collect(),
            suffix: suffix.to_owned(),
        }
    }

    fn names(pairing: &Pairing) -> Vec<(&str, &str)> {
        pairing.rows.iter().map(|row| (row.item.as_str(), row.method.as_str())).collect()
    }

    #[test]
    fn folders_are_paired_by_relative_path_whatever_the_extension() {
        let root = tree(&[
            "hr/b/2.png",
            "hr/1.PNG",
            "edsr/1.jpg",
            "edsr/b/2.png",
            "swin/b/2.webp",
            "swin/1.png",
            "hr/.DS_Store",
            "hr/notes.txt",
            "swin/.cache/x.png",
        ]);
        let pairing = pair(&folders(root.path(), &["edsr", "swin"], "")).unwrap();
        assert_eq!(
            names(&pairing),
            [("1", "edsr"), ("1", "swin"), ("b/2", "edsr"), ("b/2", "swin")]
        );
        assert!(pairing.refusal().is_none());
        assert_eq!(pairing.ignored, Ignored { hidden: 2, others: 1, loops: 0 });
        assert!(pairing.rows[0].distorted.ends_with("edsr/1.jpg"));
        assert!(
            pairing.note().starts_with("paired 2 references by name: 4 pairs; ignored 2 hidden")
        );
    }

    #[test]
    fn a_suffix_is_stripped_and_one_folder_has_no_method() {
        let root = tree(&["hr/1.png", "x4/1_x4.png"]);
        let pairing = pair(&folders(root.path(), &["x4"], "_x4")).unwrap();
        assert_eq!(names(&pairing), [("1", "")]);
        assert!(pairing.refusal().is_none());
    }

    #[test]
    fn files_without_partner_are_listed_with_the_nearest_name() {
        let root = tree(&["hr/1.png", "hr/2.png", "x4/1.png", "x4/2_x4.png", "x4/zebra.png"]);
        let pairing = pair(&folders(root.path(), &["x4"], "")).unwrap();
        let text = render(&pairing.refusal().unwrap().into());
        for expected in [
            "3 files have no partner; nothing was paired by order",
            "hr/2.png` has no partner in `",
            "; nearest name: `2_x4.png`",
            "x4/zebra.png` has no partner",
            "hint: `--dist-suffix _x4` would pair 1 of them",
        ] {
            assert!(text.contains(expected), "no `{expected}` in {text}");
        }
    }

    #[test]
    fn a_suffix_is_offered_only_if_it_pairs_most() {
        let hint = |paths: &[&str]| {
            let root = tree(paths);
            let pairing = pair(&folders(root.path(), &["x4"], "")).unwrap();
            render(&pairing.refusal().unwrap().into())
        };
        let text = hint(&["hr/1.png", "hr/2.png", "hr/3.png", "x4/1_x4.png", "x4/2_x4.png"]);
        assert!(text.contains("hint: `--dist-suffix _x4` would pair 2 of them"), "{text}");
        let text = hint(&["hr/1.png", "hr/2.png", "hr/3.png", "x4/1_x4.png", "x4/2_x2.png"]);
        assert!(text.contains("hint: rename or remove them"), "{text}");
    }

    #[test]
    fn names_that_differ_in_extension_only_and_wrong_suffixes_are_problems() {
        let root = tree(&["hr/1.png", "x4/1_x4.png", "x4/1_x4.jpg", "x4/1.png"]);
        let pairing = pair(&folders(root.path(), &["x4"], "_x4")).unwrap();
        let codes: Vec<Code> = pairing.problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [Code::Unmatched, Code::Ambiguous]);
    }

    #[test]
    fn folders_without_images_or_without_being_there_are_refused() {
        let root = tree(&["hr/readme.txt", "x4/1.png"]);
        let message = render(&pair(&folders(root.path(), &["x4"], "")).unwrap_err());
        assert!(message.contains("hr` holds no image"), "{message}");
        let root = tree(&["hr/1.png"]);
        let message = render(&pair(&folders(root.path(), &["gone"], "")).unwrap_err());
        assert!(
            message.contains("cannot read the folder") && message.contains("gone"),
            "{message}"
        );
    }

    #[test]
    fn methods_are_folder_names_unless_those_are_the_same() {
        let of = |paths: &[&str]| {
            method_names(&paths.iter().map(PathBuf::from).collect::<Vec<PathBuf>>())
        };
        assert_eq!(of(&["a/edsr", "b/swin"]), ["edsr", "swin"]);
        assert_eq!(of(&["edsr/x4", "swin/x4"]), ["edsr/x4", "swin/x4"]);
        assert_eq!(of(&["x4"]), [""]);
    }

    #[test]
    fn links_to_nothing_fail_as_files_do_and_loops_are_skipped() {
        use std::os::unix::fs::symlink;
        let root = tree(&["hr/1.png", "hr/2.png", "x4/1.png"]);
        let at = |name: &str| root.path().join(name);
        for (target, link) in [
            ("/nowhere/2.png", "x4/2.png"),
            ("/nowhere/README.md", "hr/README.md"),
            ("/nowhere/3.png", "hr/.3.png"),
            ("..", "x4/latest"),
            ("itself.md", "x4/itself.md"),
        ] {
            symlink(target, at(link)).unwrap();
        }
        let pairing = pair(&folders(root.path(), &["x4"], "")).unwrap();
        assert_eq!(names(&pairing), [("1", ""), ("2", "")]);
        assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
        assert_eq!(pairing.ignored, Ignored { hidden: 1, others: 2, loops: 1 });
        assert!(pairing.note().ends_with("; skipped 1 links to a folder above them"));
    }

    #[test]
    fn a_suffix_that_begins_with_a_hyphen_is_offered_as_one_argument() {
        let root = tree(&["hr/1.png", "x4/1-x4.png"]);
        let pairing = pair(&folders(root.path(), &["x4"], "")).unwrap();
        let text = render(&pairing.refusal().unwrap().into());
        assert!(text.contains("hint: `--dist-suffix=-x4` would pair 1 of them"), "{text}");
    }
}
