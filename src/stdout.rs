//! Stdout, which is for data alone.
//!
//! A reader may close the pipe early, as `head` does. That ends the output, not the command: the
//! rest is discarded, and the exit code is that of the work.

use std::io::{self, ErrorKind, StdoutLock, Write};

/// A writer that discards everything once its reader has closed the pipe.
#[derive(Debug)]
pub struct Data<W> {
    out: W,
    is_closed: bool,
}

/// Stdout, locked.
#[must_use]
pub fn data() -> Data<StdoutLock<'static>> {
    Data { out: io::stdout().lock(), is_closed: false }
}

impl<W: Write> Data<W> {
    fn unless_closed<T>(
        &mut self,
        discarded: T,
        write: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.is_closed {
            return Ok(discarded);
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(discarded)
            }
            result => result,
        }
    }
}

impl<W: Write> Write for Data<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_closed(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_closed((), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_closed_pipe_discards_and_any_other_error_is_one() {
        let closed = ErrorKind::BrokenPipe;
        let mut data = Data { out: Failing(closed), is_closed: false };
        data.write_all(b"one").unwrap();
        data.write_all(b"two").unwrap();
        data.flush().unwrap();
        assert!(data.is_closed);
        let full = ErrorKind::StorageFull;
        let mut data = Data { out: Failing(full), is_closed: false };
        assert_eq!(data.write_all(b"one").unwrap_err().kind(), full);
    }
}
