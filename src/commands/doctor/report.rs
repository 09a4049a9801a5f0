//! The devices, drivers and libraries that were found, as text and as JSON.

use std::path::PathBuf;

use serde::Serialize;

use crate::decimal::counted;
use crate::eval::ConvChoice;
use crate::eval::cuda::architectures;
use crate::eval::cuda::probe::{self, Library, Probe, Problem};
use crate::isa::Isa;

/// Everything that was found.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Report {
    program: Program,
    cpu: Cpu,
    driver: Option<Driver>,
    devices: Vec<Gpu>,
    libraries: Vec<Listed>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Program {
    version: &'static str,
    commit: &'static str,
    /// What its kernels are assembled for; the driver compiles them for other GPUs.
    cubins: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Cpu {
    instruction_set: String,
    threads: usize,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Driver {
    /// Of the driver itself, if the system reports it.
    version: Option<String>,
    /// The newest CUDA that it supports.
    cuda: String,
    path: PathBuf,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Gpu {
    index: usize,
    name: String,
    architecture: String,
    /// Bytes.
    memory_total: u64,
    /// Bytes.
    memory_free: Option<u64>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    Found { name: &'static str, version: String, path: PathBuf },
    Missing { name: &'static str, missing: String, hint: String },
}

impl Listed {
    fn new(name: &'static str, found: Result<&Library, &Problem>) -> Listed {
        match found {
            Ok(Library { version, path, .. }) => {
                Listed::Found { name, version: version.clone(), path: path.clone() }
            }
            Err(Problem { reason, remedy }) => {
                Listed::Missing { name, missing: reason.clone(), hint: remedy.clone() }
            }
        }
    }
}

impl Report {
    /// Libraries are those for `gpus`, and of those that convolve the ones that are wanted.
    pub(super) fn new(probe: &Probe, gpus: &[probe::Gpu], wanted: ConvChoice) -> Report {
        let driver = probe.driver.as_ref().ok().map(|library| Driver {
            version: kernel_module_version(),
            cuda: library.version.clone(),
            path: library.path.clone(),
        });
        let devices = probe.gpus.iter().map(|gpu| Gpu {
            index: gpu.ordinal,
            name: gpu.name.clone(),
            architecture: format!("sm_{}{}", gpu.capability.0, gpu.capability.1),
            memory_total: gpu.total_bytes,
            memory_free: probe.memory(gpu).map(|(free, _)| free),
        });
        let mut libraries = vec![Listed::new("cuda", probe.driver.as_ref())];
        if wanted != ConvChoice::Cublas {
            libraries.push(Listed::new("cudnn", probe.cudnn(gpus)));
        }
        if wanted != ConvChoice::Cudnn {
            libraries.push(Listed::new("cublas", probe.cublas(gpus)));
        }
        Report {
            program: Program {
                version: env!("CARGO_PKG_VERSION"),
                commit: env!("LPIPS_COMMIT"),
                cubins: architectures().into_iter().map(|sm| format!("sm_{sm}")).collect(),
            },
            cpu: Cpu {
                instruction_set: Isa::best().to_string(),
                threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            },
            driver,
            devices: devices.collect(),
            libraries,
        }
    }
}

/// The version of the kernel module, such as `535.261.03`.
fn kernel_module_version() -> Option<String> {
    let text = fs_err::read_to_string("/proc/driver/nvidia/version").ok()?;
    let (_, rest) = text.split_once("Kernel Module")?;
    rest.split_whitespace().find(|word| word.contains('.')).map(str::to_owned)
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { program, cpu, driver, devices, libraries } = self;
        writeln!(f, "lpips {} (commit {})", program.version, program.commit)?;
        write!(f, "CPU      {}, {}", cpu.instruction_set, counted(cpu.threads, "thread"))?;
        if let Some(Driver { version, .. }) = driver {
            write!(f, "\ndriver   {}", version.as_deref().unwrap_or("version unknown"))?;
        }
        for Gpu { index, name, architecture, memory_total, memory_free } in devices {
            let gib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 30));
            let free = memory_free.map_or_else(|| "?".to_owned(), gib);
            let total = gib(*memory_total);
            write!(f, "\nGPU {index}    {name}, {architecture}, {free} of {total} GiB free")?;
        }
        match program.cubins.as_slice() {
            [] => f.write_str("\nkernels  compiled by the driver")?,
            some => {
                write!(f, "\nkernels  for {}, compiled by the driver for others", some.join(", "))?;
            }
        }
        for library in libraries {
            match library {
                Listed::Found { name, version, path } => {
                    write!(f, "\n{name:8} {version}, {}", path.display())?;
                }
                Listed::Missing { name, missing, hint } => {
                    write!(f, "\n{name:8} MISSING: {missing}\n         hint: {hint}")?;
                }
            }
        }
        Ok(())
    }
}
