//! LZW, which GIF and TIFF have in common.

use weezl::LzwStatus;
use weezl::decode::Decoder;

/// At most `len` bytes: as many as the codes give before their end, or before an error.
pub(super) fn decode(mut decoder: Decoder, codes: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let (mut read, mut written) = (0, 0);
    while written < len {
        let result = decoder.decode_bytes(&codes[read..], &mut bytes[written..]);
        read += result.consumed_in;
        written += result.consumed_out;
        match result.status {
            Ok(LzwStatus::Ok) if (result.consumed_in, result.consumed_out) != (0, 0) => {}
            _ => break,
        }
    }
    bytes.truncate(written);
    bytes
}
