//! Owners of the CUDA driver's handles: context, streams, events, memory, modules.
//!
//! Of cudarc this module uses the declarations, not the `safe` layer, which tracks every buffer
//! with two events (several driver calls per launch), returns some errors only from a later,
//! unrelated call, and panics when a handle of a lost device is dropped. Here nothing is tracked:
//! callers
//! order streams with their own [`Event`]s, and free memory only after synchronising. Dropping
//! never fails: the handles of a lost device vanish with its context.
//!
//! Everything except [`Context`] belongs to the thread that made it.
#![expect(unsafe_code, reason = "calls of the CUDA driver")]

mod copies;
mod fault;
mod module;
mod storage;

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::Arc;

use cudarc::driver::sys;

use self::fault::driver;
pub(super) use self::fault::{Fault, FaultKind, check};
pub(super) use self::module::{Function, Module};
pub(super) use self::storage::{DeviceBuffer, Pinned, PinnedPart};
use super::status::call;

/// An address in the memory of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DevicePtr(pub(super) sys::CUdeviceptr);

impl DevicePtr {
    /// The address `bytes` bytes further.
    pub(super) fn offset(self, bytes: usize) -> DevicePtr {
        DevicePtr(self.0 + bytes as u64)
    }

    pub(super) fn as_ptr(self) -> *const c_void {
        self.0 as *const c_void
    }

    pub(super) fn as_mut_ptr(self) -> *mut c_void {
        self.0 as *mut c_void
    }
}

/// The primary context of a GPU, retained until the last owner drops it.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: a primary context may be used from any thread that makes it current; the driver locks.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// Longest name of a GPU, with a zero at its end.
const NAME_BYTES: usize = 128;

/// The properties of a GPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpu {
    /// Its index among the GPUs that this process sees.
    pub ordinal: usize,
    /// Name of the model.
    pub name: String,
    /// Compute capability, such as (9, 0).
    pub capability: (i32, i32),
    /// Number of its multiprocessors.
    pub processors: i32,
    /// Bytes of memory.
    pub total_bytes: u64,
}

impl Gpu {
    /// Queries the driver, which must be initialised.
    pub(super) fn query(ordinal: usize) -> Result<Gpu, Fault> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as PROCESSORS,
        };
        let device = device(ordinal)?;
        let mut name = [0u8; NAME_BYTES];
        let length = NAME_BYTES as c_int;
        // SAFETY: the driver writes at most so many bytes, the last of which is zero.
        unsafe { driver!(cuDeviceGetName(name.as_mut_ptr().cast(), length, device))? };
        let name = CStr::from_bytes_until_nul(&name).unwrap_or_default().to_string_lossy().into();
        let attribute = |which: sys::CUdevice_attribute| -> Result<c_int, Fault> {
            let mut value = 0;
            // SAFETY: the driver writes one integer.
            unsafe { driver!(cuDeviceGetAttribute(&raw mut value, which, device))? };
            Ok(value)
        };
        let (major, minor, processors) =
            (attribute(MAJOR)?, attribute(MINOR)?, attribute(PROCESSORS)?);
        let mut total = 0;
        // SAFETY: as above.
        unsafe { driver!(cuDeviceTotalMem_v2(&raw mut total, device))? };
        let capability = (major, minor);
        Ok(Gpu { ordinal, name, capability, processors, total_bytes: total as u64 })
    }

    /// Whether both compute the same bits: they have the same name, and the same number of
    /// multiprocessors, by which libraries divide their work.
    pub(super) fn is_like(&self, other: &Gpu) -> bool {
        let model = |gpu: &Gpu| (gpu.name.clone(), gpu.capability, gpu.processors);
        model(self) == model(other)
    }

    /// Its name, and what distinguishes it from one of the same name.
    pub(super) fn model(&self, other: &Gpu) -> String {
        match self.name == other.name {
            true => format!("{} with {} multiprocessors", self.name, self.processors),
            false => self.name.clone(),
        }
    }
}

