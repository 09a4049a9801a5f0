//! The CPU evaluator: walks a plan with ordinary threads.
//!
//! A thread of its own takes the batches that are submitted, so that decoding continues meanwhile;
//! within a step, the rows of all images are shared out among `threads` threads. Every element is
//! computed by one thread in one order, so neither threads nor neighbours change a bit.

mod bands;
mod budget;
mod capacity;
mod conv;
mod direct;
mod engine;
mod floats;
mod fold;
mod ops;
mod passes;
mod plans;
mod product;
mod scratch;
mod simd;
pub mod single;
mod stage;
mod statistics;
mod tap;
mod team;
mod tensor;
mod winograd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;

use self::bands::Limits;
use self::budget::Budget;
use self::engine::Engine;
use self::plans::Plans;
use self::team::Team;
use super::{
    Admission, Description, Evaluator, HostMemory, Model, PairScore, Scored, Wait, lending,
};
use crate::batch::{Batch, BatchShape, Group, Lender};
use crate::image::{Depth, Size};
use crate::isa::Isa;
use crate::memory::{self, Available};

/// Images for which there must be memory.
const SMALL: BatchShape = BatchShape { size: Size { width: 64, height: 64 }, depth: Depth::U8 };

/// Memory of images that is kept to be lent again.
const FREE_BYTES_MAX: usize = 32 << 20;

/// How the CPU is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Computing threads, at least one.
    pub threads: usize,
    /// At most so many pairs a batch; chosen from the size of the images if absent.
    pub pairs_max: Option<usize>,
    /// Instruction set; the best that the processor has if absent.
    pub isa: Option<Isa>,
    /// The memory that it may take; what the system has if absent.
    pub memory: Option<Available>,
}

/// Scores batches on the CPU.
#[derive(Debug)]
pub struct CpuEvaluator {
    budget: Arc<Budget>,
    /// Dropped first, which ends the thread.
    jobs: Option<Sender<Job>>,
    done: Receiver<Done>,
    worker: Option<JoinHandle<()>>,
    /// Whether this was dropped, so that the batches that wait are of no use.
    is_dropped: Arc<AtomicBool>,
    acquired: usize,
    in_flight: usize,
    passes: u64,
    lender: Lender,
}

/// What the computing thread takes.
struct Job {
    batch: Batch,
    /// Why its pairs can never be scored.
    refusal: Option<String>,
}

/// What the computing thread gives back.
struct Done {
    scored: Scored,
    /// Images that went through a trunk.
    passes: u64,
}

impl CpuEvaluator {
    /// Prepares the weights and starts the computing threads.
    ///
    /// # Errors
    /// When the processor lacks `config.isa`, threads cannot be started, or the memory does not
    /// hold a pair of small images.
    pub fn new(models: Vec<Model>, config: Config) -> anyhow::Result<CpuEvaluator> {
        CpuEvaluator::with_limits(models, config, Limits::USUAL)
    }

    fn with_limits(
        models: Vec<Model>,
        config: Config,
        limits: Limits,
    ) -> anyhow::Result<CpuEvaluator> {
        let isa = config.isa.unwrap_or_else(Isa::best);
        anyhow::ensure!(isa.is_available(), "this processor has no {isa}");
        let (jobs, queue) = channel::<Job>();
        let (sender, done) = channel();
        let (started, start) = channel();
        let nets = models.iter().map(|model| (model.spec(), model.wanted())).collect();
        let weight_bytes = weight_bytes(&models);
        let Config { threads, pairs_max, memory, .. } = config;
        let of_system = || memory::available(memory::Setting::Auto, &|_| None);
        let available = memory.unwrap_or_else(of_system);
        let plans = Plans::new(isa, limits);
        let budget = Arc::new(Budget { nets, weight_bytes, threads, pairs_max, available, plans });
        if let Some(reason) = budget.refusal(SMALL) {
            anyhow::bail!("too little memory even for pairs of {}: {reason}", SMALL.size);
        }
        let of_engines = Arc::clone(&budget);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&is_dropped);
        // The thread that takes the batches computes as well: one thread less to wake, and to be
        // put on a core that another has just been put on.
        let work = move || {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .use_current_thread()
                .thread_name(|index| format!("cpu-{index}"))
                .build();
            let pool = match pool {
                Ok(pool) => pool,
                Err(error) => return drop(started.send(Err(error))),
            };
            let mut engines = pool.install(|| Engine::all(models, &of_engines));
            if started.send(Ok(())).is_err() {
                return;
            }
            let team = pool.install(Team::new);
            for job in queue {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let scored = pool.install(|| team.lead(|| score(&mut engines, job, &team)));
                if sender.send(scored).is_err() {
                    return;
                }
            }
        };
        let worker = std::thread::Builder::new().name("cpu-0".to_owned()).spawn(work)?;
        let started = start.recv().context("the computing thread has died")?;
        started.context("cannot start the computing threads")?;
        Ok(CpuEvaluator {
            budget,
            jobs: Some(jobs),
            done,
            worker: Some(worker),
            is_dropped,
            acquired: 0,
            in_flight: 0,
            passes: 0,
            lender: lending::ordinary(FREE_BYTES_MAX),
        })
    }
}

