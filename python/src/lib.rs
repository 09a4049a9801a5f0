//! The compiled part of the Python package `lpips_eval`: scoring, and the command `lpips`.
//!
//! It turns objects of Python into images of the library without copying where their layout allows
//! it, and outcomes into objects. What people call is in `lpips_eval/*.py`.

mod array;
mod errors;
mod image;
mod options;
mod scorer;

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command `lpips` with its arguments, without the name of the program. Returns its exit
/// code.
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.allow_threads(|| lpips::commands::main(arguments))
}

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<scorer::Scorer>()?;
    module.add_function(wrap_pyfunction!(scorer::resized, module)?)?;
    module.add_function(wrap_pyfunction!(command, module)?)
}
