//! The CPU evaluator: walks a plan with ordinary threads.
//!
//! A thread of its own takes the batches that are submitted, so that decoding goes on meanwhile;
//! within a step, the rows of all images are shared out among `threads` threads. Every element is
//! computed by one thread in one order, so neither threads nor neighbours change a bit.

mod conv;
mod direct;
mod fold;
mod ops;
mod product;
mod simd;
mod strip;
mod tap;
mod tensor;
mod tiles;
mod transform;
mod winograd;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::Context as _;

use self::conv::{Conv, Geometry};
use self::tap::Comparison;
use self::tensor::{Layout, Tensor};
use self::winograd::Scratch;
use super::chunk::{Chunk, take_chunk};
use super::{Affine, Description, Distance, Evaluator, Model, PairScore, Scored, Unscored, Wait};
use crate::batch::{Batch, BatchShape, Pair, Size, Staging};
use crate::net::Net;
use crate::net::plan::{BUFFERS, Plan, Slot, Step, View};
use crate::net::weights::Version;

pub use self::simd::Isa;

/// Batches that may be open or in flight at once.
const LENT_MAX: usize = 6;
/// Activations of the images that are walked together stay below this, if two images allow it.
const ACTIVATION_BYTES: usize = 256 << 20;
/// Pairs of a batch stay below this many samples, unless `--batch` says otherwise.
const BATCH_SAMPLES: usize = 8 * 2 * 3 * 256 * 256;

/// Weights as they were read and as the schemes of convolution transform them, on the average.
const WEIGHT_COPIES: usize = 4;

/// How the CPU is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Computing threads, at least one.
    pub threads: usize,
    /// Pairs of a batch at the most; chosen from the size of the images if absent.
    pub pairs_max: Option<usize>,
    /// Instruction set; the best that the processor has if absent.
    pub isa: Option<Isa>,
}

/// Scores batches on the CPU.
#[derive(Debug)]
pub struct CpuEvaluator {
    config: Config,
    isa: Isa,
    nets: Vec<Net>,
    /// Dropped first, which ends the thread.
    jobs: Option<Sender<Batch>>,
    done: Receiver<(Scored, Box<dyn Staging>)>,
    worker: Option<JoinHandle<()>>,
    lent: usize,
    in_flight: usize,
    spare: VecDeque<Box<dyn Staging>>,
}

impl CpuEvaluator {
    /// Prepares the weights and starts the computing threads.
    ///
    /// # Errors
    /// When the processor lacks `config.isa`, or threads cannot be started.
    pub fn new(models: Vec<Model>, config: Config) -> anyhow::Result<CpuEvaluator> {
        let isa = config.isa.unwrap_or_else(Isa::best);
        anyhow::ensure!(isa.is_available(), "this processor has no {isa}");
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .thread_name(|index| format!("cpu-{index}"))
            .build()
            .context("cannot start the computing threads")?;
        let (jobs, queue) = channel::<Batch>();
        let (sender, done) = channel();
        let nets = models.iter().map(|model| model.trunk.net).collect();
        let work = move || {
            let mut engines: Vec<Engine> =
                pool.install(|| models.into_iter().map(|model| Engine::new(model, isa)).collect());
            for batch in queue {
                let scored = pool.install(|| score(&mut engines, batch));
                if sender.send(scored).is_err() {
                    return;
                }
            }
        };
        let worker = std::thread::Builder::new().name("cpu-evaluator".to_owned()).spawn(work)?;
        Ok(CpuEvaluator {
            config,
            isa,
            nets,
            jobs: Some(jobs),
            done,
            worker: Some(worker),
            lent: 0,
            in_flight: 0,
            spare: VecDeque::new(),
        })
    }

