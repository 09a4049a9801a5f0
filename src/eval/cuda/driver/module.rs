//! Modules of kernels: PTX text that the driver compiles, or what was assembled from it.
#![expect(unsafe_code, reason = "calls of the CUDA driver")]

use std::ffi::{CString, c_void};

use cudarc::driver::sys;

use super::super::status::call;
use super::{Fault, FaultKind, check};

/// Kernels that were loaded for the device of the current context.
#[derive(Debug)]
pub(in crate::eval::cuda) struct Module(sys::CUmodule);

/// One kernel; valid while its [`Module`] is.
#[derive(Clone, Copy, Debug)]
pub(in crate::eval::cuda) struct Function(pub(in crate::eval::cuda) sys::CUfunction);

/// Bytes of the buffer for the compiler's messages.
const JIT_LOG_BYTES: usize = 4096;

impl Module {
    /// Loads a cubin, or PTX text, which the driver compiles.
    pub(in crate::eval::cuda) fn load(name: &str, image: &[u8]) -> Result<Module, Fault> {
        let call = format!("cuModuleLoadDataEx of `{name}`");
        // Text must end with a zero, and files of machine code are read in words.
        let mut source = vec![0u64; image.len() / size_of::<u64>() + 1];
        bytemuck::cast_slice_mut(&mut source)[..image.len()].copy_from_slice(image);
        let mut log = [0u8; JIT_LOG_BYTES];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), JIT_LOG_BYTES as *mut c_void];
        let mut module = std::ptr::null_mut();
        // SAFETY: the image ends with a zero; options and values are two each, and live.
        let status = unsafe {
            call!(sys::cuModuleLoadDataEx(
                &raw mut module,
                source.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            ))
        };
        check(&call, status).map_err(|mut fault| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(JIT_LOG_BYTES);
            let log = String::from_utf8_lossy(&log[..end]);
            fault.reason = format!("{} {}", fault.reason, log.trim()).trim_end().to_owned();
            fault
        })?;
        Ok(Module(module))
    }

    /// Looks up a kernel by the name of its entry.
    pub(in crate::eval::cuda) fn function(&self, entry: &str) -> Result<Function, Fault> {
        let call = format!("cuModuleGetFunction of `{entry}`");
        let name = CString::new(entry)
            .map_err(|_| Fault::new(call.as_str(), "a name with a zero byte", FaultKind::Fatal))?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded; the driver writes one handle.
        let status =
            unsafe { call!(sys::cuModuleGetFunction(&raw mut function, self.0, name.as_ptr())) };
        check(&call, status)?;
        Ok(Function(function))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, unloaded once.
        let _ = unsafe { call!(sys::cuModuleUnload(self.0)) };
    }
}
