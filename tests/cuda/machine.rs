//! Imagined machines: the unmodified program against the stand-ins of tests/fake_cuda.
//!
//! With LPIPS_REQUIRE_CUDA=1 every machine is this one, as it is: the tests run on its GPU, fail where
//! it has none, and those that need a simulated one say so and end ([`is_simulated`]).
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use lpips::eval::cuda::signature::MODULES;
use lpips::eval::cuda::{Config, Limits};
use lpips::eval::{ConvChoice, Gpus, Precision};

use crate::host_cuda::{Checks, Sources};

/// Whether every machine is this one.
pub(crate) fn is_real() -> bool {
    std::env::var("LPIPS_REQUIRE_CUDA").is_ok_and(|value| value == "1")
}

/// For tests that a real machine cannot serve: whether to continue; if not, prints SKIPPED.
pub(crate) fn is_simulated() -> bool {
    if is_real() {
        eprintln!("SKIPPED: LPIPS_REQUIRE_CUDA is 1, and only a simulated machine shows this");
    }
    !is_real()
}

/// Runs the body of the test `name` of this binary where CUDA works: here on a real GPU, else in a
/// process of its own on a simulated machine.
#[track_caller]
pub(crate) fn where_cuda_is(name: &str, body: impl FnOnce()) {
    let is_there_already = std::env::var_os("FAKE_CUDA_REPORT").is_some();
    if is_real() || is_there_already {
        return body();
    }
    let mut test = Command::new(std::env::current_exe().unwrap());
    let ran = Machine::new().run(test.args([name, "--exact", "--nocapture"]));
    let printed = String::from_utf8_lossy(&ran.output.stdout);
    eprint!("{}", ran.expect(0).stderr());
    assert!(printed.contains("1 passed"), "there is no test {name}: {printed}");
    assert!(ran.calls("cuLaunchKernel") > 0, "{name} does not use CUDA");
}

/// One GPU of this machine.
pub(crate) fn cuda_config(conv: ConvChoice, precision: Precision, limits: Limits) -> Config {
    Config {
        gpus: Gpus::First,
        precision,
        conv,
        pairs_max: None,
        memory: None,
        limits,
        notify: |_| (),
    }
}

/// What cuDNN loads from its own folder; without one of them it ends the process.
pub(crate) const CUDNN_PARTS: [&str; 7] =
    ["graph", "ops", "cnn", "adv", "heuristic", "engines_precompiled", "engines_runtime_compiled"];

/// A part of newer versions, which it opens where the loader finds one.
pub(crate) const CUDNN_LATER_PART: &str = "libcudnn_engines_tensor_ir.so.9";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compiler(args: &[&str]) -> Command {
    let mut command = Command::new("g++");
    command.args(["-std=c++17", "-fPIC"]).args(args);
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{error}: the stand-ins for the NVIDIA libraries need g++ (apt install g++)")
    });
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.collect();
    files.sort();
    files
}

fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files = files_in(folder);
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

/// One source of the stand-ins. An object's name holds a hash of all that it is made from.
struct Unit {
    name: String,
    source: PathBuf,
    object: PathBuf,
}

fn units() -> Vec<Unit> {
    let sources = root().join("tests/fake_cuda");
    let mut headers = DefaultHasher::new();
    include_str!("machine.rs").hash(&mut headers);
    for header in files_with(&sources, "h") {
        fs_err::read(&header).unwrap().hash(&mut headers);
    }
    let objects = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake_cuda_objects");
    let unit = |source: PathBuf| {
        let name = source.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut state = headers.clone();
        fs_err::read(&source).unwrap().hash(&mut state);
        let object = objects.join(format!("{name}-{:016x}.o", state.finish()));
        Unit { name, source, object }
    };
    files_with(&sources, "cpp").into_iter().map(unit).collect()
}

impl Unit {
    /// Compiles it, unless that was done before.
    fn compile(&self) {
        if self.object.exists() {
            return;
        }
        let objects = self.object.parent().unwrap();
        fs_err::create_dir_all(objects).unwrap();
        let making = tempfile::tempdir_in(objects).unwrap();
        let object = making.path().join("made.o");
        let level = if self.is_library() { "-O3" } else { "-O1" };
        let mut command = compiler(&[level, "-march=native", "-c", "-I"]);
        command.arg(root().join("tests/host_cuda/include")).arg(&self.source);
        succeed(command.arg("-o").arg(&object));
        fs_err::rename(&object, &self.object).unwrap();
    }

    /// Whether it is a library of its own; everything else belongs to the driver.
    fn is_library(&self) -> bool {
        ["cudnn", "cudnn_part", "cublas"].contains(&self.name.as_str())
    }
}

