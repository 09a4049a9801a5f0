//! Why a file gives no image: damaged, not supported, not an image, or not readable at all.

use std::fmt::Display;

use crate::code::Code;

/// Why a file gives no image.
#[derive(Debug, thiserror::Error)]
#[error("`{path}`: {reason}")]
pub struct ImageError {
    path: String,
    code: Code,
    reason: String,
}

impl ImageError {
    pub(super) fn new(path: String, (code, reason): Reason) -> ImageError {
        ImageError { path, code, reason }
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

/// The file breaks the rules of its format, or ends too early.
pub(super) fn damaged(format: &str, what: impl Display) -> Reason {
    (Code::Decode, format!("{format}: damaged or cut short: {what}"))
}

/// The file may be valid, but no test shows that its pixels would be PIL's. `what` names the field
/// of the header and its value.
pub(super) fn unsupported(format: &str, what: impl Display) -> Reason {
    (Code::Unsupported, format!("{format}: {what} is not supported; convert to PNG"))
}

/// Decoding would take more memory or time than the size of the image explains.
pub(super) fn bomb(format: &str, what: impl Display) -> Reason {
    (Code::TooLarge, format!("{format}: {what}: refused as a decompression bomb"))
}
