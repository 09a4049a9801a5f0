//! Every two images of a folder as a pair.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Pairing, shown};
use crate::batch::Pair;
use crate::error::Refusal;

/// Rows `ref, dist, item, id` for every two images of each folder at or below `folder`; an item is
/// a folder, so that a summary's interval is over folders. Rows of a folder come in the order of
/// [`Pair::z_order`], so that few images are needed at a time.
///
/// # Errors
/// A [`Refusal`] when it cannot be read, holds no two images of one folder, or names clash.
pub fn all_pairs(folder: &Path) -> anyhow::Result<impl Iterator<Item = [String; 4]>> {
    let mut pairing = Pairing::default();
    let keyed = pairing.scan(folder, "")?;
    if let Some(refusal) = pairing.refusal() {
        return Err(refusal.into());
    }
    let mut folders: BTreeMap<String, Vec<Keyed>> = BTreeMap::new();
    for (key, path) in keyed {
        let parent = Path::new(&path).parent().unwrap_or(Path::new(""));
        folders.entry(parent.display().to_string()).or_default().push((key, path));
    }
    if folders.values().all(|images| images.len() < 2) {
        let text = format!("no folder at or below `{}` holds two images", folder.display());
        return Err(Refusal::inputs(text).hint("name a folder of images to compare").into());
    }
    let folder = folder.to_owned();
    Ok(folders.into_iter().flat_map(move |(parent, images)| rows(&folder, &parent, &images)))
}

/// Name without extension, and path below the folder.
type Keyed = (String, String);

fn rows(folder: &Path, parent: &str, images: &[Keyed]) -> Vec<[String; 4]> {
    let item = if parent.is_empty() { name_of(folder) } else { parent.to_owned() };
    let mut pairs: Vec<Pair> = Vec::new();
    for reference in 0..images.len() {
        let others = reference + 1..images.len();
        pairs.extend(others.map(|distorted| Pair { reference, distorted }));
    }
    pairs.sort_unstable_by_key(|pair| pair.z_order());
    let row = |Pair { reference, distorted }| {
        let ((a, path_a), (b, path_b)) = (&images[reference], &images[distorted]);
        let b = b.rsplit('/').next().unwrap_or(b);
        [shown(folder, path_a), shown(folder, path_b), item.clone(), format!("{a}--{b}")]
    };
    pairs.into_iter().map(row).collect()
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
}
