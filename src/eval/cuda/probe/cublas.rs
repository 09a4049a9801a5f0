//! Finds cuBLAS, and the library that it depends on.
#![expect(unsafe_code, reason = "calls what shared libraries export")]

use std::ffi::c_int;

use cudarc::cublas::sys;

use super::files;
use super::loader::{address, is_same_file, not_opened, plainly_named, preload, require};
use super::places::Places;
use super::{Library, Newest, Problem, major, symbols};
use crate::eval::cuda::status::call;

/// cuBLAS of CUDA 12 or 13, for CUDA `newest` or older.
pub(super) fn find(places: &Places, newest: &Newest) -> Result<Library, Problem> {
    const REMEDY: &str = "install cuBLAS of CUDA 12 or 13 (pip: nvidia-cublas-cu12), or name its \
                          folder with `--cuda-libs`";
    let plain = plainly_named("libcublas.so", "cublasCreate_v2");
    let chosen = match plain {
        Some(_) => places.named().cublas(newest.major),
        None => places.cublas(newest.major),
    };
    chosen.iter().flatten().try_for_each(|file| preload(file))?;
    // SAFETY: this only checks whether the library can be opened.
    if !unsafe { sys::is_culib_present() } {
        if let Some([.., newer]) = places.cublas(i32::MAX).as_deref() {
            let named = newer.extension().unwrap_or_default().to_string_lossy();
            return Err(newest.too_new(newer, major(&named)));
        }
        return Err(Problem::new("cuBLAS was not found (libcublas.so.12 or .13)", REMEDY));
    }
    // SAFETY: it is present.
    let library = unsafe { sys::culib() };
    let path = files::mapped(address(library, "cublasCreate_v2"));
    let path = path.unwrap_or_else(|| "libcublas.so".into());
    let chosen = chosen.as_ref().and_then(|files| files.last());
    if let Some(chosen) = chosen.filter(|chosen| !is_same_file(chosen, &path)) {
        return Err(not_opened(&path, chosen, "libcublas.so"));
    }
    require(library, symbols::CUBLAS, &path)?;
    let part = |which| {
        let mut value: c_int = 0;
        // SAFETY: cuBLAS writes one integer; no handle is needed.
        let status = unsafe { call!(sys::cublasGetProperty(which, &raw mut value)) };
        (status == 0).then_some(value)
    };
    use sys::libraryPropertyType_t::{MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
    let version = [MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL].map(part);
    match version {
        [Some(major), ..] if major > newest.major => Err(newest.too_new(&path, major)),
        [Some(major), Some(minor), Some(patch)] if major >= 12 => {
            let uses = files::mapped_library("libcublasLt.so").into_iter().collect();
            Ok(Library { version: format!("{major}.{minor}.{patch}"), path, uses })
        }
        [Some(major), ..] => {
            let reason = format!("`{}` is cuBLAS {major}: too old", path.display());
            Err(Problem::new(reason, REMEDY))
        }
        _ => Err(Problem::new(format!("`{}` does not report its version", path.display()), REMEDY)),
    }
}
