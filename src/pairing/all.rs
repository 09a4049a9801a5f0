//! Every two images of a folder as a pair.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Pairing, shown};
use crate::error::Refusal;

/// Images of a tile: rows come tile by tile, so that few images are needed at a time. Folders of at
/// most twice as many are one run of rows in the order of their names.
const TILE: usize = 32;

/// Rows `ref, dist, item, id` for every two images of each folder at or below `folder`; an item is
/// a folder, so that a summary's interval is over folders.
///
/// # Errors
/// A [`Refusal`] when it cannot be read, holds no two images of one folder, or names clash.
pub fn all_pairs(folder: &Path) -> anyhow::Result<Vec<[String; 4]>> {
    let mut pairing = Pairing::default();
    let keyed = pairing.scan(folder, "")?;
    if let Some(refusal) = pairing.refusal() {
        return Err(refusal.into());
    }
    let mut folders: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (key, path) in keyed {
        let parent = Path::new(&path).parent().unwrap_or(Path::new(""));
        folders.entry(parent.display().to_string()).or_default().push((key, path));
    }
    let mut rows = Vec::new();
    for (parent, images) in folders {
        let item = if parent.is_empty() { name_of(folder) } else { parent };
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        for i in 0..images.len() {
            pairs.extend((i + 1..images.len()).map(|j| (i, j)));
        }
        if images.len() > 2 * TILE {
            pairs.sort_by_key(|&(i, j)| (i / TILE, j / TILE, i, j));
        }
        rows.extend(pairs.into_iter().map(|(i, j)| {
            let ((a, path_a), (b, path_b)) = (&images[i], &images[j]);
            let b = b.rsplit('/').next().unwrap_or(b);
            [shown(folder, path_a), shown(folder, path_b), item.clone(), format!("{a}--{b}")]
        }));
    }
    if rows.is_empty() {
        let text = format!("no folder at or below `{}` holds two images", folder.display());
        return Err(Refusal::inputs(text).hint("name a folder of images to compare").into());
    }
    Ok(rows)
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
        let rows = all_pairs(root).unwrap();
        let ids: Vec<(&str, &str)> =
            rows.iter().map(|row| (row[2].as_str(), row[3].as_str())).collect();
        let top = name_of(root);
        let expected = [(&*top, "a--b"), (&*top, "a--c"), (&*top, "b--c"), ("cats", "cats/x--y")];
        assert_eq!(ids, expected);
        assert_eq!(rows[1][..2], ["a.png", "c.jpg"].map(|name| shown(root, name)));
    }

    #[test]
    fn pairs_of_many_images_come_in_tiles() {
        let root = tempfile::tempdir().unwrap();
        for index in 0..100 {
            fs_err::write(root.path().join(format!("{index:03}.png")), "").unwrap();
        }
        let rows = all_pairs(root.path()).unwrap();
        assert_eq!(rows.len(), 100 * 99 / 2);
        let ids: std::collections::HashSet<&str> = rows.iter().map(|row| row[3].as_str()).collect();
        assert_eq!(ids.len(), rows.len());
        // The first tile's pairs name its own images alone.
        let first = &rows[..TILE * (TILE - 1) / 2];
        assert!(first.iter().all(|row| row[3].as_str() < "032"), "{:?}", first.last());
    }
}
