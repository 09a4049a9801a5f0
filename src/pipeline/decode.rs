//! Which image is decoded next, and the threads that decode.
//!
//! Images are handed out in scoring order: a reference, then the distorted images of its group.
//! A file is decoded once in a group, however many rows name it. They also come back in that order,
//! whichever is done first: what a batch holds is no matter of luck.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::clique::Edge;
use crate::batch::{BatchShape, Extent, Row};
use crate::error::Failure;
use crate::image::{self, Header, Image};
use crate::manifest::{Manifest, Rows};

/// Rows of one group at the most; a reference with more rows is decoded once per so many.
const GROUP_ROWS_MAX: usize = 256;

/// Bytes of the decoded images of one clique at the most, unless two images have more; of more, the
/// pairs are handed out in several cliques. Two cliques may be in memory at a time.
const CLIQUE_BYTES_MAX: usize = 256 << 20;

/// What an image is within its group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The reference; `own_rows` compare it with itself, and the whole group has this `extent`.
    Reference { own_rows: Vec<Row>, extent: Extent },
    /// The distorted image of `rows`.
    Distorted { rows: Vec<Row> },
    /// The next of the `count` images of a clique, whose pairs are `edges`.
    Member { edges: Arc<[Edge]>, count: usize },
}

/// An image to decode.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Task {
    group: u64,
    part: Part,
    /// As written in the manifest.
    path: String,
}

/// An image that is being decoded.
pub(super) type Pending = Receiver<Decoded>;

/// An image that was decoded, or not.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Number of the group; groups are numbered in scoring order.
    pub(super) group: u64,
    /// What the image is in its group.
    pub(super) part: Part,
    /// The image.
    pub(super) image: Result<Image, Failure>,
}

/// Hands out images in scoring order.
#[derive(Debug)]
pub(super) struct Feed<'a> {
    manifest: &'a Manifest,
    rows: Rows<'a>,
    /// Rows that are not handed out yet, in scoring order.
    rest: &'a [Row],
    are_cliques: bool,
    group: u64,
    /// Tasks of the current group, last first.
    tasks: Vec<Task>,
}

impl<'a> Feed<'a> {
    /// Hands out the images of `rest`, rows in scoring order. With `are_cliques`, rows of one item
    /// that follow each other are pairs among few images.
    pub(super) fn new(
        manifest: &'a Manifest,
        rest: &'a [Row],
        are_cliques: bool,
    ) -> anyhow::Result<Feed<'a>> {
        let rows = manifest.rows()?;
        Ok(Feed { manifest, rows, rest, are_cliques, group: 0, tasks: Vec::new() })
    }

    fn next_task(&mut self) -> anyhow::Result<Option<Task>> {
        if self.tasks.is_empty() {
            if self.are_cliques {
                self.next_clique()?;
            } else {
                self.next_group()?;
            }
        }
        Ok(self.tasks.pop())
    }

    /// Collects the rows that follow each other with one item, up to a size in memory.
    fn next_clique(&mut self) -> anyhow::Result<()> {
        let mut paths: Vec<String> = Vec::new();
        let mut indices: HashMap<String, usize> = HashMap::new();
        let mut edges: Vec<Edge> = Vec::new();
        let mut item: Option<String> = None;
        let mut bytes = 0;
        while let Some((&row, later)) = self.rest.split_first() {
            let entry = self.rows.read(row)?;
            let sides = [entry.reference, entry.distorted];
            let new = sides.iter().filter(|path| !indices.contains_key(*path));
            bytes += new.map(|path| self.decoded_bytes(path)).sum::<usize>();
            let is_other = item.as_ref().is_some_and(|item| *item != entry.item);
            if is_other || (!edges.is_empty() && bytes > CLIQUE_BYTES_MAX) {
                break;
            }
            let [reference, distorted] = sides.map(|path| {
                *indices.entry(path).or_insert_with_key(|path| {
                    paths.push(path.clone());
                    paths.len() - 1
                })
            });
            edges.push(Edge { row, reference, distorted });
            item = Some(entry.item);
            self.rest = later;
        }
        let group = self.group;
        self.group += 1;
        let (edges, count): (Arc<[Edge]>, usize) = (edges.into(), paths.len());
        let task = |path| {
            let edges = Arc::clone(&edges);
            Task { group, part: Part::Member { edges, count }, path }
        };
        self.tasks = paths.into_iter().map(task).collect();
        self.tasks.reverse();
        Ok(())
    }

    /// What an image takes once it is decoded, as far as its header tells.
    fn decoded_bytes(&self, path: &str) -> usize {
        let header = image::header(&self.manifest.resolve(path));
        header.map_or(0, |header: Header| {
            BatchShape { size: header.size, depth: header.depth() }.image_bytes()
        })
    }

    /// Collects the rows that follow each other with one reference.
    fn next_group(&mut self) -> anyhow::Result<()> {
        let mut reference: Option<String> = None;
        let mut own_rows = Vec::new();
        let mut distorted: Vec<(String, Vec<Row>)> = Vec::new();
        for count in 0..GROUP_ROWS_MAX {
            let Some((&row, rest)) = self.rest.split_first() else { break };
            let entry = self.rows.read(row)?;
            if count > 0 && reference.as_deref() != Some(entry.reference.as_str()) {
                break;
            }
            self.rest = rest;
            if entry.distorted == entry.reference {
                own_rows.push(row);
            } else {
                match distorted.iter_mut().find(|(path, _)| *path == entry.distorted) {
                    Some((_, rows)) => rows.push(row),
                    None => distorted.push((entry.distorted, vec![row])),
                }
            }
            reference = Some(entry.reference);
        }
        let Some(path) = reference else { return Ok(()) };
        let group = self.group;
        self.group += 1;
        let pairs = distorted.iter().map(|(_, rows)| rows.len()).sum::<usize>();
        let extent = Extent { images: 1 + pairs, pairs: own_rows.len() + pairs };
        let part = Part::Reference { own_rows, extent };
        let of_distorted =
            distorted.into_iter().map(|(path, rows)| (Part::Distorted { rows }, path));
        let tasks = std::iter::once((part, path)).chain(of_distorted);
        self.tasks = tasks.map(|(part, path)| Task { group, part, path }).collect();
        self.tasks.reverse();
        Ok(())
    }
}

