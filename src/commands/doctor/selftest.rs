//! The self-test on every combination of net, precision and engine that a device has.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::eval::cpu::{self, CpuEvaluator};
use crate::eval::cuda::probe::Probe;
use crate::eval::cuda::{self, CudaEvaluator, Rates};
use crate::eval::{ConvChoice, Device, Evaluator, Gpus, Model, Precision};
use crate::image::Size;
use crate::net::Net;
use crate::net::weights::{Lin, SearchPath, Trunk, Version};
use crate::progress::print_line;
use crate::selftest::{Deviation, Expected, Outcome, bound, overflowing, rate};

/// Sides of the images that speed is measured with, unless others are asked for.
const GPU_SIDES: &[usize] = &[256, 1024];
/// As above.
const CPU_SIDES: &[usize] = &[256];
/// Seconds of one of three rounds.
const ROUND_S: f64 = 0.5;

/// Where convolutions are computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Engine {
    Cpu,
    Cudnn,
    Cublas,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Engine::Cpu => "cpu",
            Engine::Cudnn => "cudnn",
            Engine::Cublas => "cublas",
        }
    }
}

/// What came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Ok,
    Failed,
    Skipped,
}

/// Speed on data that is in the device's memory (a CPU's: in the host's).
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Throughput {
    width: usize,
    height: usize,
    /// Pairs that ran at once, where that is known.
    batch: Option<usize>,
    pairs_per_second: f64,
    /// Features that taps read, by the taps alone; and what copying within the device reads and
    /// writes, which is as fast as memory goes. On GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    tap_bytes_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copy_bytes_per_second: Option<f64>,
}

/// One combination.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Row {
    device: String,
    /// What the device calls itself, once it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    described: Option<String>,
    net: Net,
    /// `published`, or `formula` where weights are absent; `overflows` where either is scaled so
    /// that features overflow in half precision.
    trunk: &'static str,
    precision: Precision,
    engine: Engine,
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deviation: Option<Deviation>,
    bound: Deviation,
    #[serde(skip_serializing_if = "Option::is_none")]
    invariant: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    throughput: Vec<Throughput>,
}

impl Row {
    pub(super) fn name(&self) -> String {
        let Row { device, net, precision, engine, reason, .. } = self;
        let reason = reason.as_deref().unwrap_or_default();
        format!("{device} {net} {precision} {}: {reason}", engine.name())
    }
}

/// Runs all combinations.
pub(super) fn run(args: &DoctorArgs, probe: &Probe) -> anyhow::Result<Vec<Row>> {
    let search = SearchPath::new(args.weights_dir.as_deref());
    let nets = if args.net.is_empty() { Net::ALL.to_vec() } else { args.net.clone() };
    let gpus = match &args.device {
        Device::Cpu => None,
        Device::Cuda(gpus) => Some(gpus.clone()),
        Device::Auto => {
            let usable = probe.choose(&Gpus::First);
            let works = usable.is_ok_and(|gpus| probe.engine(args.cuda.conv, &gpus, &[]).is_ok());
            works.then_some(Gpus::First)
        }
    };
    let mut rows = Vec::new();
    for net in nets {
        let (trunk, kind) = match search.find(net) {
            Ok(source) => (Trunk::load(net, &source)?, "published"),
            Err(_) => (Trunk::formula(net), "formula"),
        };
        let lin = Lin::load(net, Version::V0_1)?.layers;
        let model = Model::published(trunk, Version::V0_1, Some(lin));
        print_line(&format!("{net}: computing the expected values in float64"));
        let expected = Expected::of(&model)?;
        for (engine, precision, lacking) in combinations(args, gpus.as_ref(), probe)? {
            let subject = Subject { args, probe, model: &model, gpus: &gpus, engine, precision };
            let row = subject.empty_row(kind);
            let lacks_nothing = lacking.is_none();
            rows.push(match lacking {
                Some(reason) => Row { status: Status::Skipped, reason: Some(reason), ..row },
                None => {
                    print_line(&format!("{net}: {precision}, {}", engine.name()));
                    subject.fill(row, &expected)
                }
            });
            if precision == Precision::Fp16 && lacks_nothing {
                print_line(&format!("{net}: {precision}, {}, overflows", engine.name()));
                rows.push(subject.overflow_row(&expected));
            }
        }
    }
    Ok(rows)
}

