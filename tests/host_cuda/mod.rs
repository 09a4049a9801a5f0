//! The kernels of `kernels/` compiled for the host, unchanged, with g++.
//!
//! `include/host_cuda.h` says how CUDA C++ becomes host C++ and what that does not show. This module
//! compiles (once for the same sources) and launches; [`objects`] gives the kernels for a shared object
//! instead.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use lpips::eval::cuda::signature::{Arg, ENTRIES, Element, Entry};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// Flags of every build: no contraction to fused multiply-adds, and vectors may alias their elements.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-g",
    "-fPIC",
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-include",
    "host_cuda.h",
];

/// What else a build watches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Checks {
    /// Addresses and undefined behaviour, each ending the process.
    Sanitizers,
    /// Nothing.
    None,
}

impl Checks {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Checks::Sanitizers => {
                &["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
            }
            // The machine's own conversions of halves: in software they cost most of the time.
            Checks::None => &["-O2", "-march=native"],
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where compiled things are kept between runs.
fn out() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("host_cuda")
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = |path: &PathBuf| {
        path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    };
    let mut files: Vec<PathBuf> = entries.filter(wanted).collect();
    files.sort();
    files
}

/// The kernels' sources and how to compile them.
pub(crate) struct Sources {
    folder: PathBuf,
    checks: Checks,
}

/// One file for the compiler: its text, and what it includes.
struct Unit {
    name: String,
    text: String,
    includes: Vec<PathBuf>,
}

impl Sources {
    /// The sources as they are.
    pub(crate) fn new(checks: Checks) -> Sources {
        Sources { folder: root().join("kernels"), checks }
    }

    /// A copy of the sources with one place of `file` replaced.
    ///
    /// # Panics
    /// When `from` does not occur exactly once in `file`: the fault would not be planted.
    pub(crate) fn with_fault(checks: Checks, (file, from, to): (&str, &str, &str)) -> Sources {
        let folder = out().join(format!("fault-{}", hash([file, from, to].map(str::as_bytes))));
        fs_err::create_dir_all(&folder).unwrap();
        for path in files(&root().join("kernels"), &["cu", "cuh"]) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let mut text = fs_err::read_to_string(&path).unwrap();
            if name == file {
                assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
                text = text.replace(from, to);
            }
            fs_err::write(folder.join(name), text).unwrap();
        }
        Sources { folder, checks }
    }

    /// Object files of `modules` (stems of `kernels/*.cu`), of the scheduler and of `own` (stems of
    /// files beside this one), compiled now or found compiled. Link them all.
    pub(crate) fn objects(&self, modules: &[&str], own: &[&str]) -> Vec<PathBuf> {
        // Tests of one process want the same files at the same time: the first compiles them.
        static COMPILING: Mutex<()> = Mutex::new(());
        let _turn = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
        let modules = modules.iter().map(|module| self.module(module));
        let own = own.iter().chain(&["fibers"]).map(|name| {
            let path = root().join(format!("tests/host_cuda/{name}.cpp"));
            let text = fs_err::read_to_string(path).unwrap();
            Unit { name: (*name).to_owned(), text, includes: Vec::new() }
        });
        let units: Vec<Unit> = modules.chain(own).collect();
        units.par_iter().map(|unit| self.object(unit)).collect()
    }

    /// A translation unit that holds a module and makes its entries known.
    fn module(&self, module: &str) -> Unit {
        let source = self.folder.join(format!("{module}.cu"));
        let entries = ENTRIES.iter().filter(|entry| entry.module == module);
        let known = entries.map(|entry| format!("HOST_CUDA_KERNEL({})\n", entry.name));
        let text = format!("#include \"{}\"\n{}", source.display(), known.collect::<String>());
        let includes = [vec![source], files(&self.folder, &["cuh"])].concat();
        Unit { name: module.to_owned(), text, includes }
    }

    /// The object file of a unit, in a folder named by all that goes into it.
    fn object(&self, unit: &Unit) -> PathBuf {
        let headers = root().join("tests/host_cuda/include");
        let mut parts = vec![format!("{FLAGS:?} {:?}\n{}", self.checks, unit.text).into_bytes()];
        for path in unit.includes.iter().chain(&files(&headers, &["h"])) {
            parts.push(fs_err::read(path).unwrap());
        }
        let folder = out().join(hash(parts.iter().map(Vec::as_slice)));
        let object = folder.join(format!("{}.o", unit.name));
        if !object.exists() {
            fs_err::create_dir_all(&folder).unwrap();
            // Made aside and renamed, so that a file that exists is complete.
            let aside = tempfile::tempdir_in(&folder).unwrap();
            let made = aside.path().join("made.o");
            let source = aside.path().join(format!("{}.cpp", unit.name));
            fs_err::write(&source, &unit.text).unwrap();
            let mut compiler = Command::new("g++");
            compiler.args(FLAGS).args(self.checks.flags()).arg("-I").arg(&headers);
            run(compiler.arg("-c").arg(&source).arg("-o").arg(&made));
            fs_err::rename(&made, &object).unwrap();
        }
        object
    }