/// The compiled stand-ins: made once for each state of their sources.
struct StandIns {
    folder: PathBuf,
    units: Vec<Unit>,
    /// Our own kernels.
    kernels: Vec<PathBuf>,
}

fn stand_ins() -> &'static StandIns {
    static STAND_INS: OnceLock<StandIns> = OnceLock::new();
    STAND_INS.get_or_init(|| {
        let units = units();
        let mut state = DefaultHasher::new();
        units.iter().for_each(|unit| unit.object.hash(&mut state));
        let kernels = Sources::new(Checks::None).objects(&MODULES, &[]);
        kernels.hash(&mut state);
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = scratch.join(format!("fake_cuda-{:016x}", state.finish()));
        if !folder.exists() {
            std::thread::scope(|scope| {
                for unit in &units {
                    scope.spawn(|| unit.compile());
                }
            });
            // Under another name until it is whole: tests may run in several processes.
            let making = tempfile::tempdir_in(scratch).unwrap();
            link_all(&units, &kernels, making.path());
            if let Err(error) = fs_err::rename(making.path(), &folder) {
                assert!(folder.exists(), "{error}");
            }
        }
        StandIns { folder, units, kernels }
    })
}

fn link_all(units: &[Unit], kernels: &[PathBuf], folder: &Path) {
    link_driver(units, kernels, folder, "");
    let object = |name: &str| &units.iter().find(|unit| unit.name == name).unwrap().object;
    for (name, library) in [("cudnn", "libcudnn.so.9"), ("cublas", "libcublas.so.12")] {
        let mut command = linker(folder, library);
        succeed(command.arg(object(name)).arg("-L").arg(folder).arg("-l:libcuda.so.1"));
    }
    let parts = CUDNN_PARTS.map(|part| format!("libcudnn_{part}.so.9"));
    for library in parts.iter().map(String::as_str).chain([CUDNN_LATER_PART]) {
        succeed(linker(folder, library).arg(object("cudnn_part")));
    }
    succeed(&mut linker(folder, "libcublasLt.so.12"));
}

fn linker(folder: &Path, library: &str) -> Command {
    let mut command = compiler(&["-shared", "-Wl,-z,nodelete"]);
    command.arg(format!("-Wl,-soname,{library}")).arg("-o").arg(folder.join(library));
    command
}

/// Links the driver without exporting the symbol `hidden`.
fn link_driver(units: &[Unit], kernels: &[PathBuf], folder: &Path, hidden: &str) {
    let script = folder.join("symbols");
    let hidden = if hidden.is_empty() { "nothing" } else { hidden };
    fs_err::write(&script, format!("{{ global: *; local: {hidden}; }};")).unwrap();
    let mut command = linker(folder, "libcuda.so.1");
    command.arg(format!("-Wl,--version-script={}", script.display()));
    command.args(units.iter().filter(|unit| !unit.is_library()).map(|unit| &unit.object));
    succeed(command.args(kernels));
}

/// A machine that a program can run on.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    program: PathBuf,
}

