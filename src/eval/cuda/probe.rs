//! Finds CUDA's libraries and the GPUs, and reports why one cannot be used.
//!
//! Never panics and never ends the process, whatever is missing: a library is opened before cudarc
//! needs it, and every symbol is looked up before it is called. cuDNN, which can end the process,
//! is probed by a module of its own (`cudnn`). A library that convolves is opened when it is first
//! asked for, since some take longer to open than all else that is done at start.
#![expect(unsafe_code, reason = "opens shared libraries and looks symbols up")]

mod cublas;
mod cudnn;
mod environments;
mod files;
mod identity;
mod loader;
mod places;
pub mod symbols;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use self::loader::{address, preload, require};
use self::places::Places;
pub use super::driver::Gpu;
use super::driver::{Context, device_count, driver_version};
use super::{ConvChoice, ConvEngine, Gpus};
use crate::error::Refusal;
use crate::eval::{Model, Precision};
use cudarc::driver;

/// The oldest CUDA whose drivers load our kernels.
const DRIVER_MIN: i32 = 12_000;
/// The oldest architecture that our kernels are compiled for.
const CAPABILITY_MIN: (i32, i32) = (7, 0);
/// The first architecture that follows Volta, and the newest CUDA whose libraries support Volta.
const AFTER_VOLTA: (i32, i32) = (7, 5);
const VOLTA_MAX: i32 = 12;

/// Environment variable that names folders of libraries, separated by colons.
pub const LIBRARIES_VARIABLE: &str = "LPIPS_CUDA_LIBS";

/// Why something cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The reason.
    pub reason: String,
    /// The remedy.
    pub remedy: String,
}

impl Problem {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Problem {
        Problem { reason: reason.into(), remedy: remedy.into() }
    }

    fn refusal(&self) -> Refusal {
        Refusal::environment(self.reason.clone()).hint(self.remedy.clone())
    }
}

/// A library that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Library {
    /// Its own version, such as `9.1.0`.
    pub version: String,
    /// The file that is in use.
    pub path: PathBuf,
    /// Files of libraries that it opens itself, and on which its bits depend.
    uses: Vec<PathBuf>,
}

impl Library {
    /// Its name and version, and the builds of the libraries that it uses.
    fn identity(&self, name: &str) -> String {
        let used = self.uses.iter().map(|path| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = file.split(".so").next().unwrap_or_default();
            let build = identity::build(path).unwrap_or_default();
            format!("-{}-{build}", stem.trim_start_matches("lib"))
        });
        format!("{name}-{}{}", self.version, used.collect::<String>())
    }
}

/// An engine that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Which one.
    pub engine: ConvEngine,
    /// Its name with the version, such as `cudnn-9.1.0`.
    pub name: String,
    /// That, and what else of it decides bits.
    pub identity: String,
}

impl Chosen {
    /// cuDNN with cuBLAS.
    fn with(&self, cublas: &Chosen) -> Chosen {
        Chosen {
            engine: ConvEngine::CudnnAndCublas,
            name: format!("{}+{}", self.name, cublas.name),
            identity: format!("{}+{}", self.identity, cublas.identity),
        }
    }
}

/// The newest CUDA whose libraries can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Newest {
    major: i32,
    /// The reason, as a sentence without its end.
    because: String,
    /// Whether a GPU of Volta is to be used, which newer libraries do not support.
    is_for_volta: bool,
}

/// The driver and the GPUs that were found. Libraries that convolve are opened when they are asked
/// for.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The driver; its version is the newest CUDA that it supports.
    pub driver: Result<Library, Problem>,
    /// The GPUs that this process sees, if the driver works.
    pub gpus: Vec<Gpu>,
    places: Places,
    cudnn: OnceLock<Result<Library, Problem>>,
    cublas: OnceLock<Result<Library, Problem>>,
}

impl Probe {
    /// Searches all places: `explicit` folders first, then those of the environment variable.
    /// Libraries stay open for the life of the process, so later probes find the same ones.
    #[must_use]
    pub fn new(explicit: &[PathBuf]) -> Probe {
        let places = Places::new(explicit);
        let driver = find_driver(&places);
        let counted = match &driver {
            Ok(_) => device_count().map_err(|fault| no_device(&fault.to_string())),
            Err(problem) => Err(problem.clone()),
        };
        let gpus = counted.and_then(|count| {
            let gpus = (0..count).map(|ordinal| {
                let problem = |fault| Problem::new(format!("GPU {ordinal}: {fault}"), BROKEN);
                Gpu::query(ordinal).map_err(problem)
            });
            gpus.collect::<Result<Vec<Gpu>, Problem>>()
        });
        let (driver, gpus) = match gpus {
            Ok(gpus) if gpus.is_empty() => (Err(no_device("the driver sees none")), gpus),
            Ok(gpus) => (driver, gpus),
            Err(problem) => (Err(problem), Vec::new()),
        };
        Probe { driver, gpus, places, cudnn: OnceLock::new(), cublas: OnceLock::new() }
    }

