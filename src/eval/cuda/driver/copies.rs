//! Copies within a device.
#![expect(unsafe_code, reason = "calls of the CUDA driver")]

use cudarc::driver::sys;

use super::super::status::call;
use super::{DevicePtr, Fault, Stream, check, driver};

/// Most bytes of one copy in one piece: the driver limits the length of a row.
const PIECE_BYTES_MAX: usize = 1 << 30;

impl Stream {
    /// Queues a copy of `rows` rows of `row_bytes` bytes from a source to a target on the device,
    /// each with the bytes from one row to the next.
    ///
    /// # Safety
    /// All of them must be allocated, and stay so until it is done.
    pub(in crate::eval::cuda) unsafe fn copy_rows(
        &self,
        (target, target_pitch): (DevicePtr, usize),
        (source, source_pitch): (DevicePtr, usize),
        row_bytes: usize,
        rows: usize,
    ) -> Result<(), Fault> {
        // The driver limits pitches, also that of a single row.
        let pitch = |pitch: usize| if rows == 1 { row_bytes } else { pitch };
        let copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            srcHost: std::ptr::null(),
            srcDevice: source.0,
            srcArray: std::ptr::null_mut(),
            srcPitch: pitch(source_pitch),
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: std::ptr::null_mut(),
            dstDevice: target.0,
            dstArray: std::ptr::null_mut(),
            dstPitch: pitch(target_pitch),
            WidthInBytes: row_bytes,
            Height: rows,
        };
        // SAFETY: guaranteed by the caller; the driver reads the descriptor before it returns.
        unsafe { driver!(cuMemcpy2DAsync_v2(&raw const copy, self.0)) }
    }

    /// Queues copies of the first `done` bytes of a buffer behind them, until there are `end`.
    ///
    /// # Safety
    /// As above, for all `end` bytes.
    pub(in crate::eval::cuda) unsafe fn repeat(
        &self,
        buffer: DevicePtr,
        mut done: usize,
        end: usize,
    ) -> Result<(), Fault> {
        let unit = done;
        while done < end {
            // From the first place that has what follows here: at most `unit` bytes are skipped.
            let start = done % unit;
            let bytes = (done - start).min(end - done).min(PIECE_BYTES_MAX);
            let (target, source) = (buffer.offset(done), buffer.offset(start));
            // SAFETY: guaranteed by the caller.
            unsafe { self.copy_rows((target, bytes), (source, bytes), bytes, 1)? };
            done += bytes;
        }
        Ok(())
    }
}
