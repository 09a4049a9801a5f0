//! Strips and tiles: decompressed, without prediction, and put in their place.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use weezl::BitOrder;
use weezl::decode::Decoder;

use super::super::fault::{Reason, damaged};
use super::super::lzw;
use super::super::reader::Order;
use super::FORMAT;
use super::layout::{Compression, Kind, Layout};

/// The bytes of the image: rows of chunky pixels, each row starting with a byte of its own;
/// samples of several bytes have the highest first.
pub(super) fn image(bytes: &[u8], layout: &Layout) -> Result<Vec<u8>, Reason> {
    if layout.offsets.len() == 1 && layout.chunk == layout.size {
        return chunk(bytes, layout, 0);
    }
    let bits = usize::from(layout.kind.bits());
    let row_bytes = (layout.size.width * layout.samples * bits).div_ceil(8);
    let mut image = vec![0; row_bytes * layout.size.height];
    let across = layout.chunks_across();
    let chunks_per_plane = across * layout.chunks_down();
    for index in 0..layout.offsets.len() {
        let chunk = chunk(bytes, layout, index)?;
        let (plane, place) = (index / chunks_per_plane, index % chunks_per_plane);
        let left = place % across * layout.chunk.width;
        let top = place / across * layout.chunk.height;
        let width = layout.chunk.width.min(layout.size.width - left);
        let rows =
            chunk.chunks_exact(layout.row_bytes()).zip(image.chunks_exact_mut(row_bytes).skip(top));
        for (from, to) in rows {
            if layout.is_planar {
                let sample = bits / 8;
                let pixels = to.chunks_exact_mut(layout.samples * sample).skip(left);
                for (pixel, value) in pixels.zip(from.chunks_exact(sample)).take(width) {
                    pixel[plane * sample..][..sample].copy_from_slice(value);
                }
            } else {
                copy_bits(from, to, left * layout.samples * bits, width * layout.samples * bits);
            }
        }
    }
    Ok(image)
}

/// Copies the first `count` bits of `from` to `to` from bit `start` on, which starts a byte unless
/// tiles are narrower than their rows of bytes.
fn copy_bits(from: &[u8], to: &mut [u8], start: usize, count: usize) {
    if start.is_multiple_of(8) {
        let end = start.div_ceil(8) + count.div_ceil(8);
        to[start / 8..end].copy_from_slice(&from[..count.div_ceil(8)]);
        return;
    }
    for bit in 0..count {
        let value = from[bit / 8] >> (7 - bit % 8) & 1;
        let at = start + bit;
        to[at / 8] = to[at / 8] & !(0x80 >> (at % 8)) | value << (7 - at % 8);
    }
}

/// A strip or tile, decompressed.
fn chunk(bytes: &[u8], layout: &Layout, index: usize) -> Result<Vec<u8>, Reason> {
    let fault = |what: &dyn std::fmt::Display| {
        damaged(FORMAT, format_args!("strip or tile {index}: {what}"))
    };
    let start = layout.offsets[index] as usize;
    let stored = bytes.get(start..).and_then(|tail| tail.get(..layout.lens[index] as usize));
    let stored = stored.ok_or_else(|| fault(&"it is outside of the file"))?;
    let reversed: Vec<u8>;
    let stored = if layout.is_reversed {
        reversed = stored.iter().map(|byte| byte.reverse_bits()).collect();
        &reversed
    } else {
        stored
    };
    let len = layout.raw_len(index);
    let mut chunk = match layout.compression {
        Compression::None => stored.to_vec(),
        Compression::PackBits => unpack_bits(stored, len),
        Compression::Lzw => {
            lzw::decode(Decoder::with_tiff_size_switch(BitOrder::Msb, 8), stored, len)
        }
        Compression::Deflate => {
            let mut chunk = vec![0; len];
            let inflated = ZlibDecoder::new(stored).read_exact(&mut chunk);
            inflated.map_err(|error| fault(&error))?;
            chunk
        }
    };
    if chunk.len() < len {
        return Err(fault(&format_args!("{} bytes of {len}", chunk.len())));
    }
    chunk.truncate(len);
    predict(&mut chunk, layout);
    Ok(chunk)
}

/// At most `len` bytes: as far as the runs reach.
fn unpack_bits(mut runs: &[u8], len: usize) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(len);
    while chunk.len() < len {
        let Some((&head, rest)) = runs.split_first() else { break };
        let head = head as i8;
        runs = match (head, rest) {
            (-128, _) => rest,
            (0.., _) => {
                let count = (head as usize + 1).min(rest.len());
                chunk.extend_from_slice(&rest[..count]);
                &rest[count..]
            }
            (_, [value, rest @ ..]) => {
                chunk.resize(chunk.len() + usize::from(head.unsigned_abs()) + 1, *value);
                rest
            }
            (_, []) => break,
        };
    }
    chunk
}

/// Undoes prediction, and puts the highest byte of each sample first.
fn predict(chunk: &mut [u8], layout: &Layout) {
    let bytes = usize::from(layout.kind.bits() / 8);
    let step = layout.samples_per_chunk();
    if layout.predictor == 3 {
        // The bytes of a row: differences, first all highest bytes, then all second ones, ...
        for row in chunk.chunks_exact_mut(layout.row_bytes()) {
            for at in step..row.len() {
                row[at] = row[at].wrapping_add(row[at - step]);
            }
            let planes = row.to_vec();
            let samples = row.len() / bytes;
            for (at, byte) in row.iter_mut().enumerate() {
                *byte = planes[at % bytes * samples + at / bytes];
            }
        }
        return;
    }
    if layout.order == Order::Little && bytes > 1 {
        chunk.chunks_exact_mut(bytes).for_each(<[u8]>::reverse);
    }
    if layout.predictor == 2 {
        for row in chunk.chunks_exact_mut(layout.row_bytes()) {
            match layout.kind {
                Kind::Unsigned(8) => {
                    for at in step..row.len() {
                        row[at] = row[at].wrapping_add(row[at - step]);
                    }
                }
                Kind::Unsigned(_) => add_previous(row, step, |a, b| {
                    u16::from_be_bytes(a).wrapping_add(u16::from_be_bytes(b)).to_be_bytes()
                }),
                Kind::Float => add_previous(row, step, |a, b| {
                    u32::from_be_bytes(a).wrapping_add(u32::from_be_bytes(b)).to_be_bytes()
                }),
            }
        }
    }
}

/// Adds to each sample the one `step` samples before it.
fn add_previous<const N: usize>(
    row: &mut [u8],
    step: usize,
    add: impl Fn([u8; N], [u8; N]) -> [u8; N],
) {
    let samples = row.as_chunks_mut::<N>().0;
    for at in step..samples.len() {
        samples[at] = add(samples[at], samples[at - step]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_unpacked_up_to_the_length() {
        assert_eq!(unpack_bits(&[0xfe, 7, 1, 8, 9, 0x80, 0, 5], 6), [7, 7, 7, 8, 9, 5]);
        assert!(unpack_bits(&[0xfe], 6).is_empty());
        assert_eq!(unpack_bits(&[5, 1, 2], 6), [1, 2]);
    }

    #[test]
    fn bits_are_copied_to_any_place() {
        let mut to = [0xff, 0xff];
        copy_bits(&[0b0100_0000], &mut to, 3, 3);
        assert_eq!(to, [0b1110_1011, 0xff]);
        copy_bits(&[0b0101_0000], &mut to, 8, 4);
        assert_eq!(to[1], 0b0101_0000);
    }
}
