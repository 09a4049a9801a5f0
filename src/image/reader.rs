//! Reads the fields of headers from files of which little is read, or from bytes.

use std::io::{Read, Seek, SeekFrom};

use super::fault::{Reason, damaged};

/// A file, read from its start, whose faults name its format.
pub(super) struct Reader<R> {
    file: R,
    format: &'static str,
    len: u64,
    at: u64,
}

/// The bytes of a number, first the highest or the lowest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    /// A number of at most eight bytes.
    pub(super) fn number(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, &byte: &u8| number << 8 | u64::from(byte);
        match self {
            Order::Big => bytes.iter().fold(0, add),
            Order::Little => bytes.iter().rev().fold(0, add),
        }
    }
}

impl<R: Read + Seek> Reader<R> {
    pub(super) fn new(mut file: R, format: &'static str) -> Result<Reader<R>, Reason> {
        let fault = |error| damaged(format, error);
        let len = file.seek(SeekFrom::End(0)).map_err(fault)?;
        file.rewind().map_err(fault)?;
        Ok(Reader { file, format, len, at: 0 })
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the next byte is read.
    pub(super) fn position(&self) -> u64 {
        self.at
    }

    /// Moves to a position, which may be beyond the end.
    pub(super) fn seek(&mut self, to: u64) -> Result<(), Reason> {
        let distance = i64::try_from(i128::from(to) - i128::from(self.at));
        // Relative, so that a buffered file keeps what it has read.
        let moved = distance.map(|distance| self.file.seek_relative(distance));
        if !matches!(moved, Ok(Ok(()))) {
            return Err(damaged(self.format, format_args!("the offset {to}")));
        }
        self.at = to;
        Ok(())
    }

    /// Leaves out `count` bytes, which must be there.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), Reason> {
        let to = self.at.saturating_add(count);
        if to > self.len {
            return Err(self.ends_early());
        }
        self.seek(to)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        self.array().map(|[byte]| byte)
    }

    /// `count` bytes, which must be there: what is allocated is never more than the file is long.
    pub(super) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Reason> {
        if count > self.len.saturating_sub(self.at) {
            return Err(self.ends_early());
        }
        let mut bytes = vec![0; count as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Reason> {
        self.file.read_exact(bytes).map_err(|_| self.ends_early())?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn ends_early(&self) -> Reason {
        damaged(self.format, format_args!("the file ends at byte {}", self.len))
    }
}
