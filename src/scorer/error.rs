//! Why there is no score, as a program needs to know it.

use crate::code::Code;
use crate::error::{self, Exit};
use crate::image::ImageError;

/// Why there is no score.
///
/// Messages and hints name options as the command `lpips` spells them: `--precision fp16` is
/// [`Options::precision`](crate::Options::precision).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This pair, or one of its images, cannot be scored; others can.
    #[error("{code}: {message}")]
    Pair {
        /// The code that `lpips eval` writes into the row; docs/errors.md explains it.
        code: Code,
        /// What is wrong: where, expected and found.
        message: String,
    },
    /// Options contradict each other, or an image does not fit them.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What helps, if it is known.
        hint: Option<String>,
    },
    /// Weights are missing or altered.
    #[error("{message}")]
    Weights {
        /// What is wrong, with its causes.
        message: String,
        /// What helps, if it is known.
        hint: Option<String>,
    },
    /// The device cannot be used, or failed. A scorer whose device failed scores nothing more.
    #[error("{message}")]
    Device {
        /// What is wrong, with its causes.
        message: String,
        /// What helps, if it is known.
        hint: Option<String>,
    },
    /// The system refuses to read a file, or to start threads. The file itself may be good.
    #[error("{message}")]
    Io {
        /// What is wrong, with its causes.
        message: String,
        /// What helps, if it is known.
        hint: Option<String>,
    },
    /// A fault of this library.
    #[error("{message}")]
    Internal {
        /// What happened.
        message: String,
    },
}

impl Error {
    /// What is wrong, without code and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Error::Pair { message, .. }
            | Error::Usage { message, .. }
            | Error::Weights { message, .. }
            | Error::Device { message, .. }
            | Error::Io { message, .. }
            | Error::Internal { message } => message,
        }
    }

    /// What helps, if it is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Pair { code, .. } => Some(code.remedy()),
            Error::Usage { hint, .. }
            | Error::Weights { hint, .. }
            | Error::Device { hint, .. }
            | Error::Io { hint, .. } => hint.as_deref(),
            Error::Internal { .. } => None,
        }
    }

    pub(super) fn pair(code: Code, message: impl Into<String>) -> Error {
        Error::Pair { code, message: message.into() }
    }

    pub(super) fn usage(message: impl Into<String>, hint: &str) -> Error {
        Error::Usage { message: message.into(), hint: Some(hint.to_owned()) }
    }

    pub(super) fn internal(message: &str) -> Error {
        Error::Internal { message: message.to_owned() }
    }

    /// An error of loading weights.
    pub(super) fn weights(error: anyhow::Error) -> Error {
        Error::of(error, |message, hint| Error::Weights { message, hint })
    }

    /// An error of opening or using a device.
    pub(super) fn device(error: anyhow::Error) -> Error {
        Error::of(error, |message, hint| Error::Device { message, hint })
    }

    /// An error of reading files.
    pub(super) fn io(error: anyhow::Error) -> Error {
        Error::of(error, |message, hint| Error::Io { message, hint })
    }

    /// What the command would exit with decides the kind; `environment` makes that of a machine.
    fn of(error: anyhow::Error, environment: fn(String, Option<String>) -> Error) -> Error {
        let message = format!("{error:#}");
        let hint = error::hint_of(&error).map(str::to_owned);
        match error::exit_of(&error) {
            Exit::Usage | Exit::Inputs => Error::Usage { message, hint },
            Exit::Environment => environment(message, hint),
            _ => Error::Internal { message },
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Error {
        if error.is_of_machine() {
            return Error::io(error.into());
        }
        Error::pair(error.code(), error.to_string())
    }
}