/// A decoding thread: until the feed is empty, fails, or nobody listens. What it is about to decode
/// takes its place in `queue` first.
pub(super) fn decode_all(
    feed: &Mutex<Feed<'_>>,
    rules: &image::Rules,
    queue: &SyncSender<anyhow::Result<Pending>>,
) {
    loop {
        // Poisoned only if another decoder panicked, which ends the run anyway.
        let (task, path, done) = {
            let mut feed = feed.lock().unwrap_or_else(PoisonError::into_inner);
            match feed.next_task() {
                Ok(Some(task)) => {
                    let path = feed.manifest.resolve(&task.path);
                    let (done, pending) = sync_channel(1);
                    // The feed stays locked while the queue is full, so that places are taken in
                    // the order of tasks. Those who hold a place already need no lock.
                    if queue.send(Ok(pending)).is_err() {
                        return;
                    }
                    (task, path, done)
                }
                Ok(None) => return,
                Err(error) => {
                    // The receiver ends the run at the first error; later ones have no reader.
                    drop(queue.send(Err(error)));
                    return;
                }
            }
        };
        let Task { group, part, .. } = task;
        let image = image::decode(&path, rules)
            .map_err(|error| Failure::new(error.code(), error.to_string()));
        if done.send(Decoded { group, part, image }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Location;

    fn tasks(text: &str) -> Vec<Task> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.csv");
        fs_err::write(&path, text).unwrap();
        let manifest = Manifest::open(Location::of(&path)).unwrap();
        let mut feed = Feed::new(&manifest, manifest.order(), false).unwrap();
        std::iter::from_fn(|| feed.next_task().unwrap()).collect()
    }

    #[test]
    fn a_file_is_decoded_once_in_its_group() {
        let tasks = tasks("ref,dist,id\na,x,0\nb,x,1\na,y,2\na,x,3\na,a,4\n");
        let paths: Vec<(u64, &str)> =
            tasks.iter().map(|task| (task.group, task.path.as_str())).collect();
        assert_eq!(paths, [(0, "a"), (0, "x"), (0, "y"), (1, "b"), (1, "x")]);
        let extent = Extent { images: 4, pairs: 4 };
        assert_eq!(tasks[0].part, Part::Reference { own_rows: vec![4], extent });
        assert_eq!(tasks[1].part, Part::Distorted { rows: vec![0, 3] });
    }

    #[test]
    fn a_reference_with_very_many_rows_is_split() {
        let lines: String = (0..600).map(|row| format!("a,x{row},{row}\n")).collect();
        let tasks = tasks(&format!("ref,dist,id\n{lines}"));
        assert_eq!(tasks.iter().filter(|task| task.path == "a").count(), 3);
        assert_eq!(tasks.len(), 603);
    }
}
