//! One GPU: its context, streams, handles and memory, and how it scores batches.
//!
//! A batch is divided into micro-batches. Each occupies a [`Slot`]: the copy stream uploads its
//! pixels; the compute stream waits for them, walks every net and downloads the results. When the
//! slot's last event is reached, the host reads the results and the slot becomes free. So uploads
//! run ahead of computation by as many micro-batches as there are slots.

mod shortage;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::conv::{Cublas, Cudnn, Engine, Packing};
use super::driver::{Context, Fault, FaultKind, Gpu, Stream};
use super::kernels::Kernels;
use super::memory::{Activations, Capacity, Limits, Needs, Slot, pairs_bytes};
use super::nets::{Nets, PreparedSize};
use super::open_batch::{OpenBatch, ScoringPass};
use super::packs::Packs;
use super::queue::{Message, Opened, Queue};
use super::walk::{MicroBatch, Resources};
use super::{ConvEngine, Settings};
use crate::batch::{Batch, BatchShape, Grouping, Pair};
use crate::eval::chunk::{Chunk, take_chunk};
use crate::eval::{Model, PairScore, Precision, Scored};
use crate::image::Depth;

/// Micro-batches whose pixels are uploaded ahead, where memory allows it.
const SLOTS_MAX: usize = 3;

/// A micro-batch in flight.
struct InFlight {
    slot: Slot,
    batch: u64,
    pass: ScoringPass,
    shape: Rc<PreparedSize>,
    /// Indices into the batch's pairs.
    pairs: Vec<usize>,
}

/// One GPU. Fields are dropped in order: what uses the device first, the context last.
pub(super) struct Device {
    in_flight: VecDeque<InFlight>,
    pub(super) slots: Vec<Slot>,
    pub(super) activations: Activations,
    pub(super) nets: Nets,
    fp32_nets: Option<Nets>,
    engine: Box<dyn Engine>,
    pub(super) kernels: Kernels,
    copy: Stream,
    pub(super) compute: Stream,
    pub(super) open: VecDeque<OpenBatch>,
    batches_taken: u64,
    slots_max: usize,
    limits: Limits,
    /// The needs that the allocated memory meets, and those that were requested last.
    needs: Needs,
    requested: Needs,
    models: Arc<Vec<Model>>,
    engine_kind: ConvEngine,
    gpu: Gpu,
    /// The memory of the GPU without weights, modules and the libraries' own workspaces.
    usable_bytes: u64,
    pub(super) context: Arc<Context>,
}