/// Initialises the driver and counts the GPUs that this process sees.
pub(super) fn device_count() -> Result<usize, Fault> {
    let mut count = 0;
    // SAFETY: the driver writes one integer.
    unsafe {
        driver!(cuInit(0))?;
        driver!(cuDeviceGetCount(&raw mut count))?;
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The driver's name of a GPU.
fn device(ordinal: usize) -> Result<sys::CUdevice, Fault> {
    let mut device = 0;
    // SAFETY: the driver writes one integer.
    unsafe { driver!(cuDeviceGet(&raw mut device, ordinal as c_int))? };
    Ok(device)
}

/// The CUDA version that the driver supports, such as 12020 for 12.2.
pub(super) fn driver_version() -> Result<i32, Fault> {
    let mut version = 0;
    // SAFETY: the driver writes one integer.
    unsafe { driver!(cuDriverGetVersion(&raw mut version))? };
    Ok(version)
}

impl Context {
    /// Retains the primary context of a GPU and makes it current on this thread.
    pub(super) fn new(ordinal: usize) -> Result<Arc<Context>, Fault> {
        let device = device(ordinal)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: `device` comes from cuDeviceGet; the context is released once, in drop.
        unsafe { driver!(cuDevicePrimaryCtxRetain(&raw mut handle, device))? };
        let context = Arc::new(Context { device, handle });
        context.make_current()?;
        Ok(context)
    }

    /// Does work while this context is current on the calling thread, and then makes the one
    /// current again that was before: the thread may be that of another GPU, or a caller's own.
    pub(super) fn while_current<R>(
        &self,
        work: impl FnOnce() -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        // SAFETY: the context is retained.
        unsafe { driver!(cuCtxPushCurrent_v2(self.handle))? };
        let done = work();
        let mut popped = std::ptr::null_mut();
        // SAFETY: the driver writes one handle.
        unsafe { driver!(cuCtxPopCurrent_v2(&raw mut popped))? };
        done
    }

    /// Makes this context current on the calling thread.
    fn make_current(&self) -> Result<(), Fault> {
        // SAFETY: the context is retained.
        unsafe { driver!(cuCtxSetCurrent(self.handle)) }
    }

    /// Waits for everything that was queued on the device. The context must be current.
    pub(super) fn synchronize(&self) -> Result<(), Fault> {
        // SAFETY: it takes nothing.
        unsafe { driver!(cuCtxSynchronize()) }
    }

    /// Free and total bytes. The context must be current.
    pub(super) fn memory(&self) -> Result<(u64, u64), Fault> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the driver writes two integers.
        unsafe { driver!(cuMemGetInfo_v2(&raw mut free, &raw mut total))? };
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained in `new`. A lost device returns an error, which changes nothing.
        let _ = unsafe { call!(sys::cuDevicePrimaryCtxRelease_v2(self.device)) };
    }
}

/// A queue of work that does not wait for the default stream.
#[derive(Debug)]
pub(super) struct Stream(sys::CUstream);

impl Stream {
    pub(super) fn new() -> Result<Stream, Fault> {
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint;
        let mut stream = std::ptr::null_mut();
        // SAFETY: the driver writes one handle, which is destroyed in drop.
        unsafe { driver!(cuStreamCreate(&raw mut stream, flags))? };
        Ok(Stream(stream))
    }

    pub(super) fn handle(&self) -> sys::CUstream {
        self.0
    }

    /// Everything queued from now on starts after the last record of `event` is reached.
    pub(super) fn wait(&self, event: &Event) -> Result<(), Fault> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT as c_uint;
        // SAFETY: both are alive.
        unsafe { driver!(cuStreamWaitEvent(self.0, event.0, flags)) }
    }

    pub(super) fn synchronize(&self) -> Result<(), Fault> {
        // SAFETY: the stream is alive.
        unsafe { driver!(cuStreamSynchronize(self.0)) }
    }

    /// Queues a copy from pinned memory.
    ///
    /// # Safety
    /// `source` must stay alive and unchanged until the copy is done; `target` must be large enough
    /// and stay allocated.
    pub(super) unsafe fn upload(&self, target: DevicePtr, source: &[u8]) -> Result<(), Fault> {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (bytes, source) = (source.len(), source.as_ptr().cast());
            driver!(cuMemcpyHtoDAsync_v2(target.0, source, bytes, self.0))
        }
    }

    /// Queues a copy to pinned memory.
    ///
    /// # Safety
    /// `target` must stay alive and unread until the copy is done; `source` must hold as many bytes
    /// and stay allocated.
    pub(super) unsafe fn download(
        &self,
        target: &mut [u8],
        source: DevicePtr,
    ) -> Result<(), Fault> {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (bytes, target) = (target.len(), target.as_mut_ptr().cast());
            driver!(cuMemcpyDtoHAsync_v2(target, source.0, bytes, self.0))
        }
    }

    /// Queues zeroing of `bytes` bytes.
    ///
    /// # Safety
    /// They must be allocated, and stay so until it is done.
    pub(super) unsafe fn zero(&self, target: DevicePtr, bytes: usize) -> Result<(), Fault> {
        // SAFETY: guaranteed by the caller.
        unsafe { driver!(cuMemsetD8Async(target.0, 0, bytes, self.0)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once.
        let _ = unsafe { call!(sys::cuStreamDestroy_v2(self.0)) };
    }
}

/// A point in a stream, without timing, which would need a newer driver than the rest. Waiting for
/// it sleeps, because decoding needs every core.
#[derive(Debug)]
pub(super) struct Event(sys::CUevent);

impl Event {
    pub(super) fn new() -> Result<Event, Fault> {
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32
            | sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32;
        let mut event = std::ptr::null_mut();
        // SAFETY: the driver writes one handle, which is destroyed in drop.
        unsafe { driver!(cuEventCreate(&raw mut event, flags))? };
        Ok(Event(event))
    }

    /// Moves the point behind everything that was queued on `stream`.
    pub(super) fn record(&self, stream: &Stream) -> Result<(), Fault> {
        // SAFETY: both are alive.
        unsafe { driver!(cuEventRecord(self.0, stream.0)) }
    }

    /// Waits until the point of the last record is reached.
    pub(super) fn synchronize(&self) -> Result<(), Fault> {
        // SAFETY: the event is alive.
        unsafe { driver!(cuEventSynchronize(self.0)) }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once.
        let _ = unsafe { call!(sys::cuEventDestroy_v2(self.0)) };
    }
}
