//! Cliques: sets of images of which every two are a pair, as in `--all-pairs`.
//!
//! A clique is decoded once and held until it is whole. Its pairs then go into batches in tiles of
//! images, so that a batch of C images holds about C^2 / 2 pairs: n images that fit into one batch
//! cost n passes of the trunk, and more of them about 2 n^2 / C.

use std::collections::HashMap;

use super::assemble::Assembler;
use super::failed_rows;
use crate::batch::{Batch, BatchShape, Pair, Row};
use crate::error::Failure;
use crate::image::Image;

/// A pair of images of a clique.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    pub(super) row: Row,
    pub(super) reference: usize,
    pub(super) distorted: usize,
}

/// A clique that is not whole yet.
#[derive(Debug)]
pub(super) struct Members {
    images: Vec<Option<Result<Image, Failure>>>,
    missing: usize,
}

impl Members {
    pub(super) fn new(count: usize) -> Members {
        Members { images: (0..count).map(|_| None).collect(), missing: count }
    }

    /// Whether the clique is whole now.
    pub(super) fn insert(&mut self, index: usize, image: Result<Image, Failure>) -> bool {
        self.missing -= usize::from(self.images[index].is_none());
        self.images[index] = Some(image);
        self.missing == 0
    }
}

/// A batch that pairs of a clique go into, and where its images are in it.
struct Open {
    batch: Batch,
    indices: HashMap<usize, usize>,
}

impl Assembler<'_> {
    /// Scores the pairs of a clique that is whole.
    pub(super) fn score_clique(&mut self, members: Members, edges: &[Edge]) -> anyhow::Result<()> {
        let images: Vec<Result<Image, Failure>> = members.images.into_iter().flatten().collect();
        let mut by_shape: HashMap<BatchShape, Vec<Edge>> = HashMap::new();
        for edge in edges {
            match (&images[edge.reference], &images[edge.distorted]) {
                (Ok(reference), Ok(distorted)) if reference.size == distorted.size => {
                    let depth = reference.depth().max(distorted.depth());
                    let shape = BatchShape { size: reference.size, depth };
                    by_shape.entry(shape).or_default().push(*edge);
                }
                (Ok(reference), Ok(distorted)) => {
                    let failure = self.sizes_differ(reference, distorted);
                    self.fail(failed_rows(&[edge.row], &failure));
                }
                (Err(failure), _) | (_, Err(failure)) => {
                    self.fail(failed_rows(&[edge.row], failure));
                }
            }
        }
        for (shape, edges) in by_shape {
            self.score_tiles(shape, &images, edges)?;
        }
        Ok(())
    }

    fn score_tiles(
        &mut self,
        shape: BatchShape,
        images: &[Result<Image, Failure>],
        mut edges: Vec<Edge>,
    ) -> anyhow::Result<()> {
        if self.is_stopping() {
            return Ok(());
        }
        let mut open = Open { batch: self.lend(shape)?, indices: HashMap::new() };
        let fitting = (1..).take_while(|&count| open.batch.holds(count)).last().unwrap_or(2);
        let tile = (fitting / 2).max(1);
        if images.len() > fitting {
            edges.sort_by_key(|edge| (edge.reference / tile, edge.distorted / tile, edge.row));
        }
        for Edge { row, reference, distorted } in edges {
            let new = [reference, distorted].map(|image| !open.indices.contains_key(&image));
            let new = usize::from(new[0]) + usize::from(new[1] && reference != distorted);
            if !open.batch.holds(open.batch.image_count() + new) {
                if self.is_stopping() {
                    return Ok(());
                }
                let next = Open { batch: self.lend(shape)?, indices: HashMap::new() };
                let full = std::mem::replace(&mut open, next);
                self.submit_batch(full.batch)?;
            }
            let (Ok(a), Ok(b)) = (&images[reference], &images[distorted]) else { continue };
            self.note_files(row, a, b);
            let mut index_of = |member: usize, image: &Image| {
                *open.indices.entry(member).or_insert_with(|| open.batch.push_image(image))
            };
            let pair =
                Pair { reference: index_of(reference, a), distorted: index_of(distorted, b) };
            open.batch.push_pair(row, pair);
        }
        self.submit_batch(open.batch)
    }
}
