//! One GPU: its context, streams, handles and memory, and how it scores batches.
//!
//! A batch is cut into micro-batches. Each takes a [`Slot`]: its pixels go up on the copy stream,
//! the compute stream waits for them, walks every net and sends the results down; the host reads
//! them once the slot's last event is reached, and only then is the slot used again. So uploads run
//! ahead of computing by as many micro-batches as there are slots.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::conv::{Cublas, Cudnn, Engine};
use super::driver::{Context, Fault, FaultKind, Gpu, Stream};
use super::kernels::Kernels;
use super::memory::{Activations, Needs, Slot};
use super::open::{Open, Which};
use super::pass::{Pass, Shape, shown};
use super::queue::{Message, Opened, Queue};
use super::walk::{Bench, Micro};
use super::{ConvEngine, Settings};
use crate::batch::{Batch, BatchShape, Pair};
use crate::eval::chunk::{Chunk, take_chunk};
use crate::eval::{Model, PairScore, Precision, Scored};
use crate::image::Depth;

/// Micro-batches whose pixels are uploaded ahead, where memory allows it.
const SLOTS_MAX: usize = 3;

/// A micro-batch in flight.
struct Flight {
    slot: Slot,
    batch: u64,
    which: Which,
    shape: Rc<Shape>,
    /// Indices into the batch's pairs.
    pairs: Vec<usize>,
}

/// One GPU. Fields are dropped in order: what uses the device first, the context last.
pub(super) struct Device {
    flights: VecDeque<Flight>,
    pub(super) slots: Vec<Slot>,
    pub(super) activations: Activations,
    pub(super) first: Pass,
    again: Option<Pass>,
    engine: Box<dyn Engine>,
    pub(super) kernels: Kernels,
    copy: Stream,
    pub(super) compute: Stream,
    pub(super) open: VecDeque<Open>,
    taken: u64,
    slots_max: usize,
    /// What there is memory for, and what was asked for last.
    needs: Needs,
    asked: Needs,
    models: Arc<Vec<Model>>,
    gpu: Gpu,
    pub(super) context: Arc<Context>,
}

impl Device {
    pub(super) fn open(
        gpu: Gpu,
        models: Arc<Vec<Model>>,
        settings: &Settings,
    ) -> Result<(Device, Opened), Fault> {
        let context = Context::new(gpu.ordinal)?;
        let (copy, compute) = (Stream::new()?, Stream::new()?);
        let kernels = Kernels::compile()?;
        let engine: Box<dyn Engine> = match settings.engine {
            ConvEngine::Cudnn => Box::new(Cudnn::new(&compute)?),
            ConvEngine::Cublas => Box::new(Cublas::new(&compute)?),
        };
        let first = Pass::upload(&models, &*engine, settings.precision, &compute)?;
        let (free_bytes, _) = context.memory()?;
        let opened = Opened { gpu: gpu.clone(), free_bytes };
        let device = Device {
            flights: VecDeque::new(),
            slots: Vec::new(),
            activations: Activations::EMPTY,
            first,
            again: None,
            engine,
            kernels,
            copy,
            compute,
            open: VecDeque::new(),
            taken: 0,
            slots_max: SLOTS_MAX,
            needs: Needs::default(),
            asked: Needs::default(),
            models,
            gpu,
            context,
        };
        Ok((device, opened))
    }

    /// Scores batches until the queue is closed.
    pub(super) fn work(&mut self, queue: &Queue, sender: &Sender<Message>) -> Result<(), Fault> {
        loop {
            let next = if self.open.is_empty() { queue.wait() } else { queue.poll() };
            match next {
                Some(batch) => self.take(batch)?,
                None if self.open.is_empty() => return Ok(()),
                None => self.land()?,
            }
            self.send_finished(sender)?;
        }
    }

    /// Queues all of a batch; may wait for earlier micro-batches.
    pub(super) fn take(&mut self, batch: Batch) -> Result<(), Fault> {
        let number = self.taken;
        self.taken += 1;
        let count = batch.pairs().len();
        let scores = vec![PairScore::new(); count];
        let open = Open { number, batch, scores, again: Vec::new(), pending: 0, passes: 0 };
        self.open.push_back(open);
        self.launch(number, (0..count).collect(), Which::First)
    }

    /// Sends the oldest batches that are done; starts the second pass of those that need one.
    fn send_finished(&mut self, sender: &Sender<Message>) -> Result<(), Fault> {
        while let Some(open) = self.open.front_mut() {
            if open.pending > 0 {
                return Ok(());
            }
            if !open.again.is_empty() {
                let (number, pairs) = (open.number, std::mem::take(&mut open.again));
                return self.launch(number, pairs, Which::Again);
            }
            let Some(Open { batch, scores, passes, .. }) = self.open.pop_front() else {
                return Ok(());
            };
            let size = batch.shape().size;
            let (rows, staging) = batch.into_parts();
            let scored = Scored { rows, size, scores };
            // Nobody listens when the program is about to end.
            drop(sender.send(Message::Done { scored, staging, passes }));
        }
        Ok(())
    }