    /// cuDNN 9 for these GPUs, which is opened at the first call.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot be used.
    pub fn cudnn(&self, gpus: &[Gpu]) -> Result<&Library, &Problem> {
        let find = || cudnn::find(&self.places, &self.newest(gpus));
        self.cudnn.get_or_init(find).as_ref()
    }

    /// cuBLAS of CUDA 12 or 13, as above.
    ///
    /// # Errors
    /// As above.
    pub fn cublas(&self, gpus: &[Gpu]) -> Result<&Library, &Problem> {
        let find = || cublas::find(&self.places, &self.newest(gpus));
        self.cublas.get_or_init(find).as_ref()
    }

    fn newest(&self, gpus: &[Gpu]) -> Newest {
        let of_driver = self.driver.as_ref().map_or(i32::MAX, |library| major(&library.version));
        let volta = gpus.iter().find(|gpu| gpu.capability < AFTER_VOLTA);
        let is_for_volta = volta.is_some();
        match volta {
            Some(Gpu { ordinal, name, .. }) if of_driver > VOLTA_MAX => {
                let because = format!("GPU {ordinal}, a {name}, needs CUDA {VOLTA_MAX}");
                Newest { major: VOLTA_MAX, because, is_for_volta }
            }
            _ => {
                let because = format!("the driver supports at most CUDA {of_driver}");
                Newest { major: of_driver, because, is_for_volta }
            }
        }
    }

    /// The newest CUDA that the driver supports, such as `12.4`.
    #[must_use]
    pub fn driver_version(&self) -> Option<String> {
        self.driver.as_ref().ok().map(|library| library.version.clone())
    }

    /// The GPUs that were asked for.
    ///
    /// # Errors
    /// A [`Refusal`] when one of them cannot be used, or their models differ.
    pub fn choose(&self, wanted: &Gpus) -> Result<Vec<Gpu>, Refusal> {
        self.driver.as_ref().map_err(Problem::refusal)?;
        let is_usable = |gpu: &&Gpu| gpu.capability >= CAPABILITY_MIN;
        let chosen: Vec<Gpu> = match wanted {
            Gpus::First => vec![self.gpu(0)?.clone()],
            Gpus::These(ordinals) => ordinals
                .iter()
                .map(|&ordinal| self.gpu(ordinal).cloned())
                .collect::<Result<_, _>>()?,
            Gpus::All => self.gpus.iter().filter(is_usable).cloned().collect(),
        };
        let Some(first) = chosen.first() else {
            return Err(self.gpu(0).err().unwrap_or_else(|| no_device("none was named").refusal()));
        };
        if let Some(other) = chosen.iter().find(|gpu| !gpu.is_like(first)) {
            let alike = chosen.iter().filter(|gpu| gpu.is_like(first));
            let alike: Vec<String> = alike.map(|gpu| gpu.ordinal.to_string()).collect();
            return Err(Refusal::environment(format!(
                "GPU {} is a {}, GPU {} a {}: bits differ between models, and a run has one \
                 numerics class",
                first.ordinal,
                first.model(other),
                other.ordinal,
                other.model(first)
            ))
            .hint(format!("use those of one model: `--device cuda:{}`", alike.join(","))));
        }
        Ok(chosen)
    }

    fn gpu(&self, ordinal: usize) -> Result<&Gpu, Refusal> {
        let Some(gpu) = self.gpus.get(ordinal) else {
            let seen: Vec<String> = self.gpus.iter().map(|gpu| gpu.ordinal.to_string()).collect();
            let seen = seen.join(", ");
            let message = format!("there is no GPU {ordinal}: this process sees {seen}");
            let hint = match std::env::var("CUDA_VISIBLE_DEVICES") {
                Ok(visible) => {
                    format!("CUDA_VISIBLE_DEVICES is `{visible}`, and indices count within it")
                }
                Err(_) => "`lpips doctor` lists the GPUs".to_owned(),
            };
            return Err(Refusal::environment(message).hint(hint));
        };
        if gpu.capability < CAPABILITY_MIN {
            let (major, minor) = gpu.capability;
            let message = format!(
                "GPU {ordinal}, a {}, has compute capability {major}.{minor}; 7.0 (Volta) or \
                 newer is needed",
                gpu.name
            );
            return Err(Refusal::environment(message).hint("use `--device cpu`"));
        }
        Ok(gpu)
    }

