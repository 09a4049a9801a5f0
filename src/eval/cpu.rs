//! The CPU evaluator: walks a plan with ordinary threads.
//!
//! A thread of its own takes the batches that are submitted, so that decoding goes on meanwhile;
//! within a step, the rows of all images are shared out among `threads` threads. Every element is
//! computed by one thread in one order, so neither threads nor neighbours change a bit.

mod capacity;
mod conv;
mod direct;
mod engine;
mod floats;
mod fold;
mod host_memory;
mod ops;
mod passes;
mod product;
mod scratch;
mod simd;
pub mod single;
mod stage;
mod tap;
mod team;
mod tensor;
mod winograd;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;

use self::capacity::Cost;
use self::engine::{Engine, activation_max, images_at_once};
use self::passes::{Pass, image_bytes};
use self::team::Team;
use super::{Description, Evaluator, Model, PairScore, Scored, Wait, Wanted};
use crate::batch::{Batch, BatchShape, Group, Grouping, Staging};
use crate::image::Size;
use crate::net::Net;
use crate::net::plan::Plan;

pub use self::simd::Isa;

/// Batches that may be open or in flight at once.
const BATCHES_MAX: usize = 6;
/// As above, of items: these are large.
const ITEM_BATCHES_MAX: usize = 2;
/// About so many samples make a batch, unless `--batch` sets its size: enough to share what is read
/// of the weights. Larger batches score no faster, and a job waits for the first and last.
const BATCH_SAMPLES: usize = 5 * 2 * 3 * 256 * 256;

/// Weights as they were read and as the schemes of convolution transform them, on the average.
const WEIGHT_COPIES: usize = 4;

/// How the CPU is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Computing threads, at least one.
    pub threads: usize,
    /// At most so many pairs a batch; chosen from the size of the images if absent.
    pub pairs_max: Option<usize>,
    /// Instruction set; the best that the processor has if absent.
    pub isa: Option<Isa>,
}

/// Scores batches on the CPU.
#[derive(Debug)]
pub struct CpuEvaluator {
    config: Config,
    isa: Isa,
    nets: Vec<(Net, Wanted)>,
    activation_max: usize,
    /// Dropped first, which ends the thread.
    jobs: Option<Sender<Batch>>,
    done: Receiver<Done>,
    worker: Option<JoinHandle<()>>,
    acquired: usize,
    in_flight: usize,
    passes: u64,
    spare: VecDeque<Box<dyn Staging>>,
}

/// What the computing thread gives back.
struct Done {
    scored: Scored,
    staging: Box<dyn Staging>,
    /// Images that went through a trunk.
    passes: u64,
}

impl CpuEvaluator {
    /// Prepares the weights and starts the computing threads.
    ///
    /// # Errors
    /// When the processor lacks `config.isa`, or threads cannot be started.
    pub fn new(models: Vec<Model>, config: Config) -> anyhow::Result<CpuEvaluator> {
        let isa = config.isa.unwrap_or_else(Isa::best);
        anyhow::ensure!(isa.is_available(), "this processor has no {isa}");
        let (jobs, queue) = channel::<Batch>();
        let (sender, done) = channel();
        let (started, start) = channel();
        let nets = models.iter().map(|model| (model.trunk.net, model.wanted)).collect();
        let activation_max = activation_max();
        // The thread that takes the batches computes as well: one thread less to wake, and to be
        // put on a core that another has just been put on.
        let work = move || {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(config.threads)
                .use_current_thread()
                .thread_name(|index| format!("cpu-{index}"))
                .build();
            let pool = match pool {
                Ok(pool) => pool,
                Err(error) => return drop(started.send(Err(error))),
            };
            let engine = |model| Engine::new(model, isa, activation_max);
            let mut engines: Vec<Engine> =
                pool.install(|| models.into_iter().map(engine).collect());
            if started.send(Ok(())).is_err() {
                return;
            }
            let team = pool.install(Team::new);
            for batch in queue {
                let scored = pool.install(|| team.lead(|| score(&mut engines, batch, &team)));
                if sender.send(scored).is_err() {
                    return;
                }
            }
        };
        let worker = std::thread::Builder::new().name("cpu-0".to_owned()).spawn(work)?;
        let started = start.recv().context("the computing thread has died")?;
        started.context("cannot start the computing threads")?;
        Ok(CpuEvaluator {
            config,
            isa,
            nets,
            activation_max,
            jobs: Some(jobs),
            done,
            worker: Some(worker),
            acquired: 0,
            in_flight: 0,
            passes: 0,
            spare: VecDeque::new(),
        })
    }

    /// Memory of at least `bytes`.
    fn staging(&mut self, bytes: usize) -> Box<dyn Staging> {
        let fitting = self.spare.iter().position(|staging| staging.bytes().len() >= bytes);
        let spare = fitting.and_then(|index| self.spare.remove(index));
        spare.unwrap_or_else(|| {
            self.spare.pop_front();
            Box::new(vec![0f32; bytes.div_ceil(size_of::<f32>())])
        })
    }

