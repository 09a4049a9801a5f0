//! Cliques: sets of images of which every two are a pair, as in `--all-pairs`.
//!
//! A clique is decoded once and held until it is whole. Its pairs, which come in an order that
//! names few images at a time, then fill batches of as many images as the evaluator walks at once,
//! say C: n images that fit into one batch cost n passes of the trunk, and more of them about
//! 2 n^2 / C.

use std::collections::HashMap;

use super::assemble::Assembler;
use super::failed_rows;
use crate::batch::{Batch, BatchShape, Pair, Row};
use crate::error::Failure;
use crate::image::Image;
use crate::pair;

/// A pair of images of a clique.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edge {
    pub(super) row: Row,
    pub(super) reference: usize,
    pub(super) distorted: usize,
}

/// A batch that pairs of a clique go into, and where its images are in it.
struct Open {
    batch: Batch,
    indices: HashMap<usize, usize>,
}

impl Assembler<'_> {
    /// Scores the pairs of a clique that is whole.
    pub(super) fn score_clique(
        &mut self,
        images: &[Result<Image, Failure>],
        edges: &[Edge],
    ) -> anyhow::Result<()> {
        let mut by_shape: HashMap<BatchShape, Vec<Edge>> = HashMap::new();
        for edge in edges {
            match (&images[edge.reference], &images[edge.distorted]) {
                (Ok(reference), Ok(distorted)) if reference.size == distorted.size => {
                    let shape = pair::shape(reference.size, reference.depth(), distorted.depth());
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
            self.score_edges(shape, images, edges)?;
        }
        Ok(())
    }

    fn score_edges(
        &mut self,
        shape: BatchShape,
        images: &[Result<Image, Failure>],
        edges: Vec<Edge>,
    ) -> anyhow::Result<()> {
        let mut open: Option<Open> = None;
        for Edge { row, reference, distorted } in edges {
            let (Ok(a), Ok(b)) = (&images[reference], &images[distorted]) else { continue };
            if let Some(full) = open.take_if(|open| !open.has_room(reference, distorted)) {
                self.submit_batch(full.batch)?;
            }
            if open.is_none() && self.is_stopping() {
                return Ok(());
            }
            let open = match &mut open {
                Some(open) => open,
                None => {
                    let batch = self.lend_clique(shape, images.len())?;
                    open.insert(Open { batch, indices: HashMap::new() })
                }
            };
            self.note_facts(row, a, b);
            let pair = Pair {
                reference: open.index_of(reference, a),
                distorted: open.index_of(distorted, b),
            };
            open.batch.push_pair(row, pair);
        }
        open.map_or(Ok(()), |open| self.submit_batch(open.batch))
    }
}

impl Open {
    /// Whether the two images of a pair fit, or are there.
    fn has_room(&self, reference: usize, distorted: usize) -> bool {
        let is_new = |image: usize| usize::from(!self.indices.contains_key(&image));
        let new = match reference == distorted {
            true => is_new(reference),
            false => is_new(reference) + is_new(distorted),
        };
        self.batch.holds(self.batch.image_count() + new)
    }

    /// The index in the batch of a member, which is copied in if it is not there.
    fn index_of(&mut self, member: usize, image: &Image) -> usize {
        *self.indices.entry(member).or_insert_with(|| self.batch.push_image(image))
    }
}
