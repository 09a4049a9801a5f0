//! The first directory of a TIFF or BigTIFF file: its tags and their values.

use std::io::{Read, Seek};

use super::super::fault::{Reason, damaged, unsupported};
use super::super::reader::{Order, Reader};
use super::FORMAT;

/// Most tags of a directory that are read; real files have some dozens.
const ENTRIES_MAX: u64 = 4096;
/// Bytes of a value by its type; 0 stands for types that do not exist.
const TYPE_BYTES: [u64; 19] = [0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8];
/// Types of unsigned integers: BYTE, SHORT, LONG, IFD, LONG8, IFD8.
const UNSIGNED: [u16; 6] = [1, 3, 4, 13, 16, 18];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    tag: u16,
    kind: u16,
    count: u64,
    /// Where the values are.
    at: u64,
}

/// A directory and the file that holds its values.
pub(in super::super) struct Directory<R> {
    reader: Reader<R>,
    pub(in super::super) order: Order,
    entries: Vec<Entry>,
}

impl<R: Read + Seek> Directory<R> {
    pub(in super::super) fn read(file: R) -> Result<Directory<R>, Reason> {
        let mut reader = Reader::new(file, FORMAT)?;
        let order = match &reader.array()? {
            b"II" => Order::Little,
            b"MM" => Order::Big,
            _ => return Err(damaged(FORMAT, "its byte order")),
        };
        let mut number = |bytes: usize| -> Result<u64, Reason> {
            Ok(order.number(&reader.bytes(bytes as u64)?))
        };
        // The version says how long counts and offsets are.
        let width = match number(2)? {
            42 => 4,
            43 => match (number(2)?, number(2)?) {
                (8, 0) => 8,
                (bytes, _) => {
                    let text = format_args!("BigTIFF with offsets of {bytes} bytes");
                    return Err(unsupported(FORMAT, text));
                }
            },
            version => return Err(unsupported(FORMAT, format_args!("version {version}"))),
        };
        let at = number(width)?;
        reader.seek(at)?;
        let count = order.number(&reader.bytes(if width == 8 { 8 } else { 2 })?);
        if count > ENTRIES_MAX {
            return Err(damaged(FORMAT, format_args!("a directory of {count} tags")));
        }
        let mut directory = Directory { reader, order, entries: Vec::new() };
        for _ in 0..count {
            directory.read_entry(width)?;
        }
        Ok(directory)
    }

    fn read_entry(&mut self, width: usize) -> Result<(), Reason> {
        let order = self.order;
        let [t0, t1, k0, k1] = self.reader.array()?;
        let (tag, kind) = (order.number(&[t0, t1]) as u16, order.number(&[k0, k1]) as u16);
        let count = order.number(&self.reader.bytes(width as u64)?);
        let inline = self.reader.position();
        let offset = order.number(&self.reader.bytes(width as u64)?);
        let bytes = TYPE_BYTES.get(usize::from(kind)).map_or(0, |&bytes| bytes);
        let is_inline = count.checked_mul(bytes).is_some_and(|len| len <= width as u64);
        let at = if is_inline { inline } else { offset };
        self.entries.push(Entry { tag, kind, count, at });
        Ok(())
    }

    /// Requires that the values of these tags lie in the file, whether or not they are needed: some
    /// readers, PIL among them, lose all tags behind one whose values are cut off.
    pub(in super::super) fn expect_values(&self, tags: &[u16]) -> Result<(), Reason> {
        let is_cut = |entry: &&Entry| {
            let width = TYPE_BYTES.get(usize::from(entry.kind)).map_or(0, |&bytes| bytes);
            let len = entry.count.saturating_mul(width);
            len > 0 && entry.at.saturating_add(len) > self.reader.len()
        };
        match self.entries.iter().filter(|entry| tags.contains(&entry.tag)).find(is_cut) {
            Some(Entry { tag, .. }) => {
                Err(damaged(FORMAT, format_args!("the values of tag {tag} are not in the file")))
            }
            None => Ok(()),
        }
    }

    /// Bytes of the file.
    pub(in super::super) fn file_len(&self) -> u64 {
        self.reader.len()
    }

    pub(in super::super) fn has(&self, tag: u16) -> bool {
        self.entries.iter().any(|entry| entry.tag == tag)
    }

    /// The unsigned integers of a tag; nothing if the tag is absent.
    pub(in super::super) fn numbers(&mut self, tag: u16) -> Result<Option<Vec<u64>>, Reason> {
        let mut found = self.entries.iter().filter(|entry| entry.tag == tag);
        let Some(&entry) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(damaged(FORMAT, format_args!("tag {tag} appears twice")));
        }
        if !UNSIGNED.contains(&entry.kind) || entry.count == 0 {
            let Entry { kind, count, .. } = entry;
            return Err(damaged(
                FORMAT,
                format_args!("tag {tag} has {count} values of type {kind}"),
            ));
        }
        let bytes = self.values(entry)?;
        let width = TYPE_BYTES[usize::from(entry.kind)] as usize;
        Ok(Some(bytes.chunks_exact(width).map(|value| self.order.number(value)).collect()))
    }

    /// The first unsigned integer of a tag.
    pub(in super::super) fn number(&mut self, tag: u16) -> Result<Option<u64>, Reason> {
        Ok(self.numbers(tag)?.and_then(|numbers| numbers.first().copied()))
    }

    /// The bytes of a tag that holds at most `limit`; nothing if it is absent or damaged.
    pub(in super::super) fn bytes(&mut self, tag: u16, limit: u64) -> Option<Vec<u8>> {
        let entry = self.entries.iter().find(|entry| entry.tag == tag).copied()?;
        let is_bytes = TYPE_BYTES.get(usize::from(entry.kind)) == Some(&1);
        (is_bytes && entry.count <= limit).then(|| self.values(entry).ok())?
    }

    /// Bytes of the file from `at`, as many as `N`.
    pub(in super::super) fn at<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Reason> {
        self.reader.seek(at)?;
        self.reader.array()
    }

    fn values(&mut self, entry: Entry) -> Result<Vec<u8>, Reason> {
        let bytes = entry.count.saturating_mul(TYPE_BYTES[usize::from(entry.kind)]);
        self.reader.seek(entry.at)?;
        self.reader.bytes(bytes)
    }
}
