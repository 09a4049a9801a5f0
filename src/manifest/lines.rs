//! The lines of a text file: where each starts, and at most so many bytes of it. This module
//! refuses to know what is in a line.

use std::io::{BufRead as _, BufReader, ErrorKind, Result};
use std::path::Path;

use fs_err::File;

/// The most bytes of a record, so that a file without line breaks does not fill the memory.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads lines one after another, or from a given offset. A line ends with LF, CR LF or CR.
#[derive(Debug)]
pub(super) struct Lines {
    file: BufReader<File>,
    byte: u64,
    line: u64,
}

/// What [`Lines::append`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Appended {
    /// The end of the file.
    Nothing,
    /// A whole line with its end.
    Line,
    /// A line that does not fit into a record; it was skipped.
    TooLong,
}

impl Lines {
    /// Before the first line, behind a byte order mark.
    pub(super) fn open(path: &Path) -> Result<Lines> {
        let mut lines = Lines { file: BufReader::new(File::open(path)?), byte: 0, line: 0 };
        if lines.buffer()?.starts_with(BYTE_ORDER_MARK) {
            lines.consume(BYTE_ORDER_MARK.len());
        }
        Ok(lines)
    }

    /// Some of the next bytes; none at the end of the file.
    pub(super) fn start(&mut self) -> Result<&[u8]> {
        self.buffer()
    }

    /// Offset of the next line.
    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// Number of the line that was read last; lines count from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Continues at a line that starts at `byte`, after line `line`.
    pub(super) fn seek(&mut self, byte: u64, line: u64) -> Result<()> {
        // Offsets of files fit into i64. What is in the buffer is not read again.
        self.file.seek_relative(byte as i64 - self.byte as i64)?;
        (self.byte, self.line) = (byte, line);
        Ok(())
    }

    /// Appends the next line to `text`, up to [`RECORD_BYTES_MAX`] bytes.
    pub(super) fn append(&mut self, text: &mut Vec<u8>) -> Result<Appended> {
        let mut appended = Appended::Nothing;
        loop {
            let buffer = self.buffer()?;
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|&byte| byte == b'\n' || byte == b'\r');
            let last = end.map(|end| buffer[end]);
            let len = end.map_or(buffer.len(), |end| end + 1);
            let room = RECORD_BYTES_MAX.saturating_sub(text.len());
            text.extend(&buffer[..len.min(room)]);
            if len > room {
                appended = Appended::TooLong;
            } else if appended == Appended::Nothing {
                appended = Appended::Line;
            }
            self.consume(len);
            if last == Some(b'\r') && self.buffer()?.first() == Some(&b'\n') {
                text.push(b'\n');
                self.consume(1);
            }
            if last.is_some() {
                break;
            }
        }
        self.line += u64::from(appended != Appended::Nothing);
        Ok(appended)
    }

    fn buffer(&mut self) -> Result<&[u8]> {
        loop {
            match self.file.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        Ok(self.file.buffer())
    }

    fn consume(&mut self, len: usize) {
        self.file.consume(len);
        self.byte += len as u64;
    }
}