    /// Cuts pairs of a batch into micro-batches and queues them.
    fn launch(&mut self, number: u64, pairs: Vec<usize>, which: Which) -> Result<(), Fault> {
        let batch = &self.open_batch(number).batch;
        let (shape, is_clique) = (batch.shape(), batch.is_clique());
        let prepared =
            self.with_less_memory(shape, |device| device.prepare(shape, is_clique, which))?;
        if prepared.nets.iter().all(Result::is_err) {
            // Nothing to compute.
            for pair in pairs {
                let scores = prepared.nets.iter().filter_map(|net| net.as_ref().err().cloned());
                self.open_batch_mut(number).scores[pair] = scores.map(Err).collect();
            }
            return Ok(());
        }
        let batch = &self.open_batch(number).batch;
        let chosen: Vec<Pair> = pairs.iter().map(|&pair| batch.pairs()[pair]).collect();
        let mut rest = chosen.as_slice();
        let mut done = 0;
        while !rest.is_empty() {
            let chunk = take_chunk(&mut rest, prepared.room.images, prepared.room.pairs);
            let pairs = pairs[done..][..chunk.pairs.len()].to_vec();
            done += pairs.len();
            self.with_less_memory(shape, |device| {
                device.fly(number, &chunk, pairs.clone(), which, &prepared)
            })?;
        }
        Ok(())
    }

    /// Tries, and after each shortage of memory tries again with fewer slots.
    fn with_less_memory<T>(
        &mut self,
        shape: BatchShape,
        attempt: impl Fn(&mut Device) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        loop {
            match attempt(self) {
                Err(fault) if fault.kind == FaultKind::OutOfMemory => {
                    self.land_all()?;
                    if self.slots_max == 1 {
                        return Err(self.too_little(shape, &fault));
                    }
                    self.slots_max -= 1;
                    self.slots.clear();
                }
                other => return other,
            }
        }
    }

    fn too_little(&self, shape: BatchShape, fault: &Fault) -> Fault {
        let needed = shown(self.asked.total());
        let free = self.context.memory().map_or_else(|_| "?".to_owned(), |(free, _)| shown(free));
        let call = format!(
            "images of {} need {needed} of GPU memory, {free} are free on CUDA {}",
            shape.size, self.gpu.ordinal
        );
        Fault::new(call, fault.to_string(), FaultKind::OutOfMemory)
    }

    /// Everything for images of `shape`: nets, activations, at least one slot.
    pub(super) fn prepare(
        &mut self,
        shape: BatchShape,
        is_clique: bool,
        which: Which,
    ) -> Result<Rc<Shape>, Fault> {
        if which == Which::Again && self.again.is_none() {
            let (models, engine) = (&self.models, &*self.engine);
            let pass = Pass::upload(models, engine, Precision::Fp32, &self.compute)?;
            self.again = Some(pass);
        }
        let pass = match (which, &mut self.again) {
            (Which::Again, Some(again)) => again,
            _ => &mut self.first,
        };
        let (on, total_bytes) = ((&self.kernels, &self.compute), self.gpu.total_bytes);
        let prepared = pass.shape((shape.size, is_clique), &*self.engine, on, total_bytes)?;
        let pixels = prepared.room.images * shape.image_bytes();
        let needs = self.needs.max(Needs { pixels, ..prepared.needs });
        let has_slots = !(self.slots.is_empty() && self.flights.is_empty());
        if needs != self.needs || !has_slots {
            self.make_room(needs)?;
        }
        let Device { compute: stream, kernels, activations, .. } = &*self;
        let bench = Bench { stream, kernels, activations };
        chosen(which, &self.first, &self.again).rehearse(&prepared, bench)?;
        Ok(prepared)
    }

    /// Activations, at least one slot.
    fn make_room(&mut self, needs: Needs) -> Result<(), Fault> {
        self.asked = needs;
        self.land_all()?;
        self.slots.clear();
        self.activations.grow(&needs, &self.compute)?;
        self.slots.push(Slot::new(&self.context, &needs)?);
        while self.slots.len() < self.slots_max {
            match Slot::new(&self.context, &needs) {
                Ok(slot) => self.slots.push(slot),
                // More were welcome, not needed.
                Err(fault) if fault.kind == FaultKind::OutOfMemory => break,
                Err(fault) => return Err(fault),
            }
        }
        self.needs = needs;
        Ok(())
    }