    /// Compiles and starts a process that launches the kernels of `modules`.
    pub(crate) fn start(&self, modules: &[&str]) -> Runner {
        let objects = self.objects(modules, &["runner"]);
        let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = scratch.path().join("runner");
        // At a fixed place: where the kernel randomises much, gcc 12's AddressSanitizer sometimes finds
        // a program that may lie anywhere where its own heap should be.
        let mut linker = Command::new("g++");
        linker.arg("-no-pie").args(self.checks.flags()).args(objects);
        run(linker.arg("-o").arg(&program));
        let mut child = Command::new(&program)
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Runner { child, input, output, _program: scratch }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} does not start: {error}\nhint: install g++ (Debian: apt install g++)")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
}

/// A value of an argument, checked against the entry's table when it is launched.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    /// Bytes of a buffer before the launch.
    Buffer(Element, Vec<u8>),
    Null,
}

/// How a launch went wrong: what the process said before it ended.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

/// Forward, reverse, or shuffled by a seed above 1.
pub(crate) type Order = u64;

/// A process that launches kernels.
pub(crate) struct Runner {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    _program: tempfile::TempDir,
}

impl Drop for Runner {
    fn drop(&mut self) {
        // The process ends with its input.
        self.input = None;
        let _ = self.child.wait();
    }
}

impl Runner {
    /// Name and C++ signature of every kernel.
    pub(crate) fn list(&mut self) -> Vec<(String, String)> {
        self.input.as_mut().unwrap().write_all(b"list\n").unwrap();
        let lines = self.output.by_ref().lines().map(Result::unwrap);
        let lines = lines.take_while(|line| !line.is_empty());
        let split = |line: String| {
            let (name, signature) = line.split_once(": ").unwrap();
            (name.to_owned(), signature.trim_end_matches(',').to_owned())
        };
        lines.map(split).collect()
    }

    /// Launches `entry` on `items` of each of `groups`; gives back all buffers in order.
    ///
    /// # Panics
    /// When `values` do not fit the entry's table.
    pub(crate) fn launch(
        &mut self,
        entry: &Entry,
        (groups, items): (usize, usize),
        values: &[Value],
        order: Order,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let blocks = entry.blocks(groups as u64, items as u64).unwrap();
        let (name, threads, count) = (entry.name, entry.threads, values.len());
        let mut request =
            format!("launch {name} {blocks} {threads} {order} {count}\n").into_bytes();
        assert_eq!(count, entry.args.len(), "{name} takes other arguments");
        for (value, (argument, kind)) in values.iter().zip(entry.args) {
            assert!(fits(value, *kind), "{argument} of {name} is {kind:?}");
            match value {
                Value::U32(number) => {
                    request.push(b's');
                    request.extend(number.to_ne_bytes());
                }
                Value::F32(number) => {
                    request.push(b's');
                    request.extend(number.to_ne_bytes());
                }
                Value::Null => request.push(b'n'),
                Value::Buffer(_, bytes) => {
                    request.push(b'b');
                    request.extend((bytes.len() as u64).to_ne_bytes());
                    request.extend(bytes);
                }
            }
        }
        // A process that ended in an earlier launch refuses the request; its words follow below.
        let input = self.input.as_mut().unwrap();
        let sent = input.write_all(&request).and_then(|()| input.flush());
        let mut buffers = Vec::new();
        for value in values {
            let Value::Buffer(_, before) = value else { continue };
            let mut bytes = vec![0; before.len()];
            if sent.is_err() || self.output.read_exact(&mut bytes).is_err() {
                return Err(self.last_words());
            }
            buffers.push(bytes);
        }
        Ok(buffers)
    }

    fn last_words(&mut self) -> Fault {
        self.input = None;
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        let status = self.child.wait().unwrap();
        Fault(format!("{words}({status})"))
    }
}

fn fits(value: &Value, kind: Arg) -> bool {
    match (value, kind) {
        (Value::U32(_), Arg::U32) | (Value::F32(_), Arg::F32) => true,
        (Value::Null, Arg::OutOrNull(_)) => true,
        (Value::Buffer(element, bytes), kind) => {
            kind.element() == Some(*element) && bytes.len().is_multiple_of(element.bytes())
        }
        _ => false,
    }
}

/// How the C++ of an entry spells its arguments.
pub(crate) fn signature_of(entry: &Entry) -> String {
    let element = |element| match element {
        Element::U8 => "u8",
        Element::U32 => "u32",
        Element::F16 => "f16",
        Element::F32 => "f32",
        Element::F64 => "f64",
    };
    let spell = |kind: Arg| match kind {
        Arg::U32 => "u32".to_owned(),
        Arg::F32 => "f32".to_owned(),
        Arg::In(of) => format!("const {}*", element(of)),
        Arg::Out(of) | Arg::OutOrNull(of) | Arg::InOut(of) => format!("{}*", element(of)),
    };
    entry.args.iter().map(|(_, kind)| spell(*kind)).collect::<Vec<_>>().join(", ")
}
