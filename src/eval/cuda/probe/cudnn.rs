//! Finds cuDNN, which can end the process, and calls it only when that is safe.
//!
//! `libcudnn.so.9` contains no code. At the first call of a function it opens one of its parts by
//! name and looks up the function there; if either fails, it calls `abort`. So the parts are opened
//! here first, all from its own folder and with all their symbols, which fails with a message for
//! most mixtures of versions. Then each part is asked whether its version matches those of the
//! parts that it uses. (Tested with every mixture of one part of 9.1.0 or 9.10.2 with the others of
//! the other.)
#![expect(unsafe_code, reason = "opens shared libraries and calls what they export")]

use std::ffi::c_int;
use std::path::Path;

use cudarc::cudnn::sys;
use libloading::os::unix::{Library as Part, RTLD_LOCAL, RTLD_NOW};

use super::files;
use super::loader::{address, is_same_file, not_opened, plainly_named, preload, require};
use super::places::{Cudnn, Places, version_in_name};
use super::{Library, Newest, Problem, symbols};

const REMEDY: &str = "install cuDNN 9 (pip: nvidia-cudnn-cu12 or -cu13), or name its folder with \
                      `--cuda-libs`; without it `--conv cublas` works, more slowly";

/// Functions of parts that report whether their version matches that of the parts below them.
const VERSION_CHECKS: [(&str, &[u8]); 4] = [
    ("libcudnn_graph.so.9", b"cudnnGraphVersionCheck"),
    ("libcudnn_ops.so.9", b"cudnnOpsVersionCheck"),
    ("libcudnn_cnn.so.9", b"cudnnCnnVersionCheck"),
    ("libcudnn_adv.so.9", b"cudnnAdvVersionCheck"),
];

/// The function of its first part that a newer `libcudnn.so.9` calls before all others. Older parts
/// lack it.
const FIRST_CALL: &[u8] = b"cudnnGetLibConfig";

/// Parts that newer versions of cuDNN 9 have and open by name, if the loader finds them.
const LATER_PARTS: [&str; 2] = ["libcudnn_engines_tensor_ir.so.9", "libcudnn_ext.so.9"];

/// The first version that does not support Volta, as cuDNN writes it.
const WITHOUT_VOLTA: usize = 91_100;

