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

use super::places::{self, Cudnn, Places, version_in_name};
use super::{
    Library, Problem, address, is_same_file, not_opened, plainly_named, preload, require, symbols,
    too_new,
};

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

/// cuDNN 9, for CUDA `newest` or older.
pub(super) fn find(places: &Places, newest: i32) -> Result<Library, Problem> {
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
    let path = places::mapped(address(library, "cudnnGetVersion"));
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
        let reason = format!("`{}` is not cuDNN 9 (its version is {version})", path.display());
        return Err(Problem::new(reason, REMEDY));
    }
    let in_name = version_in_name(&path).filter(|name| name.matches('.').count() >= 2);
    if let Some(name) = in_name.filter(|name| !name.starts_with(&text)) {
        let folder = path.parent().unwrap_or(Path::new(""));
        return Err(incomplete(folder, &format!("the files are named {name}, but report {text}")));
    }
    if address(library, symbols::CUDNN_IF_PRESENT).is_some() {
        // SAFETY: as above, and the symbol is there.
        let cuda = (unsafe { sys::cudnnGetCudartVersion() } / 1000) as i32;
        if cuda > newest {
            return Err(too_new(&path, cuda, newest));
        }
    }
    Ok(Library { version: text, path })
}

/// Opens all parts for the life of the process, then the library itself.
fn open(cudnn: &Cudnn) -> Result<(), Problem> {
    let folder = cudnn.folder();
    if let Some(flaw) = cudnn.flaw() {
        return Err(incomplete(folder, &flaw));
    }
    let calls_it = |bytes: Vec<u8>| bytes.windows(FIRST_CALL.len()).any(|at| at == FIRST_CALL);
    let is_newer = fs_err::read(&cudnn.main).is_ok_and(calls_it);
    for (index, (name, path)) in cudnn.parts().enumerate() {
        // SAFETY: initialisers of cuDNN have no preconditions.
        let opened = unsafe { Part::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
        let part = opened.map_err(|error| {
            let error = anyhow::Error::from(error);
            incomplete(folder, &format!("`{name}` cannot be opened: {error:#}"))
        })?;
        let check = VERSION_CHECKS.iter().find(|(of, _)| *of == name);
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
    preload(&cudnn.main)
}

fn incomplete(folder: &Path, found: &str) -> Problem {
    let folder = folder.display();
    Problem::new(
        format!("cuDNN in `{folder}` is incomplete: expected all parts of one version; {found}"),
        "install it again (pip: install --force-reinstall nvidia-cudnn-cu12 or -cu13), or name \
         another folder with `--cuda-libs`; without it `--conv cublas` works, more slowly",
    )
}
