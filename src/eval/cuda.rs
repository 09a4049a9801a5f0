//! The CUDA evaluator: scores batches on one NVIDIA GPU or several.
//!
//! ```text
//! pipeline --acquire/submit--> queue --> a thread per GPU (device): slots, streams
//!          <------collect------ results <-- walk: normalise, conv (cuDNN | cuBLAS), pool, tap
//! ```
//!
//! [`probe`] finds the libraries and GPUs and never panics; `driver` owns the driver's handles;
//! `bands` divides large images; `memory` says what a shape needs; `conv` is convolution with two
//! engines; `kernels` launches our own kernels, which [`signature`] describes; `walk` executes a
//! plan; `device` is a GPU, and `thread` is its thread.
//! No type of cudarc leaves this folder.
//!
//! Bits: a pair's result depends on its pixels, the size of the images, the precision, the engine
//! and its version, and the model of the GPU. It does not depend on the batch, on neighbours, on
//! the number of GPUs or on the memory that is free.

mod bands;
mod conv;
mod device;
mod driver;
mod kernels;
mod memory;
mod nets;
mod open_batch;
mod packs;
mod parameters;
pub mod probe;
mod queue;
mod resident;
mod settings;
pub mod signature;
mod status;
mod thread;
mod walk;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::thread::JoinHandle;

use self::conv::Packing;
use self::driver::{Context, Fault, Gpu, Pinned, PinnedPart};
pub use self::kernels::architectures;
pub use self::memory::Limits;
use self::packs::Packs;
use self::probe::Probe;
use self::queue::{Message, Opened, Queue};
pub use self::resident::{Rates, resident_rates};
pub use self::settings::Config;
use self::settings::Settings;
use super::lending::{self, Lending};
use super::{
    Admission, ConvChoice, Description, Evaluator, Gpus, HostMemory, Loss, Model, Scored, Wait,
};
use crate::batch::{Batch, BatchShape, Group, Grouping, Lender, Staging};
use crate::error::Refusal;
use crate::memory::Available;

/// Batches of different sizes that may be open at once in the pipeline.
const OPEN_BATCHES: usize = 4;
/// Batches that each GPU may have taken or find in the queue.
const BATCHES_PER_GPU: usize = 3;
/// Micro-batches of a batch, unless `--batch` says otherwise.
const MICRO_BATCHES_MAX: usize = 4;
/// A batch's pixels take at most this part of what is free on a GPU.
const FREE_PARTS: u64 = 64;
/// Nor do they take more of the host than this, unless one micro-batch does.
const STAGING_BYTES_MAX: u64 = 64 << 20;
/// Memory that is pinned at once, unless an image takes more.
const PINNED_BYTES: usize = 8 << 20;
/// Memory of images that is kept to be lent again.
const FREE_BYTES_MAX: usize = 128 << 20;
/// Batches in flight take at most this part of the host memory; decoded images take some, too.
const HOST_PARTS: u64 = 2;

/// An engine that was chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConvEngine {
    /// cuDNN.
    Cudnn,
    /// cuDNN, and cuBLAS for windows of one position, which SqueezeNet has.
    CudnnAndCublas,
    /// cuBLAS.
    Cublas,
}

impl ConvEngine {
    /// Its name in run.json.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ConvEngine::Cudnn => "cudnn",
            ConvEngine::CudnnAndCublas => "cudnn+cublas",
            ConvEngine::Cublas => "cublas",
        }
    }
}

/// Scores batches on GPUs.
#[derive(Debug)]
pub struct CudaEvaluator {
    settings: Settings,
    pairs_max: Option<usize>,
    memory: Available,
    driver: String,
    queue: Arc<Queue>,
    messages: Receiver<Message>,
    threads: Vec<JoinHandle<()>>,
    /// GPUs that work, with a context for pinned memory.
    alive: Vec<(Opened, Arc<Context>)>,
    notify: fn(&str),
    /// The first fault of a GPU that was dropped, and all of them.
    lost: Option<Refusal>,
    losses: Vec<Loss>,
    /// Pairs that were given back.
    pairs_done: usize,
    acquired: usize,
    acquired_max: usize,
    in_flight: usize,
    passes: u64,
    lending: Lending,
}

