//! Owners of memory: on a device, and page-locked on the host.
#![expect(unsafe_code, reason = "calls of the CUDA driver")]

use std::sync::Arc;

use cudarc::driver::sys;

use super::super::status::call;
use super::{Context, DevicePtr, Fault, check, driver};
use crate::batch::Staging;

/// Memory of a device. Before it is dropped, all work that uses it must have been synchronised
/// with.
#[derive(Debug)]
pub(in crate::eval::cuda) struct DeviceBuffer {
    ptr: DevicePtr,
    len_bytes: usize,
}

impl DeviceBuffer {
    /// No memory.
    pub(in crate::eval::cuda) const EMPTY: DeviceBuffer =
        DeviceBuffer { ptr: DevicePtr(0), len_bytes: 0 };

    /// Allocates memory with unspecified content.
    pub(in crate::eval::cuda) fn new(len_bytes: usize) -> Result<DeviceBuffer, Fault> {
        if len_bytes == 0 {
            return Ok(DeviceBuffer::EMPTY);
        }
        let mut ptr = 0;
        // SAFETY: the driver writes one address, which is freed once, in drop.
        unsafe { driver!(cuMemAlloc_v2(&raw mut ptr, len_bytes)) }
            .map_err(|fault| fault.at(&format!("{len_bytes} bytes")))?;
        Ok(DeviceBuffer { ptr: DevicePtr(ptr), len_bytes })
    }

    pub(in crate::eval::cuda) fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    pub(in crate::eval::cuda) fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if self.len_bytes > 0 {
            // SAFETY: allocated in `new`, freed once.
            let _ = unsafe { call!(sys::cuMemFree_v2(self.ptr.0)) };
        }
    }
}

/// Page-locked host memory that every GPU of the process can copy from and to.
#[derive(Debug)]
pub(in crate::eval::cuda) struct Pinned {
    ptr: *mut u8,
    len_bytes: usize,
    context: Arc<Context>,
}

// SAFETY: this is plain host memory with one owner; `drop` makes its context current meanwhile.
unsafe impl Send for Pinned {}
// SAFETY: shared references only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Allocates zeros. The memory is cached by the CPU (not write-combined: decoders write it in
    /// pieces, and results are read).
    pub(in crate::eval::cuda) fn new(
        context: &Arc<Context>,
        len_bytes: usize,
    ) -> Result<Pinned, Fault> {
        let len_bytes = len_bytes.max(1);
        let mut ptr = std::ptr::null_mut();
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE;
        // SAFETY: the driver writes one address, which is freed once, in drop.
        let allocate = || unsafe { driver!(cuMemHostAlloc(&raw mut ptr, len_bytes, flags)) };
        let allocated = context.while_current(allocate);
        let pinned = Pinned { ptr: ptr.cast(), len_bytes, context: Arc::clone(context) };
        allocated.map_err(|fault| fault.at(&format!("{len_bytes} bytes")))?;
        // SAFETY: `ptr` points to `len_bytes` bytes that have no other owner yet.
        unsafe { pinned.ptr.write_bytes(0, len_bytes) };
        Ok(pinned)
    }

    pub(in crate::eval::cuda) fn bytes(&self) -> &[u8] {
        // SAFETY: allocated and initialised in `new`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len_bytes) }
    }

    pub(in crate::eval::cuda) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.len_bytes) }
    }

    /// Parts of `len_bytes`, each with one owner. They begin at cache lines.
    pub(in crate::eval::cuda) fn split(self, len_bytes: usize) -> Vec<PinnedPart> {
        let step = len_bytes.next_multiple_of(64).max(64);
        let (count, whole) = (self.len_bytes / step, Arc::new(self));
        let part = |index| PinnedPart { whole: Arc::clone(&whole), start: index * step, len_bytes };
        (0..count).map(part).collect()
    }
}

/// A part of page-locked memory, which no other part overlaps.
#[derive(Debug)]
pub(in crate::eval::cuda) struct PinnedPart {
    /// Accessed through its parts only.
    whole: Arc<Pinned>,
    start: usize,
    len_bytes: usize,
}

impl Staging for PinnedPart {
    fn bytes(&self) -> &[u8] {
        // SAFETY: within the memory that `Pinned::new` initialised, and of this part alone.
        unsafe { std::slice::from_raw_parts(self.whole.ptr.add(self.start), self.len_bytes) }
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.whole.ptr.add(self.start), self.len_bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.ptr.is_null() {
            return;
        }
        // SAFETY: allocated in `new`, freed once. A lost device returns an error.
        let free = || unsafe { driver!(cuMemFreeHost(self.ptr.cast())) };
        drop(self.context.while_current(free));
    }
}