/// Engines of the device with what they lack, and precisions, less those that were not asked for.
fn combinations(
    args: &DoctorArgs,
    gpus: Option<&Gpus>,
    probe: &Probe,
) -> anyhow::Result<Vec<(Engine, Precision, Option<String>)>> {
    let Some(gpus) = gpus else { return Ok(vec![(Engine::Cpu, Precision::Fp32, None)]) };
    let gpus = probe.choose(gpus)?;
    let engines = [(Engine::Cudnn, ConvChoice::Cudnn), (Engine::Cublas, ConvChoice::Cublas)];
    let mut combinations = Vec::new();
    for (engine, choice) in engines {
        if args.cuda.conv != ConvChoice::Auto && args.cuda.conv != choice {
            continue;
        }
        let lacking = probe.engine(choice, &gpus, &[]).err().map(|refusal| refusal.to_string());
        for precision in [Precision::Fp32, Precision::Tf32, Precision::Fp16] {
            if args.precision.is_empty() || args.precision.contains(&precision) {
                combinations.push((engine, precision, lacking.clone()));
            }
        }
    }
    Ok(combinations)
}

/// One combination to be tested.
struct Subject<'a> {
    args: &'a DoctorArgs,
    probe: &'a Probe,
    model: &'a Model,
    gpus: &'a Option<Gpus>,
    engine: Engine,
    precision: Precision,
}

impl Subject<'_> {
    fn empty_row(&self, trunk: &'static str) -> Row {
        Row {
            device: self.device(),
            described: None,
            net: self.model.trunk.net,
            trunk,
            precision: self.precision,
            engine: self.engine,
            status: Status::Ok,
            reason: None,
            deviation: None,
            bound: bound(self.precision),
            invariant: None,
            throughput: Vec::new(),
        }
    }

    fn fill(&self, mut row: Row, expected: &Expected) -> Row {
        match self.outcome(expected) {
            Ok((described, Outcome { deviation, invariant, fault })) => {
                row.described = Some(described);
                row.deviation = Some(deviation);
                row.invariant = Some(invariant);
                row.reason = fault;
            }
            Err(error) => row.reason = Some(format!("{error:#}")),
        }
        if row.reason.is_none() && !self.args.quick {
            match self.throughput() {
                Ok(throughput) => row.throughput = throughput,
                Err(error) => row.reason = Some(format!("speed: {error:#}")),
            }
        }
        if row.reason.is_some() {
            row.status = Status::Failed;
        }
        row
    }

    /// With weights that make features overflow.
    fn overflow_row(&self, expected: &Expected) -> Row {
        let row = Row { bound: bound(Precision::Fp32), ..self.empty_row("overflows") };
        let compared = self.open(overflowing(self.model)).and_then(|mut evaluator| {
            let described = evaluator.describe().device;
            Ok((described, expected.compare_overflowing(&mut *evaluator)?))
        });
        let (described, deviation, reason) = match compared {
            Ok((described, (deviation, fault))) => (Some(described), Some(deviation), fault),
            Err(error) => (None, None, Some(format!("{error:#}"))),
        };
        let status = if reason.is_some() { Status::Failed } else { Status::Ok };
        Row { described, deviation, reason, status, ..row }
    }

    fn device(&self) -> String {
        match self.gpus {
            None => "cpu".to_owned(),
            Some(Gpus::First) => "cuda:0".to_owned(),
            Some(Gpus::All) => "cuda:all".to_owned(),
            Some(Gpus::These(ordinals)) => {
                let ordinals: Vec<String> = ordinals.iter().map(usize::to_string).collect();
                format!("cuda:{}", ordinals.join(","))
            }
        }
    }

    /// With the evaluator's name of its device.
    fn outcome(&self, expected: &Expected) -> anyhow::Result<(String, Outcome)> {
        let mut evaluator = self.open(self.model.clone())?;
        let described = evaluator.describe().device;
        Ok((described, expected.compare(&mut *evaluator, self.precision)?))
    }

    fn open(&self, model: Model) -> anyhow::Result<Box<dyn Evaluator>> {
        Ok(match self.cuda() {
            None => Box::new(CpuEvaluator::new(vec![model], cpu_config())?),
            Some(config) => Box::new(CudaEvaluator::open(vec![model], self.probe, &config)?),
        })
    }

    /// How GPUs are used; `None` on the CPU.
    fn cuda(&self) -> Option<cuda::Config> {
        let conv = match self.engine {
            Engine::Cpu => return None,
            Engine::Cudnn => ConvChoice::Cudnn,
            Engine::Cublas => ConvChoice::Cublas,
        };
        Some(cuda::Config {
            gpus: self.gpus.clone()?,
            precision: self.precision,
            conv,
            pairs_max: None,
            memory: None,
            limits: cuda::Limits::USUAL,
            notify: print_line,
        })
    }

    fn throughput(&self) -> anyhow::Result<Vec<Throughput>> {
        let sides = |otherwise| match self.args.sides.as_slice() {
            [] => otherwise,
            sides => sides,
        };
        let mut rates = Vec::new();
        match self.cuda() {
            Some(config) => {
                for &side in sides(GPU_SIDES) {
                    let size = Size { width: side, height: side };
                    let Rates {
                        pairs,
                        pairs_per_second,
                        tap_bytes_per_second,
                        copy_bytes_per_second,
                    } = cuda::resident_rates(self.model, self.probe, &config, size, ROUND_S)?;
                    rates.push(Throughput {
                        width: side,
                        height: side,
                        batch: Some(pairs),
                        pairs_per_second,
                        tap_bytes_per_second: Some(tap_bytes_per_second),
                        copy_bytes_per_second: Some(copy_bytes_per_second),
                    });
                }
            }
            None => {
                let mut evaluator = CpuEvaluator::new(vec![self.model.clone()], cpu_config())?;
                for &side in sides(CPU_SIDES) {
                    let size = Size { width: side, height: side };
                    rates.push(Throughput {
                        width: side,
                        height: side,
                        batch: None,
                        pairs_per_second: rate(&mut evaluator, size, ROUND_S)?,
                        tap_bytes_per_second: None,
                        copy_bytes_per_second: None,
                    });
                }
            }
        }
        Ok(rates)
    }
}