impl CudaEvaluator {
    /// Opens the library that convolves and the GPUs, compiles the kernels, uploads the weights.
    ///
    /// # Errors
    /// A [`Refusal`] that says what is missing and what helps.
    pub fn open(
        models: Vec<Model>,
        probe: &Probe,
        config: &Config,
    ) -> anyhow::Result<CudaEvaluator> {
        let gpus = probe.choose(&config.gpus)?;
        let engine = probe.engine(config.conv, &gpus, &models)?;
        probe::refuse_environment(config.precision)?;
        let Config { precision, limits, .. } = *config;
        let settings = Settings { precision, limits, engine };
        let queue = Arc::new(Queue::default());
        let packing = Packing::new(settings.engine.engine, precision, gpus[0].capability);
        let packs = Arc::new(Packs::new(Arc::new(models), packing, precision));
        Packs::begin(&packs);
        let (sender, messages) = channel();
        let mut threads = Vec::new();
        for gpu in &gpus {
            let (gpu, packs, settings) = (gpu.clone(), Arc::clone(&packs), settings.clone());
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            let name = format!("cuda-{}", gpu.ordinal);
            let serve = move || thread::serve(gpu, packs, &settings, &queue, &sender);
            threads.push(std::thread::Builder::new().name(name).spawn(serve)?);
        }
        drop(sender);
        let mut evaluator = CudaEvaluator {
            settings,
            pairs_max: config.pairs_max,
            memory: config.memory.clone().unwrap_or_else(Available::unlimited),
            driver: probe.driver_version().unwrap_or_default(),
            queue,
            messages,
            threads,
            alive: Vec::new(),
            notify: config.notify,
            lost: None,
            losses: Vec::new(),
            pairs_done: 0,
            acquired: 0,
            acquired_max: OPEN_BATCHES + BATCHES_PER_GPU * gpus.len(),
            in_flight: 0,
            passes: 0,
            lending: Lending::new(0, image_class, lending::of_host),
        };
        evaluator.wait_until_ready(&gpus, config.gpus == Gpus::All)?;
        let contexts = evaluator.alive.iter().map(|(_, context)| Arc::clone(context)).collect();
        evaluator.lending = pinned_memory(contexts);
        Ok(evaluator)
    }

    /// Takes the first message of every GPU.
    fn wait_until_ready(&mut self, gpus: &[Gpu], may_lack_some: bool) -> anyhow::Result<()> {
        for _ in gpus {
            match self.messages.recv() {
                Ok(Message::Ready(opened)) => {
                    let context = Context::new(opened.gpu.ordinal)
                        .map_err(|fault| self.refusal(opened.gpu.ordinal, &fault))?;
                    self.alive.push((opened, context));
                }
                Ok(Message::Lost(ordinal, fault)) => {
                    if !may_lack_some {
                        return Err(self.refusal(ordinal, &fault).into());
                    }
                    self.drop_gpu(ordinal, &fault, true);
                }
                Ok(Message::Done { .. }) | Err(_) => break,
            }
        }
        self.alive.sort_by_key(|(opened, _)| opened.gpu.ordinal);
        if self.alive.is_empty() { Err(self.no_gpu()) } else { Ok(()) }
    }

    /// Pairs of a batch of `shape`.
    fn pairs_per_batch(&self, shape: BatchShape) -> usize {
        let micro = self.settings.limits.micro_images(shape.size);
        let free = self.alive.iter().map(|(opened, _)| opened.free_bytes).min().unwrap_or(0);
        let micro_bytes = (micro * shape.image_bytes()) as u64;
        let host = self.memory.bytes / HOST_PARTS / self.acquired_max as u64;
        let bytes = STAGING_BYTES_MAX.min(free / FREE_PARTS).min(host);
        let count = (bytes / micro_bytes.max(1)) as usize;
        let chosen = count.clamp(1, MICRO_BATCHES_MAX) * micro / 2;
        self.pairs_max.unwrap_or(chosen).max(1)
    }

    /// What a batch for `group` holds. One for an item holds what fits into a micro-batch; others
    /// are filled, and cut into micro-batches later.
    fn capacity(&self, shape: BatchShape, group: Group) -> Group {
        match group.grouping {
            Grouping::Item => {
                let micro = self.settings.limits.micro_images(shape.size);
                let images = group.images.clamp(2, micro);
                Group { grouping: Grouping::Item, images, pairs: usize::MAX }
            }
            Grouping::Pair | Grouping::Reference => {
                let pairs = self.pairs_per_batch(shape);
                Group { grouping: Grouping::Pair, images: 2 * pairs, pairs }
            }
        }
    }

    /// Whether a batch whose images take `bytes` may be in use beside those that are.
    fn has_room(&self, bytes: usize) -> anyhow::Result<bool> {
        if self.alive.is_empty() && self.in_flight == 0 {
            return Err(self.no_gpu());
        }
        let taken = (self.acquired as u64 + 1).saturating_mul(bytes as u64);
        let is_full = self.acquired > 0 && taken > self.memory.bytes / HOST_PARTS;
        Ok(!(self.alive.is_empty() || self.acquired == self.acquired_max || is_full))
    }

    /// What a message means; a batch's scores, if it brings them.
    fn take(&mut self, message: Message) -> Option<Scored> {
        match message {
            Message::Ready(_) => None,
            Message::Done { scored, passes } => {
                self.passes += passes;
                self.in_flight -= 1;
                self.acquired -= 1;
                self.pairs_done += scored.rows.len();
                Some(scored)
            }
            Message::Lost(ordinal, fault) => {
                self.alive.retain(|(opened, _)| opened.gpu.ordinal != ordinal);
                self.drop_gpu(ordinal, &fault, !self.alive.is_empty());
                None
            }
        }
    }