/// cuDNN 9, for CUDA `newest` or older.
pub(super) fn find(places: &Places, newest: &Newest) -> Result<Library, Problem> {
    let plain = plainly_named("libcudnn.so", "cudnnGetVersion");
    let found = match plain {
        Some(main) => places.named().cudnn().or(Some(Cudnn { main })),
        None => places.cudnn(),
    };
    found.as_ref().map_or(Ok(()), open)?;
    // SAFETY: this only checks whether the library can be opened.
    if !unsafe { sys::is_culib_present() } {
        return Err(Problem::new("cuDNN was not found (libcudnn.so.9)", REMEDY));
    }
    // SAFETY: it is present.
    let library = unsafe { sys::culib() };
    let path = files::mapped(address(library, "cudnnGetVersion"));
    let path = path.unwrap_or_else(|| "libcudnn.so.9".into());
    match &found {
        // The loader may find another library first, whose parts are not those that were opened.
        Some(opened) if !is_same_file(&opened.main, &path) => {
            return Err(not_opened(&path, &opened.main, "libcudnn.so"));
        }
        Some(_) => {}
        // Only the loader knows where it is.
        None => open(&Cudnn { main: path.clone() })?,
    }
    require(library, symbols::CUDNN, &path)?;
    // SAFETY: all parts are open and of one version; no handle is needed.
    let version = unsafe { sys::cudnnGetVersion() };
    let text = format!("{}.{}.{}", version / 10_000, version % 10_000 / 100, version % 100);
    if !(90_000..100_000).contains(&version) {
        return Err(of_another_major(&path, &text));
    }
    let in_name = version_in_name(&path).filter(|name| name.matches('.').count() >= 2);
    if let Some(name) = in_name.filter(|name| !name.starts_with(&text)) {
        let folder = path.parent().unwrap_or(Path::new(""));
        return Err(incomplete(folder, &format!("the files are named {name}, but report {text}")));
    }
    if newest.is_for_volta && version >= WITHOUT_VOLTA {
        return Err(Problem::new(
            format!("`{}` is cuDNN {text}, which does not support GPUs of Volta", path.display()),
            "install cuDNN 9.10 for CUDA 12 (pip: nvidia-cudnn-cu12==9.10.2.21); without it \
             `--conv cublas` works, more slowly",
        ));
    }
    let mut cuda = newest.major;
    if address(library, symbols::CUDNN_IF_PRESENT).is_some() {
        // SAFETY: as above, and the symbol is there.
        cuda = (unsafe { sys::cudnnGetCudartVersion() } / 1000) as i32;
        if cuda > newest.major {
            return Err(newest.too_new(&path, cuda));
        }
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    // cuDNN needs the compiler for some kernels and opens it by name, which fails where only we
    // know its folder.
    let compiler = places.compiler(cuda);
    compiler.iter().for_each(|file| drop(preload(file)));
    let cublas = places.cublas_lt_of_cudnn(folder, cuda);
    let uses = cublas.into_iter().chain(compiler.last().cloned()).collect();
    Ok(Library { version: text, path, uses })
}

/// Opens all parts for the life of the process, then the library itself.
fn open(cudnn: &Cudnn) -> Result<(), Problem> {
    let folder = cudnn.folder();
    let in_name = version_in_name(&cudnn.main);
    if let Some(other) = in_name.filter(|name| name.split('.').next() != Some("9")) {
        return Err(of_another_major(&cudnn.main, &other));
    }
    if let Some(flaw) = cudnn.flaw() {
        return Err(incomplete(folder, &flaw));
    }
    let is_newer = holds(&cudnn.main, FIRST_CALL);
    let parts = cudnn.parts();
    for (index, (name, path)) in parts.iter().enumerate() {
        // SAFETY: initialisers of cuDNN have no preconditions.
        let opened = unsafe { Part::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let part = opened.map_err(|error| {
            let error = anyhow::Error::from(error);
            incomplete(folder, &format!("`{name}` cannot be opened: {error:#}"))
        })?;
        let check = VERSION_CHECKS.iter().find(|(of, _)| of == name);
        // SAFETY: it is a function of cuDNN without arguments that returns a status. The loader has
        // opened what it needs together with the part.
        let status = check.and_then(|(_, check)| unsafe {
            part.get::<unsafe extern "C" fn() -> c_int>(*check).ok().map(|check| check())
        });
        if status.is_some_and(|status| status != 0) {
            return Err(incomplete(
                folder,
                &format!("`{name}` is of another version than the parts that it uses"),
            ));
        }
        // SAFETY: the symbol is only looked up.
        let has_it = unsafe { part.get::<unsafe extern "C" fn()>(FIRST_CALL).is_ok() };
        if index == 0 && is_newer && !has_it {
            return Err(incomplete(folder, &format!("`libcudnn.so.9` is newer than `{name}`")));
        }
        std::mem::forget(part);
    }
    for later in LATER_PARTS {
        if !parts.iter().any(|(name, _)| name == later) {
            expect_nowhere_else(cudnn, later)?;
        }
    }
    preload(&cudnn.main)
}

/// A part that this cuDNN would open, and that is not beside it, must not be of another one: cuDNN
/// would take it, find its version to differ, and refuse to work.
fn expect_nowhere_else(cudnn: &Cudnn, name: &str) -> Result<(), Problem> {
    // SAFETY: as of other parts.
    let Ok(part) = (unsafe { Part::open(Some(name), RTLD_NOW | RTLD_LOCAL) }) else {
        return Ok(());
    };
    std::mem::forget(part);
    let stem = name.trim_end_matches(".9");
    // Older versions do not know it.
    let parts = cudnn.parts();
    let mut callers = [&cudnn.main].into_iter().chain(parts.iter().take(1).map(|(_, path)| path));
    if !callers.any(|caller| holds(caller, stem.as_bytes())) {
        return Ok(());
    }
    let elsewhere = files::mapped_library(stem).unwrap_or_default();
    Err(incomplete(
        cudnn.folder(),
        &format!("there is no `{name}`, and the loader takes `{}` instead", elsewhere.display()),
    ))
}

/// Whether the file contains these bytes.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    fs_err::read(path).is_ok_and(|file| file.windows(bytes.len()).any(|found| found == bytes))
}

fn of_another_major(path: &Path, version: &str) -> Problem {
    Problem::new(
        format!("`{}` is cuDNN {version}, not cuDNN 9", path.display()),
        "install cuDNN 9 (pip: nvidia-cudnn-cu12 or -cu13) and take the other one out of \
         LD_LIBRARY_PATH; without it `--conv cublas` works, more slowly",
    )
}

fn incomplete(folder: &Path, found: &str) -> Problem {
    let folder = folder.display();
    Problem::new(
        format!("cuDNN in `{folder}` is incomplete: expected all parts of one version; {found}"),
        "install it again (pip: install --force-reinstall nvidia-cudnn-cu12 or -cu13), or name \
         another folder with `--cuda-libs`; without it `--conv cublas` works, more slowly",
    )
}