impl Drop for CpuEvaluator {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
        self.jobs = None;
        // A batch of large images can take minutes. A run that was stopped does not wait for it.
        let worker = self.worker.take().filter(|_| self.in_flight == 0);
        if let Some(worker) = worker {
            // A panic of the worker was reported where its result was missed.
            drop(worker.join());
        }
    }
}

impl Evaluator for CpuEvaluator {
    fn describe(&self) -> Description {
        let threads = self.budget.threads;
        let plural = if threads == 1 { "thread" } else { "threads" };
        Description {
            device: format!("CPU: {}, {threads} {plural}", processor()),
            numerics_class: format!("cpu-{}-fp32", self.budget.plans.isa()),
        }
    }

    fn host_memory(&self, shape: BatchShape, group: Group) -> HostMemory {
        self.budget.host_memory(shape, group)
    }

    fn admission(&self) -> Admission {
        let budget = Arc::clone(&self.budget);
        Arc::new(move |shape| budget.refusal(shape).map_or(Ok(()), Err))
    }

    fn lender(&self) -> Lender {
        self.lender.clone()
    }

    fn acquire(&mut self, shape: BatchShape, group: Group) -> anyhow::Result<Option<Batch>> {
        let capacity = self.budget.capacity(shape, group);
        if self.acquired >= self.budget.batches_max(shape, capacity) {
            return Ok(None);
        }
        self.acquired += 1;
        Ok(Some(Batch::new(shape, capacity)))
    }

    fn passes(&self) -> u64 {
        self.passes
    }

    fn submit(&mut self, batch: Batch) -> anyhow::Result<()> {
        let jobs = self.jobs.as_ref().context("the evaluator was shut down")?;
        let refusal = self.budget.refusal(batch.shape());
        jobs.send(Job { batch, refusal })
            .map_err(|_| anyhow::anyhow!("the computing thread has died"))?;
        self.in_flight += 1;
        Ok(())
    }

    fn collect(&mut self, wait: Wait) -> anyhow::Result<Option<Scored>> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        let received = match wait {
            Wait::Block => self.done.recv().ok(),
            Wait::AtMost(duration) => match self.done.recv_timeout(duration) {
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                received => received.ok(),
            },
            Wait::Poll => match self.done.try_recv() {
                Err(TryRecvError::Empty) => return Ok(None),
                received => received.ok(),
            },
        };
        let done = received.context("the computing thread has died")?;
        let Done { scored, passes } = done;
        self.passes += passes;
        self.in_flight -= 1;
        self.acquired -= 1;
        Ok(Some(scored))
    }
}

/// Bytes of the trunks of `models`, each once.
fn weight_bytes(models: &[Model]) -> u64 {
    let is_new = |&(index, model): &(usize, &Model)| {
        !models[..index].iter().any(|earlier| earlier.trunk.is(&model.trunk))
    };
    let new = models.iter().enumerate().filter(is_new);
    new.map(|(_, model)| model.trunk.net.weight_bytes() as u64).sum()
}

/// The processor's name where the system reports it.
fn processor() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|line| line.trim_start_matches([' ', '\t', ':']).trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn score(engines: &mut [Engine], Job { batch, refusal }: Job, team: &Team) -> Done {
    let mut scores: Vec<PairScore> = vec![PairScore::new(); batch.pairs().len()];
    let mut passes = 0;
    for engine in engines {
        let of_engine = match &refusal {
            Some(reason) => vec![engine.refuse(batch.shape().size, reason); batch.pairs().len()],
            None => engine.score(&batch, &mut passes, team),
        };
        for (score, one) in scores.iter_mut().zip(of_engine) {
            score.push(one);
        }
    }
    let size = batch.shape().size;
    Done { scored: Scored { rows: batch.into_rows(), size, scores }, passes }
}

#[cfg(test)]
mod tests;