    /// The convolution engine for these models on these GPUs. cuDNN is joined by cuBLAS, if that
    /// can be used, where a model has convolutions that are plain products.
    ///
    /// # Errors
    /// A [`Refusal`] when no library for it can be used.
    pub fn engine(
        &self,
        wanted: ConvChoice,
        gpus: &[Gpu],
        models: &[Model],
    ) -> Result<Chosen, Refusal> {
        let named = |engine: ConvEngine, library: &Library| Chosen {
            engine,
            name: format!("{}-{}", engine.name(), library.version),
            identity: library.identity(engine.name()),
        };
        let cublas = || self.cublas(gpus).map(|library| named(ConvEngine::Cublas, library));
        let mut convs = models.iter().flat_map(|model| model.spec().convs());
        let has_products = convs.any(|conv| conv.kernel == 1);
        let cudnn = || {
            let alone = named(ConvEngine::Cudnn, self.cudnn(gpus)?);
            // Opened only where it is of use.
            let cublas = has_products.then(cublas);
            Ok(match cublas {
                Some(Ok(cublas)) => alone.with(&cublas),
                _ => alone,
            })
        };
        let found = match wanted {
            ConvChoice::Cudnn => cudnn(),
            ConvChoice::Cublas => cublas(),
            ConvChoice::Auto => cudnn().or_else(|problem| cublas().map_err(|_| problem)),
        };
        found.map_err(Problem::refusal)
    }

    /// Free and total bytes of a GPU. This creates its context.
    #[must_use]
    pub fn memory(&self, gpu: &Gpu) -> Option<(u64, u64)> {
        Context::new(gpu.ordinal).and_then(|context| context.memory()).ok()
    }
}

const BROKEN: &str = "see whether `nvidia-smi` works";

fn no_device(reason: &str) -> Problem {
    let hint = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => format!("CUDA_VISIBLE_DEVICES is `{visible}`; {BROKEN}"),
        Err(_) => format!("{BROKEN}; in a container, start it with access to the GPUs"),
    };
    Problem::new(format!("the driver was found, but no GPU can be used ({reason})"), hint)
}

/// Refuses environment variables that would silently change the numbers.
///
/// # Errors
/// A [`Refusal`] that names the variable.
pub fn refuse_environment(precision: Precision) -> Result<(), Refusal> {
    let is_set = |name: &str, off: &str| std::env::var(name).is_ok_and(|value| value != off);
    let set = match precision {
        // Overrides the program's choice to use tensor cores.
        Precision::Tf32 if is_set("NVIDIA_TF32_OVERRIDE", "1") => Some("NVIDIA_TF32_OVERRIDE"),
        // Splits float32 products into bfloat16 ones.
        _ if is_set("CUBLAS_EMULATE_SINGLE_PRECISION", "0") => {
            Some("CUBLAS_EMULATE_SINGLE_PRECISION")
        }
        _ => None,
    };
    match set {
        None => Ok(()),
        Some(name) => {
            let message = format!("{name} is set, which changes what `{precision}` computes");
            Err(Refusal::environment(message).hint(format!("unset {name}")))
        }
    }
}

fn find_driver(places: &Places) -> Result<Library, Problem> {
    if let Some(path) = places.driver() {
        preload(&path)?;
    }
    // SAFETY: only asks whether the library can be opened.
    if !unsafe { driver::sys::is_culib_present() } {
        return Err(Problem::new(
            "no NVIDIA driver was found (libcuda.so.1)",
            "install the driver, version 525 or newer; in a container, start it with access to the \
             GPUs (docker: --gpus all). `--device cpu` works without it",
        ));
    }
    // SAFETY: it is present.
    let library = unsafe { driver::sys::culib() };
    let path = files::mapped(address(library, "cuInit")).unwrap_or_else(|| "libcuda.so.1".into());
    require(library, symbols::DRIVER, &path)?;
    let version = driver_version().map_err(|fault| Problem::new(fault.to_string(), BROKEN))?;
    let text = format!("{}.{}", version / 1000, version % 1000 / 10);
    if version < DRIVER_MIN {
        return Err(Problem::new(
            format!("the NVIDIA driver is too old: it supports CUDA {text}"),
            "install version 525 (CUDA 12.0) or newer, or use `--device cpu`",
        ));
    }
    Ok(Library { version: text, path, uses: Vec::new() })
}

