//! Which image is decoded next, and which pairs can be formed once it is there.
//!
//! Rows that share images follow each other and form a group: the rows of one reference, or those
//! of one item where every two images may be a pair. A group is a graph: its unique images, and its
//! pairs as edges. Images are handed out in the order of their first use, each once, with the
//! number of its uses, so that the assembler can drop it after the last.

use std::collections::{HashMap, VecDeque};

use crate::batch::{BatchShape, Group, Grouping, Row};
use crate::image::{self, Rules};
use crate::manifest::{Manifest, Rows};

/// At most so many rows form the group of a reference; the reference is decoded again after them.
const REFERENCE_ROWS_MAX: usize = 256;

/// At most so many bytes of decoded images form the group of an item, unless two images have more
/// or the memory is less; the pairs of a larger item form several groups.
const ITEM_BYTES_MAX: u64 = 256 << 20;

/// A row as a pair of images, by their numbers in the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    pub(super) row: Row,
    pub(super) reference: u32,
    pub(super) distorted: u32,
}

/// An image to decode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Task {
    /// The number of its group. Groups follow each other.
    pub(super) group_number: u64,
    /// How many images and pairs the group has.
    pub(super) group: Group,
    /// The number of the image in its group, from 0, in the order in which they are handed out.
    pub(super) image: u32,
    /// As written in the manifest.
    pub(super) path: String,
    /// How often edges of this task and of later ones name the image.
    pub(super) uses: usize,
    /// The next edges, whose images are this one and earlier ones.
    pub(super) edges: Vec<Edge>,
}

/// Hands out images.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) rules: &'a Rules,
    rows: Rows<'a>,
    grouping: Grouping,
    item_bytes_max: u64,
    /// The rows that are not handed out yet.
    left: &'a [Row],
    group_count: u64,
    /// The images of the current group that are not handed out yet.
    tasks: VecDeque<Task>,
}

impl<'a> Feed<'a> {
    /// Hands out the images of `rows`, of which those of one group must follow each other. Decoded
    /// images take at most `bytes_max`.
    pub(super) fn new(
        manifest: &'a Manifest,
        rules: &'a Rules,
        rows: &'a [Row],
        grouping: Grouping,
        bytes_max: u64,
    ) -> anyhow::Result<Feed<'a>> {
        let (left, rows) = (rows, manifest.rows()?);
        let item_bytes_max = ITEM_BYTES_MAX.min(bytes_max);
        let (group_count, tasks) = (0, VecDeque::new());
        Ok(Feed { manifest, rules, rows, grouping, item_bytes_max, left, group_count, tasks })
    }

    pub(super) fn next_task(&mut self) -> anyhow::Result<Option<Task>> {
        if self.tasks.is_empty() && !self.left.is_empty() {
            let mut graph = match self.grouping {
                Grouping::Pair | Grouping::Reference => self.next_reference()?,
                Grouping::Item => self.next_item()?,
            };
            self.tasks = graph.tasks(self.grouping, self.group_count);
            self.group_count += 1;
        }
        Ok(self.tasks.pop_front())
    }

    /// Takes the rows that follow each other with one reference. Rows with the same distorted image
    /// are brought together, so that it need not be held for long.
    fn next_reference(&mut self) -> anyhow::Result<Graph> {
        let mut graph = Graph::default();
        while let Some((&row, later)) = self.left.split_first() {
            let entry = self.rows.read(row)?;
            let is_other = graph.paths.first().is_some_and(|path| *path != entry.reference);
            if is_other || graph.edges.len() == REFERENCE_ROWS_MAX {
                break;
            }
            graph.add(row, [entry.reference, entry.distorted]);
            self.left = later;
        }
        graph.edges.sort_by_key(|edge| edge.distorted);
        Ok(graph)
    }

    /// Takes the rows that follow each other with one item, up to a size in memory. Pairs of one
    /// size are brought together, in their order, so that one batch is filled at a time.
    fn next_item(&mut self) -> anyhow::Result<Graph> {
        let mut graph = Graph::default();
        let mut shapes: Vec<Option<BatchShape>> = Vec::new();
        let mut bytes = 0;
        let mut item: Option<String> = None;
        while let Some((&row, later)) = self.left.split_first() {
            let entry = self.rows.read(row)?;
            let paths = [entry.reference, entry.distorted];
            let new = paths.iter().filter(|path| !graph.numbers.contains_key(*path));
            let new: Vec<Option<BatchShape>> = new.map(|path| self.shape(path)).collect();
            bytes += new.iter().flatten().map(|shape| shape.image_bytes() as u64).sum::<u64>();
            let is_other = item.as_ref().is_some_and(|item| *item != entry.item);
            if is_other || (!graph.edges.is_empty() && bytes > self.item_bytes_max) {
                break;
            }
            graph.add(row, paths);
            shapes.extend(new);
            shapes.resize(graph.paths.len(), None);
            item = Some(entry.item);
            self.left = later;
        }
        graph.edges.sort_by_key(|edge| {
            let shape = |image: u32| shapes[image as usize];
            let (reference, distorted) = (shape(edge.reference), shape(edge.distorted));
            let sizes = [reference, distorted].map(|shape| shape.map(|shape| shape.size));
            (sizes, reference.map(|shape| shape.depth).max(distorted.map(|shape| shape.depth)))
        });
        Ok(graph)
    }

    /// What an image will be, according to its header.
    fn shape(&self, path: &str) -> Option<BatchShape> {
        let header = image::header(&self.manifest.resolve(path)).ok()?;
        let size = self.rules.scored(header.size).ok()?;
        Some(BatchShape { size, depth: header.depth() })
    }
}

