//! Scores pairs of images that are in memory: the loop that keeps several batches in flight.

use anyhow::Context as _;

use super::{Evaluator, PairScore, Scored, Wait};
use crate::batch::{Batch, BatchShape, Group, Pair, Row};
use crate::image::Image;

/// The outcome of each pair, in the order of `pairs`, which are (reference, distorted) of equal
/// size. Pairs of one size that follow each other share batches, and in a batch an image that
/// several of them name is one image.
///
/// # Errors
/// When the device cannot continue.
///
/// # Panics
/// When the two images of a pair differ in size.
pub fn score_pairs(
    evaluator: &mut dyn Evaluator,
    pairs: &[(&Image, &Image)],
) -> anyhow::Result<Vec<PairScore>> {
    let mut outcomes = Outcomes(vec![None; pairs.len()]);
    let mut next = 0;
    while next < pairs.len() {
        let Some(mut batch) = evaluator.acquire(shape(pairs[next]), Group::PAIR)? else {
            let done = evaluator.collect(Wait::Block)?;
            outcomes.take(done.context("the evaluator has no staging buffer")?);
            continue;
        };
        next += fill(&mut batch, &pairs[next..], next);
        evaluator.submit(batch)?;
        while let Some(done) = evaluator.collect(Wait::Poll)? {
            outcomes.take(done);
        }
    }
    while let Some(done) = evaluator.collect(Wait::Block)? {
        outcomes.take(done);
    }
    let all = outcomes.0.into_iter().map(|one| one.context("a pair was not given back"));
    all.collect()
}

/// The deeper of the two images decides how a batch stores both.
fn shape((reference, distorted): (&Image, &Image)) -> BatchShape {
    BatchShape { size: reference.size, depth: reference.depth().max(distorted.depth()) }
}

/// Moves the first pairs of `rest` that have the shape of the batch and fit into it, at least one.
/// Returns how many; `first` is the number of the first.
fn fill<'a>(batch: &'a mut Batch, rest: &[(&'a Image, &'a Image)], first: usize) -> usize {
    let mut images = Images { batch, known: Vec::new() };
    let mut taken = 0;
    for &(reference, distorted) in rest {
        let is_other = shape((reference, distorted)) != images.batch.shape();
        if is_other || (taken > 0 && !images.batch.has_room(2)) {
            break;
        }
        let pair = Pair { reference: images.index(reference), distorted: images.index(distorted) };
        images.batch.push_pair((first + taken) as Row, pair);
        taken += 1;
    }
    taken
}

/// The images of a batch, each once.
struct Images<'a> {
    batch: &'a mut Batch,
    known: Vec<&'a Image>,
}

impl<'a> Images<'a> {
    fn index(&mut self, image: &'a Image) -> usize {
        if let Some(index) = self.known.iter().position(|&known| std::ptr::eq(known, image)) {
            return index;
        }
        self.known.push(image);
        self.batch.push_image(image)
    }
}

/// What has come back, by the number of the pair.
struct Outcomes(Vec<Option<PairScore>>);

impl Outcomes {
    fn take(&mut self, done: Scored) {
        for (row, score) in done.rows.into_iter().zip(done.scores) {
            self.0[row as usize] = Some(score);
        }
    }
}
