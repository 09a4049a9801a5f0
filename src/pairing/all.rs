//! Every two images of a folder as a pair.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Pairing;
use super::folders::shown;
use crate::batch::Pair;
use crate::error::Refusal;

/// Rows `ref, dist, item, id` for every two images of each folder at or below `folder`; an item is
/// a folder, so that a summary's interval is over folders. Rows of a folder come in the order of
/// [`Pair::z_order`], so that few images are needed at a time.
///
/// # Errors
/// A [`Refusal`] when it cannot be read or holds no two images of one folder.
pub fn all_pairs(folder: &Path) -> anyhow::Result<impl Iterator<Item = [String; 4]>> {
    let mut pairing = Pairing::default();
    let mut folders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in pairing.images(folder, &[])? {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        folders.entry(parent.to_owned()).or_default().push(name.to_owned());
    }
    if let Some(refusal) = pairing.refusal() {
        return Err(refusal.into());
    }
    if folders.values().all(|images| images.len() < 2) {
        let text = format!("no folder at or below `{}` holds two images", folder.display());
        return Err(Refusal::inputs(text).hint("name a folder of images to compare").into());
    }
    let folder = folder.to_owned();
    Ok(folders.into_iter().flat_map(move |(parent, images)| rows(&folder, &parent, images)))
}

fn rows(folder: &Path, parent: &str, images: Vec<String>) -> Vec<[String; 4]> {
    let item = if parent.is_empty() { name_of(folder) } else { parent.to_owned() };
    let below = |name: &str| match parent {
        "" => name.to_owned(),
        parent => format!("{parent}/{name}"),
    };
    let Labels { images, separator } = Labels::new(images);
    let mut pairs: Vec<Pair> = Vec::new();
    for reference in 0..images.len() {
        let others = reference + 1..images.len();
        pairs.extend(others.map(|distorted| Pair { reference, distorted }));
    }
    pairs.sort_unstable_by_key(|pair| pair.z_order());
    let row = |Pair { reference, distorted }| {
        let ((a, name_a), (b, name_b)) = (&images[reference], &images[distorted]);
        let [path_a, path_b] = [name_a, name_b].map(|name| shown(folder, &below(name)));
        [path_a, path_b, item.clone(), below(&format!("{a}{separator}{b}"))]
    };
    pairs.into_iter().map(row).collect()
}

/// What the images of a folder are called in ids, such that no two pairs have one id.
struct Labels {
    /// Label and name of each image, by label.
    images: Vec<(String, String)>,
    /// What stands between the labels of a pair.
    separator: &'static str,
}

impl Labels {
    /// Labels are names without extension, or whole names where two images differ in nothing else.
    /// `--` separates them. Where a label has hyphens that could be taken for it, `//` does: no
    /// name and no other id holds that.
    fn new(names: Vec<String>) -> Labels {
        let stem = |name: &str| name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
        let stems: BTreeSet<String> = names.iter().map(|name| stem(name)).collect();
        let is_unique = stems.len() == names.len();
        let label = |name: String| (if is_unique { stem(&name) } else { name.clone() }, name);
        let mut images: Vec<(String, String)> = names.into_iter().map(label).collect();
        images.sort_unstable();
        let is_unclear =
            |label: &str| label.contains("--") || label.starts_with('-') || label.ends_with('-');
        let is_clear = !images.iter().any(|(label, _)| is_unclear(label));
        Labels { images, separator: if is_clear { "--" } else { "//" } }
    }
}

fn name_of(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| ".".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_images_of_a_folder_are_a_pair() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs_err::create_dir(root.join("cats")).unwrap();
        for name in ["b.png", "a.png", "c.jpg", "note.txt", "cats/x.png", "cats/y.png"] {
            fs_err::write(root.join(name), "").unwrap();
        }
        let rows: Vec<_> = all_pairs(root).unwrap().collect();
        let ids: Vec<(&str, &str)> =
            rows.iter().map(|row| (row[2].as_str(), row[3].as_str())).collect();
        let top = name_of(root);
        let expected = [(&*top, "a--b"), (&*top, "a--c"), (&*top, "b--c"), ("cats", "cats/x--y")];
        assert_eq!(ids, expected);
        assert_eq!(rows[1][..2], ["a.png", "c.jpg"].map(|name| shown(root, name)));
    }

    #[test]
    fn pairs_of_many_images_come_in_an_order_that_names_few_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..100 {
            fs_err::write(root.path().join(format!("{index:03}.png")), "").unwrap();
        }
        let rows: Vec<_> = all_pairs(root.path()).unwrap().collect();
        assert_eq!(rows.len(), 100 * 99 / 2);
        let ids: std::collections::HashSet<&str> = rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(ids.len(), rows.len());
        let first = &rows[..32 * 31 / 2];
        assert!(first.iter().all(|row| row[3].as_str() < "032"), "{:?}", first.last());
    }

    #[test]
    fn ids_never_clash_whatever_images_are_called() {
        for (names, expected) in [
            (&["a.png", "b.png"][..], "a--b"),
            (&["ant.png", "ant--bee.png", "bee--cow.png", "cow.png"], "ant//ant--bee"),
            (&["a.png", "a-.png", "-b.png", "b.png"], "-b//a"),
            (&["a.png", "a.jpg", "b.png"], "a.jpg--a.png"),
            (&["a.png", "a.jpg", "a.png.jpg", "a.jpg.png"], "a.jpg--a.jpg.png"),
            (&["c--d.png", "a.png", "a/c.png", "a/d.png"], "a//c--d"),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs_err::create_dir(root.path().join("a")).unwrap();
            for name in names {
                fs_err::write(root.path().join(name), "").unwrap();
            }
            let rows: Vec<_> = all_pairs(root.path()).unwrap().collect();
            let (ids, paths): (BTreeSet<_>, BTreeSet<_>) =
                rows.iter().map(|[a, b, _, id]| (id, (a, b))).unzip();
            let top = names.iter().filter(|name| !name.contains('/')).count();
            let below = names.len() - top;
            let count = top * (top - 1) / 2 + below * below.saturating_sub(1) / 2;
            assert_eq!((ids.len(), paths.len(), rows[0][3].as_str()), (count, count, expected));
        }
    }
}
