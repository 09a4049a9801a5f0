//! Calls that failed: what a status of the driver means, and what helps.
#![expect(unsafe_code, reason = "the driver is asked for names")]

use std::ffi::{c_char, c_int};

use cudarc::driver::sys::{self, CUresult};

use super::super::status::shown;

/// A call into CUDA that failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{call}: {reason}")]
pub(in crate::eval::cuda) struct Fault {
    /// The call, with the arguments that matter.
    pub(in crate::eval::cuda) call: String,
    /// The reason as the library names it.
    pub(in crate::eval::cuda) reason: String,
    /// The consequence for the device.
    pub(in crate::eval::cuda) kind: FaultKind,
    /// What helps against this reason, where that is known.
    pub(in crate::eval::cuda) remedy: Option<&'static str>,
}

/// What a [`Fault`] means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cuda) enum FaultKind {
    /// Device memory is short; everything done before remains valid.
    OutOfMemory,
    /// The library has no such operation for these shapes and types.
    Unsupported,
    /// The device or its context is no longer usable.
    Fatal,
}

impl Fault {
    pub(in crate::eval::cuda) fn new(
        call: impl Into<String>,
        reason: impl Into<String>,
        kind: FaultKind,
    ) -> Fault {
        Fault { call: call.into(), reason: reason.into(), kind, remedy: None }
    }

    pub(in crate::eval::cuda) fn with_remedy(self, remedy: Option<&'static str>) -> Fault {
        Fault { remedy, ..self }
    }

    /// Prefixes the call with its place.
    pub(in crate::eval::cuda) fn at(mut self, place: &str) -> Fault {
        self.call = format!("{place}: {}", self.call);
        self
    }
}

/// Names the call and its status in the error.
pub(in crate::eval::cuda) fn check(call: &str, status: c_int) -> Result<(), Fault> {
    if status == CUresult::CUDA_SUCCESS as c_int {
        return Ok(());
    }
    let kind = match status == CUresult::CUDA_ERROR_OUT_OF_MEMORY as c_int {
        true => FaultKind::OutOfMemory,
        false => FaultKind::Fatal,
    };
    Err(Fault::new(call, name(status), kind).with_remedy(remedy(status)))
}

/// The driver's name of a status. It needs no context for that.
fn name(status: c_int) -> String {
    type Name = unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int;
    let mut name = std::ptr::null();
    // SAFETY: the driver, which returned the status, writes null or text that it keeps.
    unsafe {
        if let Ok(function) = sys::culib().get::<Name>(b"cuGetErrorName") {
            function(status, &raw mut name);
        }
        shown(name, status)
    }
}

/// Calls a function of the driver, and names it in the error.
macro_rules! driver {
    ($name:ident($($argument:expr),* $(,)?)) => {
        check(stringify!($name).trim_end_matches("_v2"), call!(sys::$name($($argument),*)))
    };
}
pub(super) use driver;

/// What helps where the driver itself or its installation is the reason.
fn remedy(status: c_int) -> Option<&'static str> {
    const NO_COMPILER: c_int = CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND as c_int;
    const NO_COMPILATION: c_int = CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED as c_int;
    const UNAVAILABLE: c_int = CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE as c_int;
    const NOT_READY: c_int = CUresult::CUDA_ERROR_SYSTEM_NOT_READY as c_int;
    const MISMATCH: c_int = CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH as c_int;
    match status {
        NO_COMPILER => Some(
            "install the compiler that belongs to the driver, libnvidia-ptxjitcompiler; in a \
             container, give it the driver's `compute` capability",
        ),
        NO_COMPILATION => Some("unset CUDA_DISABLE_PTX_JIT and CUDA_DISABLE_JIT"),
        UNAVAILABLE => Some(
            "another process uses the GPU alone: wait for it, or set the compute mode with \
             `nvidia-smi -c DEFAULT`",
        ),
        NOT_READY => Some("start the service that connects the GPUs, nvidia-fabricmanager"),
        MISMATCH => Some(
            "the driver in use is not the one that is installed: reboot, or in a container use \
             the libraries of the host's driver",
        ),
        _ => None,
    }
}