/// Unique images and pairs of them.
#[derive(Debug, Default)]
struct Graph {
    paths: Vec<String>,
    /// Indices into `paths`.
    numbers: HashMap<String, u32>,
    edges: Vec<Edge>,
}

impl Graph {
    fn add(&mut self, row: Row, paths: [String; 2]) {
        let [reference, distorted] = paths.map(|path| {
            *self.numbers.entry(path).or_insert_with_key(|path| {
                self.paths.push(path.clone());
                (self.paths.len() - 1) as u32
            })
        });
        self.edges.push(Edge { row, reference, distorted });
    }

    /// Numbers the images in the order of their first use, and gives each the edges that come
    /// before the next image is needed.
    fn tasks(&mut self, grouping: Grouping, group_number: u64) -> VecDeque<Task> {
        let group = Group { grouping, images: self.paths.len(), pairs: self.edges.len() };
        let mut tasks: VecDeque<Task> = VecDeque::with_capacity(group.images);
        let mut numbers: Vec<Option<u32>> = vec![None; group.images];
        for mut edge in self.edges.drain(..) {
            for image in [&mut edge.reference, &mut edge.distorted] {
                let old = *image as usize;
                *image = *numbers[old].get_or_insert_with(|| {
                    let (image, path) = (tasks.len() as u32, std::mem::take(&mut self.paths[old]));
                    let edges = Vec::new();
                    tasks.push_back(Task { group_number, group, image, path, uses: 0, edges });
                    image
                });
                tasks[*image as usize].uses += 1;
            }
            if let Some(task) = tasks.back_mut() {
                task.edges.push(edge);
            }
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Location;

    fn tasks(text: &str, grouping: Grouping) -> Vec<Task> {
        let folder = tempfile::tempdir().unwrap();
        for (name, width) in [("a", 8), ("b", 8), ("c", 8), ("w", 9), ("v", 9)] {
            let bytes = [format!("P5 {width} 2 255\n").as_bytes(), &vec![0; 2 * width]].concat();
            fs_err::write(folder.path().join(name), bytes).unwrap();
        }
        let path = folder.path().join("m.csv");
        fs_err::write(&path, text).unwrap();
        let manifest = Manifest::open(Location::of(&path)).unwrap();
        let rules = Rules::default();
        let mut order = manifest.order().to_vec();
        if grouping == Grouping::Item {
            order.sort_unstable();
        }
        let mut feed = Feed::new(&manifest, &rules, &order, grouping, u64::MAX).unwrap();
        std::iter::from_fn(|| feed.next_task().unwrap()).collect()
    }

    /// (group, path, uses, rows of the edges) of every task.
    fn shown(tasks: &[Task]) -> Vec<(u64, &str, usize, Vec<Row>)> {
        let mut shown = Vec::new();
        for Task { group_number, path, uses, edges, .. } in tasks {
            let rows = edges.iter().map(|edge| edge.row).collect();
            shown.push((*group_number, path.as_str(), *uses, rows));
        }
        shown
    }

    #[test]
    fn a_file_is_decoded_once_for_its_reference() {
        let tasks = tasks("ref,dist,id\na,x,0\nb,x,1\na,y,2\na,x,3\na,a,4\n", Grouping::Reference);
        let expected = [
            (0, "a", 5, vec![4]),
            (0, "x", 2, vec![0, 3]),
            (0, "y", 1, vec![2]),
            (1, "b", 1, vec![]),
            (1, "x", 1, vec![1]),
        ];
        assert_eq!(shown(&tasks), expected);
        let group = Group { grouping: Grouping::Reference, images: 3, pairs: 4 };
        assert!(tasks[..3].iter().all(|task| task.group == group));
        assert_eq!(tasks[1].edges[1], Edge { row: 3, reference: 0, distorted: 1 });
    }

    #[test]
    fn a_reference_with_very_many_rows_is_split() {
        let lines: String = (0..600).map(|row| format!("a,x{row},{row}\n")).collect();
        let tasks = tasks(&format!("ref,dist,id\n{lines}"), Grouping::Reference);
        assert_eq!(tasks.iter().filter(|task| task.path == "a").count(), 3);
        assert_eq!(tasks.len(), 603);
    }

    /// An item is decoded once, however its rows are mixed, and one size after the other.
    #[test]
    fn an_image_is_decoded_once_for_its_item() {
        let text = "ref,dist,item,id\na,b,1,0\nw,v,1,1\na,w,1,2\na,c,1,3\nb,c,1,4\na,b,2,5\n";
        let tasks = tasks(text, Grouping::Item);
        let expected = [
            (0, "a", 3, vec![]),
            (0, "b", 2, vec![0]),
            (0, "c", 2, vec![3, 4]),
            (0, "w", 2, vec![2]),
            (0, "v", 1, vec![1]),
            (1, "a", 1, vec![]),
            (1, "b", 1, vec![5]),
        ];
        assert_eq!(shown(&tasks), expected);
    }
}