    /// Pairs of a batch of `shape`.
    fn pairs_max(&self, shape: BatchShape) -> usize {
        let chosen = BATCH_SAMPLES / (2 * shape.size.samples());
        self.config.pairs_max.unwrap_or(chosen).max(1)
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

    fn memory_bytes(&self, shape: BatchShape) -> u64 {
        let Size { width, height } = shape.size;
        let image_max = 2 * self.pairs_max(shape);
        let staging = LENT_MAX * image_max * shape.image_bytes();
        let activations = self.nets.iter().filter_map(|net| {
            let plan = Plan::new(net.spec(), height, width).ok()?;
            let bytes = image_bytes(&plan);
            Some(bytes * images_at_once(&plan).min(image_max) + WEIGHT_COPIES * net.weight_bytes())
        });
        (staging + activations.sum::<usize>()) as u64
    }

    fn lend(&mut self, shape: BatchShape) -> anyhow::Result<Option<Batch>> {
        if self.lent == LENT_MAX {
            return Ok(None);
        }
        let pairs_max = self.pairs_max(shape);
        let bytes = 2 * pairs_max * shape.image_bytes();
        let fitting = self.spare.iter().position(|staging| staging.bytes().len() >= bytes);
        let staging = match fitting.and_then(|index| self.spare.remove(index)) {
            Some(staging) => staging,
            None => {
                self.spare.pop_front();
                Box::new(vec![0f32; bytes.div_ceil(size_of::<f32>())])
            }
        };
        self.lent += 1;
        Ok(Some(Batch::new(shape, staging, pairs_max)))
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
        let (scored, staging) = received.context("the computing thread has died")?;
        self.in_flight -= 1;
        self.lent -= 1;
        self.spare.push_back(staging);
        Ok(Some(scored))
    }
}

/// The processor's name where the system tells it.
fn processor() -> String {
    let info = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("model name"));
    let name = line.map(|line| line.trim_start_matches([' ', '\t', ':']).trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

fn score(engines: &mut [Engine], batch: Batch) -> (Scored, Box<dyn Staging>) {
    let mut scores: Vec<PairScore> = vec![PairScore::new(); batch.pairs().len()];
    for engine in engines {
        let of_engine = engine.score(&batch);
        for (score, one) in scores.iter_mut().zip(of_engine) {
            score.push(one);
        }
    }
    let size = batch.shape().size;
    let (rows, staging) = batch.into_parts();
    (Scored { rows, size, scores }, staging)
}

/// One model, ready to be walked.
#[derive(Debug)]
struct Engine {
    net: Net,
    input: Affine,
    version: Version,
    convs: Vec<Conv>,
    comparison: Comparison,
    isa: Isa,
    /// The plan for the size of the last batch.
    plan: Option<(Size, Plan)>,
    activations: Activations,
}

/// What a walk reads and writes; the memory is kept from batch to batch.
#[derive(Debug, Default)]
struct Activations {
    input: Tensor,
    buffers: [Tensor; BUFFERS],
    scratch: Scratch,
}

impl Engine {
    fn new(model: Model, isa: Isa) -> Engine {
        let comparison = Comparison::new(&model, isa);
        let Model { trunk, input, version, .. } = model;
        let convs = trunk.convs.into_iter().map(|conv| Conv::new(conv, isa)).collect();
        let scratch = Scratch::new(rayon::current_num_threads());
        let activations = Activations { scratch, ..Activations::default() };
        let net = trunk.net;
        Engine { net, input, version, convs, comparison, isa, plan: None, activations }
    }

    fn score(&mut self, batch: &Batch) -> Vec<Result<Distance, Unscored>> {
        let size = batch.shape().size;
        let plan = match self.plan.take() {
            Some((of, plan)) if of == size => plan,
            _ => match Plan::new(self.net.spec(), size.height, size.width) {
                Ok(plan) => plan,
                Err(too_small) => return vec![Err(too_small.into()); batch.pairs().len()],
            },
        };
        let image_max = images_at_once(&plan);
        let mut distances = Vec::with_capacity(batch.pairs().len());
        let mut rest = batch.pairs();
        while !rest.is_empty() {
            let Chunk { pairs, images } = take_chunk(&mut rest, image_max, usize::MAX);
            distances.extend(self.walk(&plan, batch, &images, &pairs));
        }
        self.plan = Some((size, plan));
        distances.into_iter().map(|distance| distance.finite(self.net)).collect()
    }

    /// Walks the plan for some images of a batch; `pairs` index into `images`.
    fn walk(
        &mut self,
        plan: &Plan,
        batch: &Batch,
        images: &[usize],
        pairs: &[Pair],
    ) -> Vec<Distance> {
        let mut distances = vec![Distance::default(); pairs.len()];
        let Activations { input, buffers, scratch } = &mut self.activations;
        ops::normalise(batch, images, self.input, self.version, input);
        for step in &plan.steps {
            match *step {
                Step::Conv { weight, stride, pad, src, dst, .. } => {
                    let (from, to) = source_and_target(input, buffers, src, dst);
                    to.resize(images.len(), Layout::of(dst));
                    let (source, target) = (from.layout(), to.layout());
                    let c_first = dst.c_first;
                    let geometry = Geometry { from: source, to: target, stride, pad, c_first };
                    self.convs[weight].run(from, to, geometry, scratch);
                }
                Step::MaxPool { kernel, stride, src, dst } => {
                    let (from, to) = source_and_target(input, buffers, src, dst);
                    to.resize(images.len(), Layout::of(dst));
                    ops::max_pool(from, to, kernel, stride, self.isa);
                }
                Step::Tap { layer, src } => {
                    let Slot::Buffer(index) = src.slot else { unreachable!("a tap of the input") };
                    self.comparison.run(layer, &buffers[index], pairs, &mut distances);
                }
            }
        }
        distances
    }
}

/// Bytes of the activations of one image.
fn image_bytes(plan: &Plan) -> usize {
    size_of::<f32>() * (plan.input.len() + plan.buffer_len.iter().sum::<usize>())
}

/// Images that are walked together at the most.
fn images_at_once(plan: &Plan) -> usize {
    (ACTIVATION_BYTES / image_bytes(plan)).max(2)
}

/// The tensor that a step reads, and the one that it writes. A plan never names one buffer twice.
fn source_and_target<'a>(
    input: &'a Tensor,
    buffers: &'a mut [Tensor; BUFFERS],
    src: View,
    dst: View,
) -> (&'a Tensor, &'a mut Tensor) {
    let Slot::Buffer(target) = dst.slot else { unreachable!("a plan that writes its input") };
    match src.slot {
        Slot::Input => (input, &mut buffers[target]),
        Slot::Buffer(source) => {
            let [source, target] = buffers
                .get_disjoint_mut([source, target])
                .unwrap_or_else(|_| unreachable!("a plan that reads what it writes"));
            (source, target)
        }
    }
}
