//! Finds CUDA's libraries and the GPUs, and reports why one cannot be used.
//!
//! Never panics and never ends the process, whatever is missing: a library is opened before cudarc
//! needs it, and every symbol is looked up before it is called. cuDNN, which can end the process,
//! is probed by a module of its own (`cudnn`).
#![expect(unsafe_code, reason = "opens shared libraries and looks symbols up")]

mod cublas;
mod cudnn;
mod places;
pub mod symbols;

use std::path::{Path, PathBuf};

use cudarc::driver;
use libloading::Library as Handle;

use self::places::Places;
use super::driver::{Context, Gpu, device_count, driver_version};
use super::{ConvChoice, ConvEngine, Gpus};
use crate::error::Refusal;
use crate::eval::Precision;

/// The oldest CUDA whose drivers load our kernels.
const DRIVER_MIN: i32 = 12_000;
/// The oldest architecture that our kernels are compiled for.
const CAPABILITY_MIN: (i32, i32) = (7, 0);

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
}

/// The libraries and GPUs that were found.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The driver; its version is the newest CUDA that it supports.
    pub driver: Result<Library, Problem>,
    /// The GPUs that this process sees, if the driver works.
    pub gpus: Vec<Gpu>,
    /// cuDNN 9.
    pub cudnn: Result<Library, Problem>,
    /// cuBLAS of CUDA 12 or 13.
    pub cublas: Result<Library, Problem>,
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
        // cuDNN uses libraries that were opened before it: cuBLAS, and the compiler for some
        // kernels.
        let newest = driver.as_ref().map_or(i32::MAX, |library| major(&library.version));
        let cublas = cublas::find(&places, newest);
        places.compiler(newest).iter().for_each(|file| drop(preload(file)));
        let cudnn = cudnn::find(&places, newest);
        Probe { driver, gpus, cudnn, cublas }
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
        if let Some(other) = chosen.iter().find(|gpu| gpu.name != first.name) {
            let alike = chosen.iter().filter(|gpu| gpu.name == first.name);
            let alike: Vec<String> = alike.map(|gpu| gpu.ordinal.to_string()).collect();
            return Err(Refusal::environment(format!(
                "GPU {} is a {}, GPU {} a {}: bits differ between models, and a run has one \
                 numerics class",
                first.ordinal, first.name, other.ordinal, other.name
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

    /// The convolution engine, and its name with the version.
    ///
    /// # Errors
    /// A [`Refusal`] when the library was not found.
    pub fn engine(&self, wanted: ConvChoice) -> Result<(ConvEngine, String), Refusal> {
        let named = |engine: ConvEngine, library: &Library| {
            (engine, format!("{}-{}", engine.name(), library.version))
        };
        match (wanted, &self.cudnn, &self.cublas) {
            (ConvChoice::Auto | ConvChoice::Cudnn, Ok(cudnn), _) => {
                Ok(named(ConvEngine::Cudnn, cudnn))
            }
            (ConvChoice::Auto | ConvChoice::Cublas, _, Ok(cublas)) => {
                Ok(named(ConvEngine::Cublas, cublas))
            }
            (ConvChoice::Cudnn | ConvChoice::Auto, Err(problem), _)
            | (ConvChoice::Cublas, _, Err(problem)) => Err(problem.refusal()),
        }
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

/// Opens a file for the life of the process.
fn preload(path: &Path) -> Result<(), Problem> {
    // SAFETY: the initialisers of NVIDIA's libraries have no preconditions. If the user names a
    // folder with other files of that name, they are trusted.
    match unsafe { Handle::new(path) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            let reason = format!("`{}` cannot be opened: {error:#}", path.display());
            Err(Problem::new(reason, "reinstall it, or name another folder with `--cuda-libs`"))
        }
    }
}

/// The file that the loader finds under a plain name such as `libcudnn.so`, which development
/// packages install. cudarc tries that name first, and a file that was opened by its path does not
/// match it. So this file is used whatever else there is, and the parts that are opened must belong
/// to it. Opens it for the life of the process.
fn plainly_named(name: &str, symbol: &str) -> Option<PathBuf> {
    // SAFETY: as in `preload`.
    let library = unsafe { Handle::new(name) }.ok()?;
    let path = places::mapped(address(&library, symbol));
    std::mem::forget(library);
    path
}

/// The loader uses `taken` for a library, not `opened`.
fn not_opened(taken: &Path, opened: &Path, plain_name: &str) -> Problem {
    let folder = opened.parent().unwrap_or(Path::new("")).display();
    let file = opened.file_name().unwrap_or_default().display();
    Problem::new(
        format!("the loader uses `{}`, but `{}` was chosen", taken.display(), opened.display()),
        format!(
            "omit `--cuda-libs` and {LIBRARIES_VARIABLE} to use the first; to use the other, run \
             `ln -s {file} {folder}/{plain_name}` and start with LD_LIBRARY_PATH={folder}"
        ),
    )
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs_err::canonicalize(path).ok();
    real(one).is_some_and(|one| Some(one) == real(other))
}

/// Checks that the library has every symbol.
fn require(library: &Handle, names: &[&str], path: &Path) -> Result<(), Problem> {
    let missing = names.iter().find(|name| address(library, name).is_none());
    match missing {
        None => Ok(()),
        Some(name) => {
            let reason = format!("`{}` has no `{name}`", path.display());
            Err(Problem::new(reason, "install a newer version"))
        }
    }
}

fn address(library: &Handle, name: &str) -> Option<usize> {
    // SAFETY: the symbol is only looked up, as an address; it is not called through this type.
    let symbol = unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) };
    symbol.ok().map(|symbol| *symbol as usize)
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
    let path = places::mapped(address(library, "cuInit")).unwrap_or_else(|| "libcuda.so.1".into());
    require(library, symbols::DRIVER, &path)?;
    let version = driver_version().map_err(|fault| Problem::new(fault.to_string(), BROKEN))?;
    let text = format!("{}.{}", version / 1000, version % 1000 / 10);
    if version < DRIVER_MIN {
        return Err(Problem::new(
            format!("the NVIDIA driver is too old: it supports CUDA {text}"),
            "install version 525 (CUDA 12.0) or newer, or use `--device cpu`",
        ));
    }
    Ok(Library { version: text, path })
}

/// The first number of a version; 0 where there is none.
fn major(version: &str) -> i32 {
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}

/// A library that is too new for a driver of CUDA `newest`.
fn too_new(path: &Path, cuda: i32, newest: i32) -> Problem {
    let path = path.display();
    Problem::new(
        format!("`{path}` is for CUDA {cuda}, but the driver supports at most CUDA {newest}"),
        format!(
            "install the library for CUDA {newest} (pip: the package that ends with -cu{newest}), \
             name its folder with `--cuda-libs` and take this one out of LD_LIBRARY_PATH, which \
             comes first; or install a newer driver"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(ordinal: usize, name: &str, capability: (i32, i32)) -> Gpu {
        Gpu { ordinal, name: name.to_owned(), capability, total_bytes: 1 << 30 }
    }

    fn probe(gpus: Vec<Gpu>) -> Probe {
        let library = Library { version: "12.4".to_owned(), path: "libcuda.so.1".into() };
        let missing = || Err(Problem::new("not there", "install it"));
        Probe { driver: Ok(library), gpus, cudnn: missing(), cublas: missing() }
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
        let mut one = probe(Vec::new());
        assert!(one.engine(ConvChoice::Auto).is_err());
        one.cublas = Ok(Library { version: "12.4.5".to_owned(), path: "b".into() });
        let cublas = Ok((ConvEngine::Cublas, "cublas-12.4.5".to_owned()));
        assert_eq!(one.engine(ConvChoice::Auto), cublas);
        assert!(one.engine(ConvChoice::Cudnn).is_err());
        one.cudnn = Ok(Library { version: "9.1.0".to_owned(), path: "d".into() });
        let cudnn = Ok((ConvEngine::Cudnn, "cudnn-9.1.0".to_owned()));
        assert_eq!(one.engine(ConvChoice::Auto), cudnn);
        assert_eq!(one.engine(ConvChoice::Cublas), cublas);
    }
}
