//! Decoded images become batches.
//!
//! Images come in scoring order: a reference is kept while the distorted images of its group come,
//! and each pair goes into the open batch of its size. A reference is copied into a batch once,
//! however many of its pairs follow.

use std::collections::HashMap;

use anyhow::Context as _;

use super::decode::{Decoded, Part};
use super::{Flow, Outcomes, PairFacts, failed_rows};
use crate::batch::{Batch, BatchShape, Extent, Pair, Row};
use crate::code::Code;
use crate::column::Column;
use crate::error::Failure;
use crate::eval::{Evaluator, Wait};
use crate::image::{Image, Rules};
use crate::pair;
use crate::run::journal::Record;
use crate::signals::Stop;

/// Batches of different shapes that may be open at once; the one that was used least recently is
/// submitted as it is when another is needed.
const OPEN_MAX: usize = 4;

/// The pairs of one reference.
#[derive(Debug)]
struct Group {
    number: u64,
    reference: Result<Image, Failure>,
    /// What all of its pairs would bring to a batch.
    extent: Extent,
}

/// A batch that is being filled.
#[derive(Debug)]
struct Open {
    batch: Batch,
    /// The group whose reference was copied in last, and its image.
    reference: Option<(u64, usize)>,
}

/// Puts pairs together and hands batches to the evaluator.
pub(super) struct Assembler<'a> {
    evaluator: &'a mut dyn Evaluator,
    columns: &'a [Column],
    rules: &'a Rules,
    stop: &'a Stop,
    /// Of the rows that are in open batches or in flight.
    facts: HashMap<Row, PairFacts>,
    /// The current one.
    group: Option<Group>,
    /// The images of the current clique until now.
    clique: Vec<Result<Image, Failure>>,
    /// Most recently used last.
    open: Vec<Open>,
    in_flight: usize,
    outcomes: Outcomes,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(evaluator: &'a mut dyn Evaluator, flow: &Flow<'a>) -> Assembler<'a> {
        Assembler {
            evaluator,
            columns: flow.columns,
            rules: flow.rules,
            stop: flow.stop,
            facts: HashMap::new(),
            group: None,
            clique: Vec::new(),
            open: Vec::new(),
            in_flight: 0,
            outcomes: Outcomes::default(),
        }
    }

    /// Takes an image; may submit batches and collect scores.
    pub(super) fn push(&mut self, decoded: Decoded) -> anyhow::Result<()> {
        let Decoded { group: number, part, image } = decoded;
        match part {
            Part::Member { edges, count } => {
                self.clique.push(image);
                if self.clique.len() == count {
                    let images = std::mem::take(&mut self.clique);
                    self.score_clique(&images, &edges)?;
                }
            }
            Part::Reference { own_rows, extent } => {
                let group = Group { number, reference: image, extent };
                self.pair_with_itself(&group, &own_rows)?;
                self.group = Some(group);
            }
            Part::Distorted { rows } => {
                let group = self.group.take().context("a group without a reference")?;
                self.pair(&group, image, &rows)?;
                self.group = Some(group);
            }
        }
        self.collect(Wait::Poll)
    }

    /// What has become of rows since the last call.
    pub(super) fn take_outcomes(&mut self) -> Outcomes {
        std::mem::take(&mut self.outcomes)
    }

    /// Drops what is not in flight.
    pub(super) fn abandon(&mut self) {
        self.clique.clear();
        self.open.clear();
    }

    /// Submits what is open and waits for a batch; true when there is none left.
    pub(super) fn finish_some(&mut self) -> anyhow::Result<bool> {
        while !self.open.is_empty() {
            self.submit_oldest()?;
        }
        self.collect(Wait::Block)?;
        Ok(self.in_flight == 0)
    }

    fn pair(
        &mut self,
        group: &Group,
        distorted: Result<Image, Failure>,
        rows: &[Row],
    ) -> anyhow::Result<()> {
        if self.stop.signal().is_some() {
            return Ok(());
        }
        let (reference, distorted) = match (&group.reference, &distorted) {
            (Ok(reference), Ok(distorted)) => (reference, distorted),
            (Err(failure), _) | (_, Err(failure)) => {
                self.outcomes.failed.extend(failed_rows(rows, failure));
                return Ok(());
            }
        };
        if reference.size != distorted.size {
            let failure = self.sizes_differ(reference, distorted);
            self.outcomes.failed.extend(failed_rows(rows, &failure));
            return Ok(());
        }
        let shape = pair::shape(reference.size, reference.depth(), distorted.depth());
        for &row in rows {
            self.note_facts(row, reference, distorted);
            let mut open = self.open(shape, group, 2)?;
            let reference = open.reference_of(group.number, reference);
            let distorted = open.batch.push_image(distorted);
            open.batch.push_pair(row, Pair { reference, distorted });
            self.open.push(open);
        }
        Ok(())
    }

    fn pair_with_itself(&mut self, group: &Group, rows: &[Row]) -> anyhow::Result<()> {
        for &row in rows {
            match &group.reference {
                Ok(image) => {
                    let shape = pair::shape(image.size, image.depth(), image.depth());
                    self.facts.insert(row, PairFacts::of(self.columns, image, image));
                    let mut open = self.open(shape, group, 1)?;
                    let index = open.reference_of(group.number, image);
                    open.batch.push_pair(row, Pair { reference: index, distorted: index });
                    self.open.push(open);
                }
                Err(failure) => self.outcomes.failed.extend(failed_rows(&[row], failure)),
            }
        }
        Ok(())
    }

    /// Takes out the open batch of `shape`, or a new one, with room for a pair of `group` that
    /// brings `images` images (one fewer if the group's reference is already there). The caller
    /// puts it back.
    fn open(&mut self, shape: BatchShape, group: &Group, images: usize) -> anyhow::Result<Open> {
        if let Some(index) = self.open.iter().position(|open| open.batch.shape() == shape) {
            let open = self.open.remove(index);
            let is_begun = open.reference.is_some_and(|(of, _)| of == group.number);
            let may_begin = is_begun || !open.batch.would_cut(group.extent);
            if may_begin && open.batch.has_room(images - usize::from(is_begun)) {
                return Ok(open);
            }
            self.submit(open)?;
        }
        while self.open.len() >= OPEN_MAX {
            self.submit_oldest()?;
        }
        Ok(Open { batch: self.lend(shape)?, reference: None })
    }

    /// An empty batch of pairs, as soon as there is one.
    fn lend(&mut self, shape: BatchShape) -> anyhow::Result<Batch> {
        self.lent(|evaluator| evaluator.lend(shape))
    }

    /// An empty batch for pairs among `images` images or fewer, as soon as there is one.
    pub(super) fn lend_clique(
        &mut self,
        shape: BatchShape,
        images: usize,
    ) -> anyhow::Result<Batch> {
        self.lent(|evaluator| evaluator.lend_clique(shape, images))
    }

    fn lent(
        &mut self,
        lend: impl Fn(&mut dyn Evaluator) -> anyhow::Result<Option<Batch>>,
    ) -> anyhow::Result<Batch> {
        loop {
            if let Some(batch) = lend(self.evaluator)? {
                return Ok(batch);
            }
            if self.in_flight > 0 {
                self.collect(Wait::Block)?;
            } else {
                self.submit_oldest()?;
            }
        }
    }

    /// Keeps what is known of a row until its scores come.
    pub(super) fn note_facts(&mut self, row: Row, reference: &Image, distorted: &Image) {
        self.facts.insert(row, PairFacts::of(self.columns, reference, distorted));
    }

    /// Whether no further batch is to be started.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.signal().is_some()
    }

    pub(super) fn sizes_differ(&self, reference: &Image, distorted: &Image) -> Failure {
        Failure::new(Code::Size, pair::sizes_differ(self.rules, reference.size, distorted.size))
    }

    pub(super) fn fail(&mut self, records: Vec<Record>) {
        self.outcomes.failed.extend(records);
    }

    fn submit_oldest(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.open.is_empty(), "the evaluator lends no staging buffer");
        let oldest = self.open.remove(0);
        self.submit(oldest)
    }

    fn submit(&mut self, open: Open) -> anyhow::Result<()> {
        self.submit_batch(open.batch)
    }

    pub(super) fn submit_batch(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.evaluator.submit(batch)?;
        self.in_flight += 1;
        self.collect(Wait::Poll)
    }

    /// Collects one batch if `wait` is [`Wait::Block`], and all others that are done.
    fn collect(&mut self, wait: Wait) -> anyhow::Result<()> {
        let mut wait = wait;
        while self.in_flight > 0 {
            let Some(scored) = self.evaluator.collect(wait)? else { break };
            self.in_flight -= 1;
            let facts = scored.rows.iter().filter_map(|row| self.facts.remove(row)).collect();
            self.outcomes.scored.push((scored, facts));
            wait = Wait::Poll;
        }
        Ok(())
    }
}

impl Open {
    /// The index of `group`'s reference in this batch, which is copied in if it is not there.
    fn reference_of(&mut self, group: u64, image: &Image) -> usize {
        match self.reference {
            Some((of, index)) if of == group => index,
            _ => {
                let index = self.batch.push_image(image);
                self.reference = Some((group, index));
                index
            }
        }
    }
}
