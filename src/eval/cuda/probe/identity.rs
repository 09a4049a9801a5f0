//! Which build of a library a file holds, read from the file without opening the library.
//!
//! Bits depend on libraries that cuDNN and cuBLAS open themselves, whose version is known only from
//! inside. Opening them to ask takes longer than all else that is done at start, so the stamp of
//! their linker stands for the version: it differs whenever the contents do.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use fs_err::File;

/// Bytes of the stamp that are shown.
const SHOWN_BYTES: usize = 4;
/// Type of a program header that locates notes.
const PT_NOTE: u32 = 4;
/// Type of the note with the stamp, whose owner is "GNU".
const NT_GNU_BUILD_ID: u32 = 3;
/// Notes are short; a file that states more is not read.
const NOTES_BYTES_MAX: u64 = 1 << 16;

/// The beginning of the build ID in hexadecimal; `None` where the file has none.
pub(super) fn build(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let header = read(&mut file, 0, 64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let start = u64::from_le_bytes(array(&header, 32)?);
    let (length, count) = (u16_at(&header, 54)?, u16_at(&header, 56)?);
    (0..u64::from(count)).find_map(|index| {
        let segment = read(&mut file, start + index * u64::from(length), 56)?;
        let offset = u64::from_le_bytes(array(&segment, 8)?);
        let bytes = u64::from_le_bytes(array(&segment, 32)?);
        let is_note = u32_at(&segment, 0)? == PT_NOTE && bytes <= NOTES_BYTES_MAX;
        let notes = if is_note { read(&mut file, offset, bytes)? } else { return None };
        build_id(&notes)
    })
}

/// The build ID among notes: each has the lengths of owner and contents and a type, then both,
/// padded to multiples of four.
fn build_id(mut notes: &[u8]) -> Option<String> {
    loop {
        let padded = |at| u32_at(notes, at).map(|length| (length as usize).next_multiple_of(4));
        let (owner, contents) = (padded(0)?, padded(4)?);
        let (kind, body) = (u32_at(notes, 8)?, notes.get(12..)?);
        if kind == NT_GNU_BUILD_ID && body.starts_with(b"GNU\0") {
            let stamp = body.get(owner..)?.get(..SHOWN_BYTES)?;
            return Some(stamp.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        notes = body.get(owner + contents..)?;
    }
}

fn read(file: &mut File, offset: u64, bytes: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut found = Vec::new();
    file.take(bytes).read_to_end(&mut found).ok()?;
    Some(found)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one segment of notes: one that is no build ID, then one that is.
    fn elf(stamp: [u8; 20]) -> Vec<u8> {
        let mut file = vec![0; 120];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 1;
        file[64] = 4;
        file[72] = 120;
        let note = |kind: u8, contents: &[u8]| {
            let lengths = [4, 0, 0, 0, contents.len() as u8, 0, 0, 0, kind, 0, 0, 0];
            [&lengths[..], b"GNU\0", contents].concat()
        };
        let notes = [note(5, &[0; 16]), note(3, &stamp)].concat();
        file[96] = notes.len() as u8;
        [file, notes].concat()
    }

    #[test]
    fn a_build_is_recognised_by_its_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library.so");
        let of = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            build(&path)
        };
        let mut stamp = [0x0b; 20];
        assert_eq!(of(&elf(stamp)).as_deref(), Some("0b0b0b0b"));
        stamp[1] = 0xa1;
        assert_eq!(of(&elf(stamp)).as_deref(), Some("0ba10b0b"));
        let whole = elf(stamp);
        for damaged in [&whole[..0], &whole[..70], &whole[..150], b"not a library"] {
            assert_eq!(of(damaged), None);
        }
        assert_eq!(build(&folder.path().join("absent.so")), None);
    }
}