/// The first number of a version; 0 where there is none.
fn major(version: &str) -> i32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

impl Newest {
    /// The problem of a library for CUDA `cuda`, which is newer.
    fn too_new(&self, path: &Path, cuda: i32) -> Problem {
        let Newest { major, because, is_for_volta } = self;
        let path = path.display();
        let or_driver = if *is_for_volta { "" } else { "; or install a newer driver" };
        Problem::new(
            format!("`{path}` is for CUDA {cuda}, but {because}"),
            format!(
                "install the library for CUDA {major} (pip: the package that ends with \
                 -cu{major}), name its folder with `--cuda-libs` and take this one out of \
                 LD_LIBRARY_PATH, which comes first{or_driver}"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(ordinal: usize, name: &str, capability: (i32, i32)) -> Gpu {
        Gpu { ordinal, name: name.to_owned(), capability, processors: 108, total_bytes: 1 << 30 }
    }

    fn probe(gpus: Vec<Gpu>) -> Probe {
        let library =
            Library { version: "12.4".to_owned(), path: "libcuda.so.1".into(), uses: Vec::new() };
        let missing = || OnceLock::from(Err(Problem::new("not there", "install it")));
        let places = Places::new(&[]);
        Probe { driver: Ok(library), gpus, places, cudnn: missing(), cublas: missing() }
    }

    fn ordinals(chosen: Result<Vec<Gpu>, Refusal>) -> Vec<usize> {
        chosen.unwrap().iter().map(|gpu| gpu.ordinal).collect()
    }

    #[test]
    fn gpus_are_chosen_by_index_and_must_be_alike() {
        let one = probe(vec![gpu(0, "A", (9, 0)), gpu(1, "B", (8, 0)), gpu(2, "A", (9, 0))]);
        assert_eq!(ordinals(one.choose(&Gpus::First)), [0]);
        assert_eq!(ordinals(one.choose(&Gpus::These(vec![2, 0]))), [2, 0]);
        let error = one.choose(&Gpus::All).unwrap_err();
        assert!(crate::error::render(&error.into()).ends_with("`--device cuda:0,2`"));
        let error = one.choose(&Gpus::These(vec![3])).unwrap_err().to_string();
        assert_eq!(error, "there is no GPU 3: this process sees 0, 1, 2");
    }

    #[test]
    fn old_gpus_are_left_out_of_all_and_refused_by_index() {
        let one = probe(vec![gpu(0, "old", (6, 1)), gpu(1, "new", (7, 0))]);
        assert_eq!(ordinals(one.choose(&Gpus::All)), [1]);
        assert!(one.choose(&Gpus::First).unwrap_err().to_string().contains("capability 6.1"));
        let old = probe(vec![gpu(0, "old", (6, 1))]);
        assert!(old.choose(&Gpus::All).unwrap_err().to_string().contains("capability 6.1"));
    }

    #[test]
    fn the_first_number_of_a_version_is_compared() {
        assert_eq!((major("12.4"), major("13.0.2"), major("")), (12, 13, 0));
    }

    #[test]
    fn a_named_engine_does_not_fall_back() {
        let found = |version: &str| {
            let path = "libx.so".into();
            OnceLock::from(Ok(Library { version: version.to_owned(), path, uses: Vec::new() }))
        };
        let mut one = probe(Vec::new());
        let names = |one: &Probe| {
            [ConvChoice::Auto, ConvChoice::Cudnn, ConvChoice::Cublas]
                .map(|wanted| one.engine(wanted, &[], &[]).ok().map(|chosen| chosen.name))
        };
        assert_eq!(names(&one), [None, None, None]);
        one.cublas = found("12.4.5");
        let [cudnn, cublas] = ["cudnn-9.1.0", "cublas-12.4.5"].map(|name| Some(name.to_owned()));
        assert_eq!(names(&one), [cublas.clone(), None, cublas.clone()]);
        one.cudnn = found("9.1.0");
        assert_eq!(names(&one), [cudnn.clone(), cudnn, cublas]);
    }
}
