//! UTF-16 text, as spreadsheets export it, becomes UTF-8.

use std::io::{Error, ErrorKind, Read, Result, Write};

/// Bytes that are decoded together.
const BLOCK_BYTES: usize = 1 << 16;

/// Order of the bytes of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Utf16 {
    Little,
    Big,
}

impl Utf16 {
    /// Recognises UTF-16 by its byte order mark, or by a first character that begins a table (a
    /// letter, a quote or a brace of ASCII) and cannot begin one in UTF-8.
    pub(super) fn recognise(start: &[u8]) -> Option<Utf16> {
        let begins = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'"' | b'{' | b',');
        match *start {
            // The mark of UTF-32, which begins with that of UTF-16.
            [0xff, 0xfe, 0, 0, ..] => None,
            [0xff, 0xfe, ..] => Some(Utf16::Little),
            [0xfe, 0xff, ..] => Some(Utf16::Big),
            [first, 0, ..] if begins(first) => Some(Utf16::Little),
            [0, first, ..] if begins(first) => Some(Utf16::Big),
            _ => None,
        }
    }

    /// Writes the text of `from` to `to` as UTF-8, without its byte order mark.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] for half a character; errors of `from` and `to`.
    pub(super) fn transcode(self, from: &mut impl Read, to: &mut impl Write) -> Result<()> {
        let mut bytes: Vec<u8> = Vec::with_capacity(BLOCK_BYTES);
        let mut units: Vec<u16> = Vec::with_capacity(BLOCK_BYTES / 2 + 1);
        let mut is_first = true;
        loop {
            bytes.clear();
            from.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut bytes)?;
            let is_last = bytes.len() < BLOCK_BYTES;
            if bytes.len() % 2 == 1 {
                return Err(Error::new(ErrorKind::InvalidData, "an odd number of bytes"));
            }
            let unit = |pair: &[u8]| match self {
                Utf16::Little => u16::from_le_bytes([pair[0], pair[1]]),
                Utf16::Big => u16::from_be_bytes([pair[0], pair[1]]),
            };
            units.extend(bytes.chunks_exact(2).map(unit));
            if std::mem::take(&mut is_first) && units.first() == Some(&0xfeff) {
                units.remove(0);
            }
            // A character of two units may be cut by the end of the block.
            let is_high = |unit: &u16| (0xd800..0xdc00).contains(unit);
            let cut = units.last().copied().filter(|last| is_high(last) && !is_last);
            units.truncate(units.len() - usize::from(cut.is_some()));
            let text: String = char::decode_utf16(units.drain(..))
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| Error::new(ErrorKind::InvalidData, "half a character"))?;
            to.write_all(text.as_bytes())?;
            units.extend(cut);
            if is_last {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_whatever_the_order_of_bytes_and_the_blocks() {
        // Characters of two units at every place of a block's end.
        for shift in 0..3 {
            let text = "x".repeat(shift) + &"é🦀,".repeat(BLOCK_BYTES / 4);
            for mark in ["", "\u{feff}"] {
                for (order, bytes_of) in [
                    (Utf16::Little, u16::to_le_bytes as fn(u16) -> [u8; 2]),
                    (Utf16::Big, u16::to_be_bytes),
                ] {
                    let marked = format!("{mark}{text}");
                    let bytes: Vec<u8> = marked.encode_utf16().flat_map(bytes_of).collect();
                    let mut found = Vec::new();
                    order.transcode(&mut &bytes[..], &mut found).unwrap();
                    assert!(found == text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn half_characters_are_errors() {
        for bytes in [&b"a"[..], &[0x00, 0xd8], &[0x00, 0xd8, b'a', 0]] {
            let error = Utf16::Little.transcode(&mut &bytes[..], &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn utf_16_is_recognised_with_and_without_a_mark() {
        for (start, expected) in [
            (&[0xff, 0xfe, b'r', 0][..], Some(Utf16::Little)),
            (&[0xfe, 0xff, 0, b'r'], Some(Utf16::Big)),
            (b"r\0e\0", Some(Utf16::Little)),
            (b"\0r\0e", Some(Utf16::Big)),
            (&[0xff, 0xfe, 0, 0], None),
            (b"ref,dist", None),
            (b"", None),
        ] {
            assert_eq!(Utf16::recognise(start), expected, "{start:?}");
        }
    }
}
