//! Decoded images become pairs, and pairs become batches.
//!
//! Images come in the order of their first use. Each is held until its last pair was formed; each
//! pair goes into the open batch of its shape, which shares the memory of an image once, however
//! many of the pairs there name it. An image of bytes beside one of floats is converted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Context as _;

use super::feed::{Edge, Task};
use super::measure::{Held, Measurer};
use super::queue::Decoded;
use super::{Flow, Outcomes, PairFacts, SIGNAL_CHECKED_EVERY};
use crate::batch::{Batch, BatchShape, Frame, Grouping, Lender, Pair, Row};
use crate::code::Code;
use crate::error::Failure;
use crate::eval::{Evaluator, Scored, Wait};
use crate::image::{Rules, Size};
use crate::pair::{self, Files};
use crate::run::journal::Record;
use crate::signals::Stop;

/// Batches of different shapes that may be open at once; when another is needed, the least recently
/// used one is submitted although it is not full.
fn open_max(grouping: Grouping) -> usize {
    match grouping {
        Grouping::Pair | Grouping::Reference => 4,
        // Pairs of one shape come together, and these batches are large.
        Grouping::Item => 1,
    }
}

/// Pairs that no model scores are written when they have so many pixels, or are so many: each write
/// is made durable.
const UNBATCHED_PIXELS_MAX: usize = 64 << 20;
const UNBATCHED_ROWS_MAX: usize = 256;

/// An image of the current group that later pairs name.
struct InGroup {
    held: Arc<Held>,
    uses_left: usize,
}

/// A batch that is being filled.
struct Open {
    batch: Batch,
    /// The group of the last pair.
    group_number: u64,
    /// Where the images of this group are in the batch.
    indices: HashMap<u32, usize>,
}