impl Machine {
    /// One GPU of compute capability 9.0 with 8 GiB, driver 13.0, cuDNN and cuBLAS.
    pub(crate) fn new() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let program = env!("CARGO_BIN_EXE_lpips").into();
        let machine = Machine { folder, settings: Vec::new(), program };
        if !is_real() {
            for library in fs_err::read_dir(&stand_ins().folder).unwrap() {
                let library = library.unwrap();
                symlink(library.path(), machine.libraries().join(library.file_name())).unwrap();
            }
        }
        machine
    }

    /// The folder of its libraries.
    pub(crate) fn libraries(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Machine {
        self.settings.push((name, value.to_string()));
        self
    }

    pub(crate) fn gpus(self, count: usize) -> Machine {
        self.set("FAKE_CUDA_GPUS", count)
    }

    pub(crate) fn schedule(self, schedule: &str) -> Machine {
        self.set("FAKE_CUDA_SCHEDULE", schedule)
    }

    /// The `nth` call of `function` returns `code`; sticky codes strike at execution.
    pub(crate) fn fail(self, function: &str, nth: usize, code: i32) -> Machine {
        self.set("FAKE_CUDA_FAIL", format!("{function}:{nth}:{code}"))
    }

    /// What a wrong program would do.
    pub(crate) fn plant(self, fault: &str) -> Machine {
        self.set("FAKE_CUDA_PLANT", fault)
    }

    /// A library that was never installed.
    pub(crate) fn without(self, library: &str) -> Machine {
        fs_err::remove_file(self.folder.path().join(library)).unwrap();
        self
    }

    /// A library under another name.
    pub(crate) fn rename(self, library: &str, name: &str) -> Machine {
        fs_err::rename(self.folder.path().join(library), self.folder.path().join(name)).unwrap();
        self
    }

    /// A library that is another file.
    pub(crate) fn replace(self, library: &str, bytes: &[u8]) -> Machine {
        let machine = self.without(library);
        fs_err::write(machine.folder.path().join(library), bytes).unwrap();
        machine
    }

    /// Another build of the library that cuBLAS and cuDNN use.
    pub(crate) fn other_cublas_lt(self) -> Machine {
        let machine = self.without("libcublasLt.so.12");
        let mut command = linker(machine.libraries(), "libcublasLt.so.12");
        succeed(command.arg("-Wl,--defsym,another_build=1"));
        machine
    }

    /// A driver that lacks a function.
    pub(crate) fn without_symbol(self, symbol: &str) -> Machine {
        let machine = self.without("libcuda.so.1").without("symbols");
        let StandIns { units, kernels, .. } = stand_ins();
        link_driver(units, kernels, machine.libraries(), symbol);
        machine
    }

    /// Libraries other than the driver's are Python packages below `site`.
    pub(crate) fn with_packages(self, site: &Path) -> Machine {
        let names =
            files_in(self.libraries()).into_iter().map(|path| path.file_name().unwrap().to_owned());
        for name in names.filter(|name| name != "libcuda.so.1") {
            let text = name.to_str().unwrap();
            let package = if text.starts_with("libcudnn") { "cudnn" } else { "cublas" };
            let lib = site.join("nvidia").join(package).join("lib");
            fs_err::create_dir_all(&lib).unwrap();
            fs_err::rename(self.libraries().join(&name), lib.join(&name)).unwrap();
        }
        self
    }

    /// Another build of the program than the one that is tested.
    pub(crate) fn program(self, program: &Path) -> Machine {
        Machine { program: program.to_owned(), ..self }
    }

    /// The program is installed at `path`.
    pub(crate) fn installed_at(mut self, path: &Path) -> Machine {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::hard_link(&self.program, path).unwrap();
        self.program = path.to_owned();
        self
    }

    /// Runs the program in `folder`.
    pub(crate) fn lpips(&self, folder: &Path, args: &[&str]) -> Ran {
        let mut command = Command::new(&self.program);
        self.run(command.current_dir(folder).args(args).env_remove("LPIPS_WEIGHTS_DIR"))
    }

    fn run(&self, command: &mut Command) -> Ran {
        let printed = tempfile::tempdir().unwrap();
        let (trace, report) = (printed.path().join("trace"), printed.path().join("report"));
        if !is_real() {
            self.imagine(command);
            command.env("FAKE_CUDA_TRACE", &trace).env("FAKE_CUDA_REPORT", &report);
        }
        let output = command.output().unwrap();
        let read = |path| fs_err::read_to_string(path).unwrap_or_default();
        Ran { output, trace: read(&trace), report: read(&report) }
    }

    /// Lets a command see this machine and nothing of the one that it runs on.
    fn imagine(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("FAKE_CU") || name.starts_with("LPIPS_") {
                command.env_remove(name);
            }
        }
        // No NVIDIA library of this machine's Python, if it has any.
        command.env_remove("VIRTUAL_ENV").env_remove("CONDA_PREFIX").env("PATH", "");
        command.env("HOME", self.libraries()).env_remove("PYTHONUSERBASE");
        command.env("LD_LIBRARY_PATH", self.libraries());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
    }
}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) output: Output,
    /// Every call of the libraries, and what they were asked for.
    pub(crate) trace: String,
    /// What the stand-ins found wrong, a line each; empty for a correct program.
    pub(crate) report: String,
}

impl Ran {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// How often a function was called.
    pub(crate) fn calls(&self, function: &str) -> usize {
        self.trace.lines().filter(|line| line.split(' ').next() == Some(function)).count()
    }

    /// What cuDNN and cuBLAS were called with, each kind of call once.
    pub(crate) fn convolved(&self) -> BTreeSet<String> {
        let is_one = |line: &&str| line.starts_with("convolution ") || line.starts_with("product ");
        self.trace.lines().filter(is_one).map(String::from).collect()
    }

    /// Asserts the exit code, and that the stand-ins found nothing wrong.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32) -> &Ran {
        let printed = self.stderr();
        assert!(self.report.is_empty(), "the stand-ins report:\n{}\n{printed}", self.report);
        assert_eq!(self.output.status.code(), Some(code), "{printed}");
        assert!(!printed.contains("panicked"), "{printed}");
        self
    }
}
