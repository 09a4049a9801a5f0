//! Decodes into memory of a caller: in place where the samples of a file are those that are wanted,
//! by a copy elsewhere.

use std::io::Cursor;

use super::fault::Reason;
use super::format::Format;
use super::{
    AsPixels as _, Depth, Header, Image, PixelSlice, Range, Rules, Size, Stamp, Traits, check_size,
    crop, decode_as, guarded, header_as, jpeg, npy, png,
};

/// Decodes the content of a file into memory that `lend` gives.
pub(super) fn decode<M: AsMut<[u8]>>(
    format: Format,
    bytes: &[u8],
    rules: &Rules,
    lend: impl FnOnce(Size, Depth) -> M,
) -> Result<Image<M>, Reason> {
    let Header { size, traits } = header_as(format, Cursor::new(bytes))?;
    check_size(size, rules)?;
    let is_whole = crop::window(size, rules).is_ok_and(|window| window.size == size);
    let is_unchanged = is_whole && rules.range == Range::Unit;
    if let Some(decode_rgb) = rgb_decoder(format, bytes, traits).filter(|_| is_unchanged) {
        let mut pixels = lend(size, Depth::U8);
        let to = pixels.as_mut();
        assert_eq!(to.len(), size.samples(), "memory for an image of {size}");
        guarded(|| decode_rgb(bytes, size, to))?;
        return Ok(Image { size, pixels, white: Some(255), traits, stamp: Stamp::default() });
    }
    let image = decode_as(format, bytes, rules)?;
    let mut pixels = lend(image.size, image.depth());
    let to = pixels.as_mut();
    match image.pixels() {
        PixelSlice::U8(samples) => to.copy_from_slice(samples),
        PixelSlice::F32(samples) => to.copy_from_slice(bytemuck::cast_slice(samples)),
    }
    Ok(image.stored(|_| pixels))
}

/// Writes bytes of (row, column, RGB) of an image of a size.
type RgbDecoder = fn(&[u8], Size, &mut [u8]) -> Result<(), Reason>;

/// What decodes a file whose samples are bytes of (row, column, RGB) into any memory.
fn rgb_decoder(format: Format, bytes: &[u8], traits: Traits) -> Option<RgbDecoder> {
    match format {
        Format::Png if png::is_rgb(bytes, traits) => Some(png::decode_rgb),
        Format::Jpeg => Some(jpeg::decode_rgb),
        Format::Npy if npy::is_rgb(bytes) => Some(npy::decode_rgb),
        _ => None,
    }
}