/// Forms pairs and hands batches to the evaluator.
pub(super) struct Assembler<'a> {
    evaluator: &'a mut dyn Evaluator,
    lender: Lender,
    rules: &'a Rules,
    stop: &'a Stop,
    /// By number in the current group.
    held: HashMap<u32, InGroup>,
    /// Most recently used last.
    open: Vec<Open>,
    measurer: Measurer<'a>,
    /// What is known of rows that have no outcome yet.
    files: HashMap<Row, Files>,
    in_flight: usize,
    /// Whether a column that is computed takes a model.
    has_models: bool,
    /// Rows that no model scores and that have no outcome yet, with the size of their images.
    unbatched: VecDeque<(Row, Size)>,
    unbatched_pixels: usize,
    outcomes: Outcomes,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(
        evaluator: &'a mut dyn Evaluator,
        lender: Lender,
        flow: &Flow<'a>,
    ) -> Assembler<'a> {
        Assembler {
            evaluator,
            lender,
            rules: flow.rules,
            stop: flow.stop,
            held: HashMap::new(),
            open: Vec::new(),
            measurer: Measurer::new(flow.columns, flow.stop),
            files: HashMap::new(),
            in_flight: 0,
            has_models: flow.has_models(),
            unbatched: VecDeque::new(),
            unbatched_pixels: 0,
            outcomes: Outcomes::default(),
        }
    }

    /// Takes an image and forms the pairs that it completes; may submit batches and collect scores.
    pub(super) fn push(&mut self, decoded: Decoded) -> anyhow::Result<()> {
        let Decoded { task, image, permit } = decoded;
        let held = Arc::new(Held { image, _permit: permit });
        self.held.insert(task.image, InGroup { held, uses_left: task.uses });
        for &edge in &task.edges {
            if self.is_stopped() {
                return Ok(());
            }
            let [reference, distorted] =
                [self.use_of(edge.reference)?, self.use_of(edge.distorted)?];
            self.pair(&task, edge, reference, distorted)?;
        }
        // No later pair shares an image with these batches, and they are large.
        if task.group.grouping == Grouping::Item && self.held.is_empty() {
            self.submit_open()?;
        }
        self.collect(Wait::Poll)?;
        let is_due = self.unbatched_pixels > UNBATCHED_PIXELS_MAX
            || self.unbatched.len() > UNBATCHED_ROWS_MAX + self.measurer.running();
        if is_due { self.collect_unbatched(self.measurer.running()) } else { Ok(()) }
    }

    /// What has become of rows since the last call.
    pub(super) fn take_outcomes(&mut self) -> Outcomes {
        std::mem::take(&mut self.outcomes)
    }

    /// Submits what is open and waits for a batch; true when there is none left. After a signal it
    /// collects what is scored already, and returns true.
    pub(super) fn finish_some(&mut self) -> anyhow::Result<bool> {
        if !self.is_stopped() {
            self.submit_open()?;
        }
        self.collect_unbatched(0)?;
        self.wait()?;
        Ok(self.in_flight == 0 || self.is_stopped())
    }

    fn is_stopped(&self) -> bool {
        self.stop.signal().is_some()
    }

    /// An image of the current group, which is held no longer after its last use.
    fn use_of(&mut self, image: u32) -> anyhow::Result<Arc<Held>> {
        let held = self.held.get_mut(&image).context("a pair came before its images")?;
        held.uses_left -= 1;
        if held.uses_left > 0 {
            return Ok(Arc::clone(&held.held));
        }
        let last = self.held.remove(&image);
        last.map(|last| last.held).context("an image was dropped before its last use")
    }

    /// Starts to measure a pair, and adds it to a batch if a model scores it. Whatever is made of
    /// both decoded images at once starts here: after its last pair an image is dropped, unless a
    /// batch shares it.
    fn pair(
        &mut self,
        task: &Task,
        edge: Edge,
        reference: Arc<Held>,
        distorted: Arc<Held>,
    ) -> anyhow::Result<()> {
        let (of_reference, of_distorted) = match (&reference.image, &distorted.image) {
            (Ok(of_reference), Ok(of_distorted)) => (of_reference, of_distorted),
            (Err(failure), _) | (_, Err(failure)) => {
                self.fail(edge.row, failure.clone());
                return Ok(());
            }
        };
        let size = of_reference.size;
        if size != of_distorted.size {
            let message = pair::sizes_differ(self.rules, size, of_distorted.size);
            self.fail(edge.row, Failure::new(Code::Size, message));
            return Ok(());
        }
        let shape = pair::shape(size, of_reference.depth(), of_distorted.depth());
        let files = Files::of(of_reference, of_distorted);
        if !self.has_models {
            self.unbatched.push_back((edge.row, size));
            self.unbatched_pixels += size.width * size.height;
            self.files.insert(edge.row, files);
            return self.measurer.start(edge.row, &reference, &distorted);
        }
        let Some(mut open) = self.open(shape, task, edge)? else { return Ok(()) };
        self.files.insert(edge.row, files);
        self.measurer.start(edge.row, &reference, &distorted)?;
        let reference = open.index_of(edge.reference, reference, &self.lender)?;
        let distorted = open.index_of(edge.distorted, distorted, &self.lender)?;
        open.batch.push_pair(edge.row, Pair { reference, distorted });
        self.open.push(open);
        Ok(())
    }

    fn fail(&mut self, row: Row, failure: Failure) {
        self.outcomes.failed.push(Record::failed(row, failure));
    }

    /// Takes out the open batch of `shape`, or a new one, with room for `edge`. The caller puts it
    /// back. `None` after a signal.
    fn open(&mut self, shape: BatchShape, task: &Task, edge: Edge) -> anyhow::Result<Option<Open>> {
        if let Some(index) = self.open.iter().position(|open| open.batch.shape() == shape) {
            let mut open = self.open.remove(index);
            if open.begin_or_continue(task) && open.has_room(edge) {
                return Ok(Some(open));
            }
            self.submit(open.batch)?;
        }
        while self.open.len() >= open_max(task.group.grouping) {
            self.submit_oldest()?;
        }
        let batch = self.acquire(shape, task)?;
        let (group_number, indices) = (task.group_number, HashMap::new());
        Ok(batch.map(|batch| Open { batch, group_number, indices }))
    }

    /// An empty batch, as soon as there is one; `None` after a signal.
    fn acquire(&mut self, shape: BatchShape, task: &Task) -> anyhow::Result<Option<Batch>> {
        while !self.is_stopped() {
            if let Some(batch) = self.evaluator.acquire(shape, task.group)? {
                return Ok(Some(batch));
            }
            if self.in_flight > 0 {
                self.wait()?;
            } else {
                self.submit_oldest()?;
            }
        }
        Ok(None)
    }

    fn submit_open(&mut self) -> anyhow::Result<()> {
        while !self.open.is_empty() {
            self.submit_oldest()?;
        }
        Ok(())
    }

    fn submit_oldest(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.open.is_empty(), "the evaluator has no staging buffer");
        let oldest = self.open.remove(0);
        self.submit(oldest.batch)
    }

    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.evaluator.submit(batch)?;
        self.in_flight += 1;
        self.collect(Wait::Poll)
    }

    /// Waits until a batch is done or there is a signal, and collects all that are done.
    fn wait(&mut self) -> anyhow::Result<()> {
        let before = self.in_flight;
        while self.in_flight == before && before > 0 && !self.is_stopped() {
            self.collect(Wait::AtMost(SIGNAL_CHECKED_EVERY))?;
        }
        self.collect(Wait::Poll)
    }

    /// Collects all batches that are done, and waits for the first one as long as `wait` says.
    fn collect(&mut self, mut wait: Wait) -> anyhow::Result<()> {
        while self.in_flight > 0 {
            let Some(scored) = self.evaluator.collect(wait)? else { break };
            self.in_flight -= 1;
            self.add_outcome(scored)?;
            wait = Wait::Poll;
        }
        Ok(())
    }

    /// Collects rows that no model scores, except for the last `left` ones.
    fn collect_unbatched(&mut self, left: usize) -> anyhow::Result<()> {
        while self.unbatched.len() > left && !self.is_stopped() {
            let Some((row, size)) = self.unbatched.pop_front() else { break };
            self.unbatched_pixels -= size.width * size.height;
            self.add_outcome(Scored { rows: vec![row], size, scores: vec![Vec::new()] })?;
        }
        Ok(())
    }

    /// Adds what is measured of scored rows. After a signal, rows that are not measured yet remain
    /// without an outcome.
    fn add_outcome(&mut self, scored: Scored) -> anyhow::Result<()> {
        let mut facts = Vec::with_capacity(scored.rows.len());
        for row in &scored.rows {
            let files = self.files.remove(row).context("a row was scored twice")?;
            let Some(values) = self.measurer.take(*row)? else { return Ok(()) };
            facts.push(PairFacts { files, values });
        }
        self.outcomes.scored.push((scored, facts));
        Ok(())
    }
}