    fn drop_gpu(&mut self, ordinal: usize, fault: &Fault, others_continue: bool) {
        let refusal = self.refusal(ordinal, fault);
        if others_continue {
            (self.notify)(&format!("warning: {refusal}; continuing without it"));
        }
        let device = format!("CUDA {ordinal}");
        let (error, after_pairs) = (fault.to_string(), self.pairs_done);
        self.losses.push(Loss { device, error, after_pairs });
        self.lost.get_or_insert(refusal);
    }

    fn refusal(&self, ordinal: usize, fault: &Fault) -> Refusal {
        thread::refusal(ordinal, fault, self.settings.engine.engine)
    }

    /// Why no GPU is left.
    fn no_gpu(&self) -> anyhow::Error {
        match &self.lost {
            Some(lost) => lost.clone().into(),
            None => anyhow::anyhow!("no GPU is left"),
        }
    }
}

/// Lends memory that every GPU copies from: pinned if possible, else ordinary, which is slower and
/// changes nothing else. Pinning takes long, so it is done for several images at once.
fn pinned_memory(contexts: Vec<Arc<Context>>) -> Lending {
    Lending::new(FREE_BYTES_MAX, image_class, move |bytes| {
        let block = PINNED_BYTES.max(bytes);
        let mut pinned = contexts.iter().map(|context| Pinned::new(context, block));
        match pinned.find_map(Result::ok) {
            Some(pinned) => pinned.split(bytes).into_iter().map(boxed).collect(),
            None => lending::of_host(bytes),
        }
    })
}

fn boxed(part: PinnedPart) -> Box<dyn Staging> {
    Box::new(part)
}

/// The bytes of a piece of memory for an image of so many: images of many sizes share few lengths.
fn image_class(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 16).max(64))
}

impl Drop for CudaEvaluator {
    fn drop(&mut self) {
        self.lending.close();
        self.queue.close();
        for thread in self.threads.drain(..) {
            // A panic of a thread was reported where its result was missed.
            drop(thread.join());
        }
    }
}

impl Evaluator for CudaEvaluator {
    fn describe(&self) -> Description {
        let Some((Opened { gpu: first, .. }, _)) = self.alive.first() else {
            return Description { device: "CUDA: lost".to_owned(), numerics_class: String::new() };
        };
        let ordinals = self.alive.iter().map(|(opened, _)| opened.gpu.ordinal.to_string());
        let ordinals = ordinals.collect::<Vec<_>>().join(",");
        let Gpu { name, capability: (major, minor), processors, .. } = first;
        let Settings { precision, engine, .. } = &self.settings;
        Description {
            device: format!("CUDA {ordinals}: {name}, driver {}, {}", self.driver, engine.name),
            numerics_class: format!(
                "cuda-sm{major}{minor}-{}-x{processors}-{}-{precision}",
                name.replace(' ', "_"),
                engine.identity
            ),
        }
    }

    fn host_memory(&self, shape: BatchShape, group: Group) -> HostMemory {
        let images = self.capacity(shape, group).images;
        let staging = (self.acquired_max * images * shape.image_bytes()) as u64;
        HostMemory { staging, images, ..HostMemory::default() }
    }

    fn admission(&self) -> Admission {
        let memory = self.memory.clone();
        Arc::new(move |shape| {
            memory.admit(2 * shape.image_bytes() as u64, memory.bytes / HOST_PARTS)
        })
    }

    fn lender(&self) -> Lender {
        self.lending.lender()
    }

    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        let capacity = self.capacity(shape, group);
        if !self.has_room(capacity.images * shape.image_bytes())? {
            return Ok(None);
        }
        self.acquired += 1;
        Ok(Some(Batch::new(shape, capacity)))
    }

    fn passes(&self) -> u64 {
        self.passes
    }

    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.queue.push(batch);
        self.in_flight += 1;
        Ok(())
    }

    fn losses(&self) -> Vec<Loss> {
        self.losses.clone()
    }

    fn collect(&mut self, wait: Wait) -> anyhow::Result<Option<Scored>> {
        while self.in_flight > 0 {
            let message = match wait {
                Wait::Block => self.messages.recv().ok(),
                Wait::AtMost(duration) => match self.messages.recv_timeout(duration) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => return Ok(None),
                    Err(RecvTimeoutError::Disconnected) => None,
                },
                Wait::Poll => match self.messages.try_recv() {
                    Ok(message) => Some(message),
                    Err(TryRecvError::Empty) => return Ok(None),
                    Err(TryRecvError::Disconnected) => None,
                },
            };
            // Threads end after their last message, so everything that was finished comes first.
            let Some(message) = message else {
                self.alive.clear();
                return Err(self.no_gpu());
            };
            if let Some(scored) = self.take(message) {
                return Ok(Some(scored));
            }
        }
        Ok(None)
    }
}