fn cpu_config() -> cpu::Config {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cpu::Config { threads, pairs_max: None, isa: None, memory: None }
}

/// The rows for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:9} {:8} {:9} {:6} {:10} {:8} {:8} {:8} {:5} {}\n",
        "device",
        "net",
        "precision",
        "engine",
        "trunk",
        "total",
        "layer",
        "near",
        "bits",
        "pairs/s"
    );
    for row in rows {
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.1e}"));
        let near = shown(row.deviation.and_then(|deviation| deviation.near_identical));
        let bits = match row.invariant {
            Some(true) => "same",
            Some(false) => "VARY",
            None => "-",
        };
        let rates = row.throughput.iter().map(Throughput::to_string);
        let rates = rates.collect::<Vec<_>>().join(", ");
        let total = shown(row.deviation.map(|deviation| deviation.total));
        let layer = shown(row.deviation.map(|deviation| deviation.layer));
        let (net, precision, engine) = (row.net.name(), row.precision.name(), row.engine.name());
        text.push_str(&format!(
            "{:9} {net:8} {precision:9} {engine:6} {:10} {total:8} {layer:8} {near:8} {bits:5} \
             {rates}",
            row.device, row.trunk,
        ));
        if let Some(reason) = &row.reason {
            let word = if row.status == Status::Skipped { "skipped" } else { "FAILED" };
            text.push_str(&format!(" {word}: {reason}"));
        }
        text.push('\n');
    }
    text.push_str("total, layer, near (identical): worst relative deviation from float64\n");
    if rows.iter().any(|row| row.throughput.iter().any(|one| one.tap_bytes_per_second.is_some())) {
        text.push_str(
            "taps: what they and their poolings move, of what copying in GPU memory moves\n",
        );
    }
    let described: BTreeSet<&str> =
        rows.iter().filter_map(|row| row.described.as_deref()).collect();
    described.iter().for_each(|device| text.push_str(&format!("measured on {device}\n")));
    text
}

impl std::fmt::Display for Throughput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ({}x{}", self.pairs_per_second, self.width, self.height)?;
        if let (Some(taps), Some(copy)) = (self.tap_bytes_per_second, self.copy_bytes_per_second) {
            write!(f, ", taps {:.1} GB/s, {:.0} %", taps / 1e9, 100.0 * taps / copy)?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use crate::eval::cuda::Limits;
    use crate::selftest::crowds;

    #[test]
    fn a_crowd_crosses_the_border_of_a_micro_batch() {
        let crosses = crowds().map(|(size, images)| images > Limits::USUAL.micro_images(size));
        assert_eq!(crosses, [false, true]);
    }
}
