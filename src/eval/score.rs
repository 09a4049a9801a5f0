//! Scores pairs of decoded images: the loop that keeps several batches in flight.

use std::iter::Peekable;
use std::sync::Arc;

use anyhow::Context as _;

use super::{Evaluator, PairScore, Scored, Wait};
use crate::batch::{Batch, BatchShape, Frame, Group, Lender, Pair, Row};
use crate::image::AsPixels;
use crate::pair;

/// The outcome of each pair, in the order of `pairs`, which are (reference, distorted) of equal
/// size. Pairs of one shape that follow each other share batches, and in a batch the images of one
/// memory are one image. A pair is taken when a batch has room for it,
/// so an iterator may decode while the evaluator computes.
///
/// # Errors
/// When the device cannot continue. Batches may still be in flight then: use another evaluator.
///
/// # Panics
/// When the two images of a pair differ in size.
pub fn score_pairs<I: AsPixels>(
    evaluator: &mut dyn Evaluator,
    pairs: impl IntoIterator<Item = (I, I)>,
) -> anyhow::Result<Vec<PairScore>> {
    let lender = evaluator.lender();
    let mut pairs = pairs.into_iter().peekable();
    let mut outcomes = Outcomes::default();
    while let Some(pair) = pairs.peek() {
        let Some(mut batch) = evaluator.acquire(shape(pair), Group::PAIR)? else {
            let done = evaluator.collect(Wait::Block)?;
            outcomes.take(done.context("the evaluator has no staging buffer")?);
            continue;
        };
        outcomes.expect(fill(&mut batch, &lender, &mut pairs, outcomes.0.len()));
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

fn shape<I: AsPixels>((reference, distorted): &(I, I)) -> BatchShape {
    let depths = (reference.pixels().depth(), distorted.pixels().depth());
    pair::shape(reference.size(), depths.0, depths.1)
}

/// Moves the next pairs that have the shape of the batch and fit into it, at least one. Returns how
/// many; `first` is the number of the first.
fn fill<I: AsPixels>(
    batch: &mut Batch,
    lender: &Lender,
    pairs: &mut Peekable<impl Iterator<Item = (I, I)>>,
    first: usize,
) -> usize {
    let mut images = Images { batch, lender, known: Vec::new() };
    let mut taken = 0;
    loop {
        let has_room = taken == 0 || images.batch.has_room(2);
        let shape_of_batch = images.batch.shape();
        let fits = |pair: &(I, I)| has_room && shape(pair) == shape_of_batch;
        let Some((reference, distorted)) = pairs.next_if(fits) else { return taken };
        let pair = Pair { reference: images.index(reference), distorted: images.index(distorted) };
        images.batch.push_pair((first + taken) as Row, pair);
        taken += 1;
    }
}

/// The images of a batch, each once. They are held so that no other image can have the address.
/// Memory that a caller has written anew since is another image.
struct Images<'a, I> {
    batch: &'a mut Batch,
    lender: &'a Lender,
    known: Vec<I>,
}

impl<I: AsPixels> Images<'_, I> {
    fn index(&mut self, image: I) -> usize {
        let is_same = |(index, known): &(usize, &I)| {
            known.pixels().is(image.pixels()) && self.batch.frame(*index).holds(&image)
        };
        if let Some((index, _)) = self.known.iter().enumerate().find(is_same) {
            return index;
        }
        let frame = Frame::copy_of(&image, self.batch.shape().depth, self.lender);
        let index = self.batch.push_image(Arc::new(frame));
        self.known.push(image);
        index
    }
}

/// What has come back, by the number of the pair.
#[derive(Default)]
struct Outcomes(Vec<Option<PairScore>>);

impl Outcomes {
    fn expect(&mut self, pairs: usize) {
        self.0.resize(self.0.len() + pairs, None);
    }

    fn take(&mut self, done: Scored) {
        for (row, score) in done.rows.into_iter().zip(done.scores) {
            self.0[row as usize] = Some(score);
        }
    }
}
