//! The files of maps. (General `.npy` files are read by [`crate::image`].)

use crate::image::Size;

/// Magic, version and length of the header, the header, padding: always so many bytes.
const START_BYTES: usize = 128;

/// A file of little-endian float32 and shape (height, width).
pub(super) fn bytes(size: Size, map: &[f32]) -> Vec<u8> {
    let Size { width, height } = size;
    let text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
    let text_bytes = START_BYTES - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text_bytes as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = text_bytes - 1).bytes());
    bytes.extend(map.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// How many bytes there are.
pub(super) fn len_bytes(size: Size) -> u64 {
    (START_BYTES + 4 * size.width * size.height) as u64
}

/// Reads what [`bytes`] made; `None` for anything else.
pub(super) fn parse(bytes: &[u8]) -> Option<(Size, Vec<f32>)> {
    let text = std::str::from_utf8(bytes.get(10..START_BYTES)?).ok()?;
    let shape = text.split_once("'shape': (")?.1.split_once(')')?.0;
    let (height, width) = shape.split_once(", ")?;
    let size = Size { width: width.parse().ok()?, height: height.parse().ok()? };
    let values = bytes[START_BYTES..].as_chunks::<4>().0;
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    (values.len() == size.width.checked_mul(size.height)?).then_some((size, values))
}