impl Device {
    pub(super) fn open(
        gpu: Gpu,
        packs: &Packs,
        settings: &Settings,
    ) -> Result<(Device, Opened), Fault> {
        let context = Context::new(gpu.ordinal)?;
        let (free_at_start, total_bytes) = context.memory()?;
        let (copy, compute) = (Stream::new()?, Stream::new()?);
        let kernels = Kernels::new(gpu.capability)?;
        let engine: Box<dyn Engine> = match settings.engine.engine {
            ConvEngine::Cudnn => Box::new(Cudnn::new(&compute, None)?),
            ConvEngine::CudnnAndCublas => {
                Box::new(Cudnn::new(&compute, Some(Cublas::new(&compute)?))?)
            }
            ConvEngine::Cublas => Box::new(Cublas::new(&compute)?),
        };
        let nets = Nets::upload(packs, settings.limits, &compute)?;
        let (free_bytes, _) = context.memory()?;
        let opened = Opened { gpu: gpu.clone(), free_bytes };
        let usable_bytes = total_bytes - free_at_start.saturating_sub(free_bytes);
        let device = Device {
            in_flight: VecDeque::new(),
            slots: Vec::new(),
            activations: Activations::EMPTY,
            nets,
            fp32_nets: None,
            engine,
            kernels,
            copy,
            compute,
            open: VecDeque::new(),
            batches_taken: 0,
            slots_max: SLOTS_MAX,
            limits: settings.limits,
            needs: Needs::default(),
            requested: Needs::default(),
            models: Arc::clone(&packs.models),
            engine_kind: settings.engine.engine,
            gpu,
            usable_bytes,
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
                None => self.finish_oldest()?,
            }
            self.send_finished(sender)?;
        }
    }

    /// Queues a whole batch. Waits for earlier micro-batches where slots are short.
    pub(super) fn take(&mut self, batch: Batch) -> Result<(), Fault> {
        let number = self.batches_taken;
        self.batches_taken += 1;
        let count = batch.pairs().len();
        let scores = vec![PairScore::new(); count];
        let nets = self.models.iter().map(|model| model.spec().name).collect();
        let to_rescore = Vec::new();
        let open = OpenBatch { number, batch, nets, scores, to_rescore, pending: 0, passes: 0 };
        self.open.push_back(open);
        self.queue_pairs(number, (0..count).collect(), ScoringPass::First)
    }

    /// Sends the oldest batches that are done, and starts the second pass of one that needs it.
    fn send_finished(&mut self, sender: &Sender<Message>) -> Result<(), Fault> {
        while let Some(open) = self.open.front_mut() {
            if open.pending > 0 {
                return Ok(());
            }
            if !open.to_rescore.is_empty() {
                let (number, pairs) = (open.number, std::mem::take(&mut open.to_rescore));
                return self.queue_pairs(number, pairs, ScoringPass::Rescore);
            }
            let Some(OpenBatch { batch, scores, passes, .. }) = self.open.pop_front() else {
                return Ok(());
            };
            let size = batch.shape().size;
            let scored = Scored { rows: batch.into_rows(), size, scores };
            // The receiver is gone only when the program is about to end.
            drop(sender.send(Message::Done { scored, passes }));
        }
        Ok(())
    }

    /// Divides pairs of a batch into micro-batches and queues them.
    fn queue_pairs(
        &mut self,
        number: u64,
        pairs: Vec<usize>,
        pass: ScoringPass,
    ) -> Result<(), Fault> {
        let batch = &self.open_batch(number).batch;
        let (shape, grouping) = (batch.shape(), batch.grouping());
        let prepared = self.with_less_memory(|device| device.prepare(shape, grouping, pass))?;
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(too_large) => {
                self.open_batch_mut(number).give_up(&pairs, pass, &too_large);
                return Ok(());
            }
        };
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
            let chunk = take_chunk(&mut rest, prepared.capacity.images, prepared.capacity.pairs);
            let chosen = pairs[done..][..chunk.pairs.len()].to_vec();
            let queued = self.with_less_memory(|device| {
                device.queue_micro_batch(number, &chunk, chosen.clone(), pass, &prepared)
            })?;
            if let Err(too_large) = queued {
                self.open_batch_mut(number).give_up(&pairs[done..], pass, &too_large);
                return Ok(());
            }
            done += chosen.len();
        }
        Ok(())
    }

    /// Prepares everything for images of `shape`: nets, activations, at least one slot.
    pub(super) fn prepare(
        &mut self,
        shape: BatchShape,
        grouping: Grouping,
        pass: ScoringPass,
    ) -> Result<Rc<PreparedSize>, Fault> {
        if pass == ScoringPass::Rescore && self.fp32_nets.is_none() {
            let packing = Packing::new(self.engine_kind, Precision::Fp32, self.gpu.capability);
            let packs = Packs::new(Arc::clone(&self.models), packing, Precision::Fp32);
            self.fp32_nets = Some(Nets::upload(&packs, self.limits, &self.compute)?);
        }
        let nets = match (pass, &mut self.fp32_nets) {
            (ScoringPass::Rescore, Some(fp32_nets)) => fp32_nets,
            _ => &mut self.nets,
        };
        let (kernels, usable_bytes) = (&self.kernels, self.usable_bytes);
        let prepared = nets.shape((shape.size, grouping), &*self.engine, kernels, usable_bytes)?;
        let pixels = prepared.capacity.images * shape.image_bytes();
        let needs = self.needs.max(Needs { pixels, ..prepared.needs });
        let has_slots = !(self.slots.is_empty() && self.in_flight.is_empty());
        if needs != self.needs || !has_slots {
            self.allocate(needs)?;
        }
        let Device { compute: stream, kernels, activations, .. } = &*self;
        let resources = Resources { stream, kernels, activations };
        nets_of(pass, &self.nets, &self.fp32_nets).rehearse(&prepared, resources)?;
        Ok(prepared)
    }

    /// Allocates activations and slots, at least one. Those that are large enough stay.
    fn allocate(&mut self, needs: Needs) -> Result<(), Fault> {
        self.requested = needs;
        self.finish_all()?;
        // Room is for GPUs that have memory enough.
        let needs = if self.slots_max == SLOTS_MAX { needs.with_room() } else { needs };
        self.slots.retain(|slot| slot.meets(&needs));
        self.activations.grow(&needs, &self.compute)?;
        if self.slots.is_empty() {
            self.slots.push(Slot::new(&self.context, &needs)?);
        }
        while self.slots.len() < self.slots_max {
            match Slot::new(&self.context, &needs) {
                Ok(slot) => self.slots.push(slot),
                // One slot is enough; more only speed things up.
                Err(fault) if fault.kind == FaultKind::OutOfMemory => break,
                Err(fault) => return Err(fault),
            }
        }
        self.needs = needs;
        Ok(())
    }

    /// Queues one micro-batch. Waits for a slot if none is free.
    fn queue_micro_batch(
        &mut self,
        number: u64,
        chunk: &Chunk,
        pairs: Vec<usize>,
        pass: ScoringPass,
        shape: &Rc<PreparedSize>,
    ) -> Result<(), Fault> {
        if self.slots.is_empty() && !self.in_flight.is_empty() {
            self.finish_oldest()?;
        }
        if self.slots.is_empty() {
            let batch = &self.open_batch(number).batch;
            self.prepare(batch.shape(), batch.grouping(), pass)?;
        }
        let Some(slot) = self.slots.pop() else {
            return Err(Fault::new("a micro-batch", "no slot", FaultKind::Fatal));
        };
        self.in_flight.push_back(InFlight {
            slot,
            batch: number,
            pass,
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
                // Whatever was queued for it must end before its slot is used again or freed.
                self.context.synchronize().map_err(|_| fault.clone())?;
                let flight = self.in_flight.pop_back();
                self.slots.extend(flight.map(|flight| flight.slot));
                Err(fault)
            }
        }
    }

    /// Queues uploads, walks and downloads of the youngest micro-batch in flight.
    #[expect(unsafe_code, reason = "copies between pinned memory and the device")]
    fn queue_last(&mut self, chunk: &Chunk) -> Result<(), Fault> {
        let Some(flight) = self.in_flight.back_mut() else { return Ok(()) };
        let InFlight { slot, batch: number, shape, pass, pairs } = flight;
        let batch = self.open.iter().find(|open| open.number == *number).map(|open| &open.batch);
        let Some(batch) = batch else { return Ok(()) };
        let Capacity { images, .. } = shape.capacity;
        let full = Capacity { images, pairs: shape.capacity.full_pairs(pairs.len()) };
        // SAFETY: the batch stays in `open` until the micro-batch is finished, and its slot is used
        // by no other.
        unsafe { slot.upload(&self.copy, batch, chunk, &shape.tables, full)? };
        slot.uploaded.record(&self.copy)?;
        self.compute.wait(&slot.uploaded)?;
        let device = (&self.compute, &self.kernels, &self.activations);
        let nets = nets_of(*pass, &self.nets, &self.fp32_nets);
        let (resources, micro) =
            micro_batch_of((slot, shape), device, batch.shape().depth, full.pairs);
        nets.walk(shape, resources, micro)?;
        let results = &mut slot.results_host.bytes_mut()[..shape.needs.results];
        // SAFETY: as above; the host reads the results only after `done`.
        unsafe { self.compute.download(results, slot.results.ptr())? };
        slot.done.record(&self.compute)
    }

    /// Waits for the oldest micro-batch and reads its results.
    fn finish_oldest(&mut self) -> Result<(), Fault> {
        let Some(flight) = self.in_flight.front() else { return Ok(()) };
        flight.slot.done.synchronize()?;
        let Some(flight) = self.in_flight.pop_front() else { return Ok(()) };
        let InFlight { slot, batch, pass, shape, pairs } = flight;
        let nets = self.nets.parameters.iter().map(|parameters| parameters.net);
        let nets: Vec<_> = nets.zip(&shape.nets).collect();
        let can_overflow = self.nets.precision == Precision::Fp16;
        let results = slot.results_host.bytes();
        let open = self.open.iter_mut().find(|open| open.number == batch);
        if let Some(open) = open {
            open.pending -= 1;
            for (index, &pair) in pairs.iter().enumerate() {
                let found = nets.iter().map(|(net, prepared)| match prepared {
                    Ok(prepared) => prepared.distance(results, index).finite(net),
                    Err(unscored) => Err(unscored.clone()),
                });
                open.record(pair, found.collect(), pass, can_overflow);
            }
        }
        self.slots.push(slot);
        Ok(())
    }

    pub(super) fn finish_all(&mut self) -> Result<(), Fault> {
        while !self.in_flight.is_empty() {
            self.finish_oldest()?;
        }
        Ok(())
    }

    fn open_batch(&self, number: u64) -> &OpenBatch {
        let open = self.open.iter().find(|open| open.number == number);
        open.expect("a batch is open until it is sent")
    }

    fn open_batch_mut(&mut self, number: u64) -> &mut OpenBatch {
        let open = self.open.iter_mut().find(|open| open.number == number);
        open.expect("a batch is open until it is sent")
    }
}

/// The nets of a pass.
fn nets_of<'a>(pass: ScoringPass, nets: &'a Nets, fp32_nets: &'a Option<Nets>) -> &'a Nets {
    fp32_nets.as_ref().filter(|_| pass == ScoringPass::Rescore).unwrap_or(nets)
}

/// The resources and the micro-batch of a walk over `pairs` pairs of a slot.
pub(super) fn micro_batch_of<'a>(
    (slot, shape): (&Slot, &PreparedSize),
    (stream, kernels, activations): (&'a Stream, &'a Kernels, &'a Activations),
    depth: Depth,
    pairs: usize,
) -> (Resources<'a>, MicroBatch) {
    let micro = MicroBatch {
        pixels: slot.pixels.ptr(),
        depth,
        indices: slot.indices.ptr().offset(shape.tables.len()),
        tables: slot.indices.ptr(),
        firsts: slot.indices.ptr().offset(shape.tables.len() + pairs_bytes(pairs) / 2),
        pairs,
        results: slot.results.ptr(),
    };
    (Resources { stream, kernels, activations }, micro)
}
