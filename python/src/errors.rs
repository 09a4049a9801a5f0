//! Errors of the library as exceptions of `lpips_eval`.

use lpips::{Code, Error};
use pyo3::PyErr;
use pyo3::import_exception;

import_exception!(lpips_eval._errors, DeviceError);
import_exception!(lpips_eval._errors, DtypeError);
import_exception!(lpips_eval._errors, FileError);
import_exception!(lpips_eval._errors, InternalError);
import_exception!(lpips_eval._errors, PairError);
import_exception!(lpips_eval._errors, RangeError);
import_exception!(lpips_eval._errors, ShapeError);
import_exception!(lpips_eval._errors, SizeError);
import_exception!(lpips_eval._errors, UsageError);
import_exception!(lpips_eval._errors, WeightsError);

/// The exception for an error of the library.
pub(crate) fn exception(error: &Error) -> PyErr {
    let (message, hint) = (error.message().to_owned(), error.hint().map(str::to_owned));
    match error {
        Error::Pair { code, .. } => {
            let args = (message, hint, code.as_str());
            match code {
                Code::Size | Code::TooSmall | Code::TooLarge => SizeError::new_err(args),
                Code::Range => RangeError::new_err(args),
                _ => PairError::new_err(args),
            }
        }
        Error::Usage { .. } => UsageError::new_err((message, hint)),
        Error::Weights { .. } => WeightsError::new_err((message, hint)),
        Error::Device { .. } => DeviceError::new_err((message, hint)),
        Error::Io { .. } => FileError::new_err((message, hint)),
        _ => InternalError::new_err((message, hint)),
    }
}