    /// Queues one micro-batch, in a slot that is free or becomes so.
    fn fly(
        &mut self,
        number: u64,
        chunk: &Chunk,
        pairs: Vec<usize>,
        which: Which,
        shape: &Rc<Shape>,
    ) -> Result<(), Fault> {
        if self.slots.is_empty() && !self.flights.is_empty() {
            self.land()?;
        }
        if self.slots.is_empty() {
            let batch = &self.open_batch(number).batch;
            self.prepare(batch.shape(), batch.is_clique(), which)?;
        }
        let Some(slot) = self.slots.pop() else {
            return Err(Fault::new("a micro-batch", "no slot", FaultKind::Fatal));
        };
        self.flights.push_back(Flight {
            slot,
            batch: number,
            which,
            shape: Rc::clone(shape),
            pairs,
        });
        let queued = self.queue_last(chunk);
        match queued {
            Ok(()) => {
                let nets = shape.nets.iter().filter(|net| net.is_ok()).count();
                let open = self.open_batch_mut(number);
                open.pending += 1;
                open.passes += (nets * chunk.images.len()) as u64;
                Ok(())
            }
            Err(fault) => {
                // What was queued of it must end before its slot is used or freed.
                self.context.synchronize().map_err(|_| fault.clone())?;
                let flight = self.flights.pop_back();
                self.slots.extend(flight.map(|flight| flight.slot));
                Err(fault)
            }
        }
    }

    /// Queues uploads, walks and downloads of the youngest flight.
    #[expect(unsafe_code, reason = "copies between pinned memory and the device")]
    fn queue_last(&mut self, chunk: &Chunk) -> Result<(), Fault> {
        let Some(flight) = self.flights.back_mut() else { return Ok(()) };
        let Flight { slot, batch: number, shape, which, pairs } = flight;
        let batch = self.open.iter().find(|open| open.number == *number).map(|open| &open.batch);
        let Some(batch) = batch else { return Ok(()) };
        // SAFETY: the batch stays in `open` until the flight has landed, and its slot is in use.
        unsafe { slot.upload(&self.copy, batch, chunk)? };
        slot.uploaded.record(&self.copy)?;
        self.compute.wait(&slot.uploaded)?;
        let counts = (chunk.images.len(), pairs.len());
        let device = (&self.compute, &self.kernels, &self.activations);
        let pass = chosen(*which, &self.first, &self.again);
        let (bench, micro) = bench_of(slot, device, batch.shape().depth, counts);
        pass.walk(shape, bench, micro)?;
        let results = &mut slot.results_host.bytes_mut()[..shape.needs.results];
        // SAFETY: as above; the host reads the results after `done`.
        unsafe { self.compute.download(results, slot.results.ptr())? };
        slot.done.record(&self.compute)
    }

    /// Waits for the oldest micro-batch and reads its results.
    fn land(&mut self) -> Result<(), Fault> {
        let Some(flight) = self.flights.front() else { return Ok(()) };
        flight.slot.done.synchronize()?;
        let Some(flight) = self.flights.pop_front() else { return Ok(()) };
        let Flight { slot, batch, which, shape, pairs } = flight;
        let nets = self.first.nets.iter().map(|parameters| parameters.net);
        let nets: Vec<_> = nets.zip(&shape.nets).collect();
        let can_overflow = self.first.precision == Precision::Fp16;
        let results = slot.results_host.bytes();
        let open = self.open.iter_mut().find(|open| open.number == batch);
        if let Some(open) = open {
            open.pending -= 1;
            for (index, &pair) in pairs.iter().enumerate() {
                let found = nets.iter().map(|(net, prepared)| match prepared {
                    Ok(prepared) => prepared.distance(results, index).finite(*net),
                    Err(unscored) => Err(unscored.clone()),
                });
                open.settle(pair, found.collect(), which, can_overflow);
            }
        }
        self.slots.push(slot);
        Ok(())
    }

    pub(super) fn land_all(&mut self) -> Result<(), Fault> {
        while !self.flights.is_empty() {
            self.land()?;
        }
        Ok(())
    }

    fn open_batch(&self, number: u64) -> &Open {
        let open = self.open.iter().find(|open| open.number == number);
        open.expect("a batch is open until it is sent")
    }

    fn open_batch_mut(&mut self, number: u64) -> &mut Open {
        let open = self.open.iter_mut().find(|open| open.number == number);
        open.expect("a batch is open until it is sent")
    }
}

/// The pass that a micro-batch is of.
fn chosen<'a>(which: Which, first: &'a Pass, again: &'a Option<Pass>) -> &'a Pass {
    again.as_ref().filter(|_| which == Which::Again).unwrap_or(first)
}

/// What a walk over the (images, pairs) of a slot works with.
pub(super) fn bench_of<'a>(
    slot: &Slot,
    (stream, kernels, activations): (&'a Stream, &'a Kernels, &'a Activations),
    depth: Depth,
    (images, pairs): (usize, usize),
) -> (Bench<'a>, Micro) {
    let micro = Micro {
        pixels: slot.pixels.ptr(),
        depth,
        images,
        indices: slot.indices.ptr(),
        pairs,
        results: slot.results.ptr(),
    };
    (Bench { stream, kernels, activations }, micro)
}
