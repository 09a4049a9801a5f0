//! The first frame of a WebP file, composed by libwebp's decoder of animations, as PIL does for
//! every file.
#![allow(unsafe_code, reason = "libwebp is called through its C interface")]

use std::mem::MaybeUninit;
use std::ptr::{NonNull, null};

use libwebp_sys::{
    WebPAnimDecoder, WebPAnimDecoderDelete, WebPAnimDecoderGetInfo, WebPAnimDecoderGetNext,
    WebPAnimDecoderNew, WebPData,
};

use super::super::Size;

/// Size of the canvas, and its samples (row, column, RGBA) after the first frame.
///
/// # Errors
/// What libwebp could not do; it gives no reasons.
pub(super) fn first_frame(bytes: &[u8]) -> Result<(Size, Vec<u8>), &'static str> {
    let decoder = Decoder::new(bytes).ok_or("its chunks cannot be read")?;
    let size = decoder.size().ok_or("its canvas cannot be read")?;
    let rgba = decoder.next_frame(size).ok_or("its image data cannot be decoded")?;
    Ok((size, rgba))
}

/// A decoder, which reads `bytes` as long as it lives.
struct Decoder<'a> {
    decoder: NonNull<WebPAnimDecoder>,
    _bytes: std::marker::PhantomData<&'a [u8]>,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Option<Decoder<'a>> {
        let data = WebPData { bytes: bytes.as_ptr(), size: bytes.len() };
        // SAFETY: the data outlive the decoder, whose lifetime is theirs; no options means the
        // defaults. libwebp copies the pointer and the length, not the struct's address.
        let decoder = unsafe { WebPAnimDecoderNew(&data, null()) };
        Some(Decoder { decoder: NonNull::new(decoder)?, _bytes: std::marker::PhantomData })
    }

    fn size(&self) -> Option<Size> {
        let mut info = MaybeUninit::uninit();
        // SAFETY: the decoder is alive; on success the struct is filled.
        let info = unsafe {
            if WebPAnimDecoderGetInfo(self.decoder.as_ptr(), info.as_mut_ptr()) == 0 {
                return None;
            }
            info.assume_init()
        };
        Some(Size { width: info.canvas_width as usize, height: info.canvas_height as usize })
    }

    fn next_frame(&self, size: Size) -> Option<Vec<u8>> {
        let mut canvas = std::ptr::null_mut();
        let mut timestamp = 0;
        // SAFETY: the decoder is alive, and not shared with another thread.
        let is_decoded =
            unsafe { WebPAnimDecoderGetNext(self.decoder.as_ptr(), &mut canvas, &mut timestamp) };
        if is_decoded == 0 || canvas.is_null() {
            return None;
        }
        // SAFETY: libwebp keeps a canvas of four bytes for each pixel until the next call.
        Some(unsafe { std::slice::from_raw_parts(canvas, 4 * size.width * size.height) }.to_vec())
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // SAFETY: the decoder was made by libwebp and is freed once.
        unsafe { WebPAnimDecoderDelete(self.decoder.as_ptr()) };
    }
}