impl Open {
    /// Whether pairs of the task's group may be added: of a group that is here already, or of one
    /// that is not cut by beginning here.
    fn begin_or_continue(&mut self, task: &Task) -> bool {
        if self.group_number != task.group_number {
            if self.batch.would_cut(task.group) {
                return false;
            }
            self.group_number = task.group_number;
            self.indices.clear();
        }
        true
    }

    /// Whether the pair fits, with those of its images that are not here yet.
    fn has_room(&self, Edge { reference, distorted, .. }: Edge) -> bool {
        let is_new = |image: u32| usize::from(!self.indices.contains_key(&image));
        let new = match reference == distorted {
            true => is_new(reference),
            false => is_new(reference) + is_new(distorted),
        };
        self.batch.has_room(new)
    }

    /// The index of an image in the batch, which shares it if it is not here yet. Then this use of
    /// it is over.
    fn index_of(&mut self, number: u32, held: Arc<Held>, lender: &Lender) -> anyhow::Result<usize> {
        if let Some(index) = self.indices.get(&number) {
            return Ok(*index);
        }
        let image = held.image.as_ref().ok().context("an image that was not decoded")?;
        let depth = self.batch.shape().depth;
        let frame = match image.depth() == depth {
            true => Arc::clone(&image.pixels),
            false => Arc::new(Frame::copy_of(image, depth, lender)),
        };
        let index = self.batch.push_image(frame);
        self.indices.insert(number, index);
        Ok(index)
    }
}
