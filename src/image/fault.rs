//! Why a file gives no image: damaged, not supported, not an image, or not readable at all.

use std::error::Error as _;
use std::fmt::Display;
use std::io;

use crate::code::Code;
use crate::system;

/// Why a file gives no image.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ImageError {
    path: String,
    code: Code,
    reason: String,
    /// What the system reported, if it is an error of the machine.
    #[source]
    of_machine: Option<io::Error>,
}

impl ImageError {
    pub(super) fn new(path: String, fault: Fault) -> ImageError {
        let ((code, reason), of_machine) = match fault {
            Fault::Content(reason) => (reason, None),
            Fault::System(error) if system::is_of_machine(&error) => {
                ((Code::Read, "cannot be read".to_owned()), Some(error))
            }
            Fault::System(error) => {
                let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                ((Code::Read, format!("cannot be read: {cause}")), None)
            }
        };
        ImageError { path, code, reason, of_machine }
    }

    /// Whether the machine is at fault rather than the file: the run must end, because other files
    /// would fail as well. The cause is the [`source`](std::error::Error::source).
    #[must_use]
    pub fn is_of_machine(&self) -> bool {
        self.of_machine.is_some()
    }

    /// A stable code such as `E_DECODE`.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong, without the path.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// A code and a sentence, to which the path is added.
pub(super) type Reason = (Code, String);

/// What is wrong: with the file, or with reading it.
#[derive(Debug)]
pub(super) enum Fault {
    Content(Reason),
    System(io::Error),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Fault {
        Fault::Content(reason)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::System(error)
    }
}

/// The file breaks the rules of its format, or ends too early.
pub(super) fn damaged(format: &str, what: impl Display) -> Reason {
    (Code::Decode, format!("{format}: damaged or cut short: {what}"))
}

/// The file may be valid, but no test shows that its pixels would be PIL's. `what` names the field
/// of the header and its value.
pub(super) fn unsupported(format: &str, what: impl Display) -> Reason {
    (Code::Unsupported, format!("{format}: {what} is not supported; convert to PNG"))
}

/// What helps if a decompression bomb is none.
pub(super) const BOMB_REMEDY: &str = "write the image again as a plain PNG if it is none";

/// Decoding would take more memory or time than the size of the image explains.
pub(super) fn bomb(format: &str, what: impl Display) -> Reason {
    let text = format!("{format}: {what}: refused as a decompression bomb; {BOMB_REMEDY}");
    (Code::TooLarge, text)
}