    /// What a batch for `group` holds. One for an item holds as many of its images as are walked at
    /// once. Otherwise images are what costs, so they bound the pairs, unless `--batch` does; what
    /// is kept of pairs is bounded, too.
    fn capacity(&self, shape: BatchShape, group: Group) -> Group {
        let pairs_max = self.config.pairs_max;
        match group.grouping {
            Grouping::Item => {
                let fitting = match pairs_max {
                    Some(pairs_max) => 2 * pairs_max.max(1),
                    None => self.item_cost(shape).images_max(),
                };
                let images = group.images.clamp(2, fitting);
                Group { grouping: Grouping::Item, images, pairs: usize::MAX }
            }
            Grouping::Pair | Grouping::Reference => {
                let chosen = BATCH_SAMPLES.div_ceil(2 * shape.size.samples());
                let images = 2 * pairs_max.unwrap_or(chosen).max(1);
                let pairs = pairs_max.unwrap_or(images);
                Group { grouping: Grouping::Reference, images, pairs }
            }
        }
    }

    fn item_cost(&self, shape: BatchShape) -> Cost {
        Cost::new(&self.nets, shape, self.config.threads, self.isa)
    }

    /// Of a batch that is not of an item.
    fn activation_bytes(&self, Size { width, height }: Size, images: usize) -> usize {
        let of_nets = self.nets.iter().filter_map(|(net, _)| {
            let plan = Plan::new(net.spec(), height, width).ok()?;
            let bytes = image_bytes(&plan, &Pass::all(&plan, net.spec(), self.isa));
            Some(bytes * images_at_once(self.activation_max, bytes).min(images))
        });
        of_nets.sum()
    }
}

impl Drop for CpuEvaluator {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(worker) = self.worker.take() {
            // A panic of the worker was reported where its result was missed.
            drop(worker.join());
        }
    }
}

impl Evaluator for CpuEvaluator {
    fn describe(&self) -> Description {
        let Config { threads, .. } = self.config;
        let plural = if threads == 1 { "thread" } else { "threads" };
        Description {
            device: format!("CPU: {}, {threads} {plural}", processor()),
            numerics_class: format!("cpu-{}-fp32", self.isa),
        }
    }

    fn memory_bytes(&self, shape: BatchShape, group: Group) -> u64 {
        let weights = self.nets.iter().map(|(net, _)| WEIGHT_COPIES * net.weight_bytes());
        let capacity = self.capacity(shape, group);
        let activations = match capacity.grouping {
            Grouping::Item => self.item_cost(shape).bytes(capacity.images),
            _ => self.activation_bytes(shape.size, capacity.images),
        };
        let staging = batches_max(capacity.grouping) * capacity.images * shape.image_bytes();
        (staging + activations + weights.sum::<usize>()) as u64
    }

    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        if self.acquired >= batches_max(group.grouping) {
            return Ok(None);
        }
        self.acquired += 1;
        let capacity = self.capacity(shape, group);
        let staging = self.staging(capacity.images * shape.image_bytes());
        Ok(Some(Batch::new(shape, staging, capacity)))
    }

    fn passes(&self) -> u64 {
        self.passes
    }

    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        let jobs = self.jobs.as_ref().context("the evaluator was shut down")?;
        jobs.send(batch).map_err(|_| anyhow::anyhow!("the computing thread has died"))?;
        self.in_flight += 1;
        Ok(())
    }

    fn collect(&mut self, wait: Wait) -> anyhow::Result<Option<Scored>> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        let received = match wait {
            Wait::Block => self.done.recv().ok(),
            Wait::Poll => match self.done.try_recv() {
                Err(std::sync::mpsc::TryRecvError::Empty) => return Ok(None),
                received => received.ok(),
            },
        };
        let done = received.context("the computing thread has died")?;
        let Done { scored, staging, passes } = done;
        self.passes += passes;
        self.in_flight -= 1;
        self.acquired -= 1;
        self.spare.push_back(staging);
        Ok(Some(scored))
    }
}

/// At most so many batches are open or in flight.
fn batches_max(grouping: Grouping) -> usize {
    match grouping {
        Grouping::Pair | Grouping::Reference => BATCHES_MAX,
        Grouping::Item => ITEM_BATCHES_MAX,
    }
}

/// The processor's name where the system reports it.
fn processor() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|line| line.trim_start_matches([' ', '\t', ':']).trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn score(engines: &mut [Engine], batch: Batch, team: &Team) -> Done {
    let mut scores: Vec<PairScore> = vec![PairScore::new(); batch.pairs().len()];
    let mut passes = 0;
    for engine in engines {
        let of_engine = engine.score(&batch, &mut passes, team);
        for (score, one) in scores.iter_mut().zip(of_engine) {
            score.push(one);
        }
    }
    let size = batch.shape().size;
    let (rows, staging) = batch.into_parts();
    Done { scored: Scored { rows, size, scores }, staging, passes }
}

#[cfg(test)]
mod tests;
