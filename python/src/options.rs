//! Names and numbers of Python as [`Options`].

use std::num::NonZeroUsize;
use std::path::PathBuf;

use lpips::{Net, Options, Precision, Range, Version};
use pyo3::prelude::*;

use crate::errors::UsageError;

/// The keywords of `lpips_eval.Scorer`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Keywords {
    net: Option<String>,
    device: String,
    precision: String,
    preset: Option<String>,
    version: String,
    baseline: bool,
    semantic_layer: Option<usize>,
    spatial: bool,
    threads: Option<usize>,
    batch: Option<usize>,
    trunk: Option<PathBuf>,
    lin: Option<PathBuf>,
    weights_dir: Option<PathBuf>,
    cuda_libraries: Vec<PathBuf>,
}

const PRECISIONS: [Precision; 3] = [Precision::Fp32, Precision::Tf32, Precision::Fp16];

impl Keywords {
    pub(crate) fn options(self) -> PyResult<Options> {
        let preset = match self.preset.as_deref() {
            Some(name) => parse("preset", name)?,
            None => Options::default().preset,
        };
        let net = self.net.as_deref();
        Ok(Options {
            net: net.map(|name| named("net", name, &Net::ALL, Net::name)).transpose()?,
            preset,
            version: named("version", &self.version, &Version::ALL, Version::name)?,
            baseline: self.baseline,
            semantic_layer: self.semantic_layer,
            range: Range::Unit,
            spatial: self.spatial,
            device: parse("device", &self.device)?,
            precision: named("precision", &self.precision, &PRECISIONS, Precision::name)?,
            threads: count("threads", self.threads)?,
            batch: count("batch", self.batch)?,
            trunk: self.trunk,
            lin: self.lin,
            weights_dir: self.weights_dir,
            cuda_libraries: self.cuda_libraries,
        })
    }
}

fn named<T: Copy>(
    keyword: &str,
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> PyResult<T> {
    all.iter().copied().find(|&value| name(value) == text).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|&value| format!("{:?}", name(value))).collect();
        refused(format!("{keyword}={text:?} is unknown"), format!("use {}", names.join(" or ")))
    })
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(keyword: &str, text: &str) -> PyResult<T> {
    text.parse().map_err(|error: T::Err| {
        UsageError::new_err((format!("{keyword}={text:?}: {error}"), None::<String>))
    })
}

fn count(keyword: &str, number: Option<usize>) -> PyResult<Option<NonZeroUsize>> {
    let positive = |number| {
        let remedy = format!("leave {keyword} out, or give a positive number");
        NonZeroUsize::new(number).ok_or_else(|| refused(format!("{keyword}=0"), remedy))
    };
    number.map(positive).transpose()
}

fn refused(message: String, hint: String) -> PyErr {
    UsageError::new_err((message, hint))
}
