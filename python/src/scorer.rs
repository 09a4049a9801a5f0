//! Scores pairs without holding the interpreter's lock.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lpips::{Error, Image, Lpips, Map, Options, Range, Score};
use pyo3::IntoPyObjectExt as _;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyIterator, PyList};

use crate::errors::{DeviceError, UsageError, exception};
use crate::image::Input;
use crate::options::Keywords;

/// Pairs of files between two checks for signals.
const FILES_PER_CALL: usize = 256;

/// Scores pairs with one net on one device.
#[pyclass(frozen, module = "lpips_eval._core")]
pub(crate) struct Scorer {
    options: Options,
    /// The process that opened it: threads and GPUs do not survive a fork.
    process: u32,
    lpips: Mutex<ByRange>,
    device: String,
    signature: String,
}

/// A scorer for each range of samples; the second one is opened when it is first needed.
struct ByRange {
    unit: Lpips,
    signed: Option<Lpips>,
}

impl ByRange {
    fn of(&mut self, range: Range, options: &Options) -> Result<&mut Lpips, Error> {
        match (range, &mut self.signed) {
            (Range::Unit, _) => Ok(&mut self.unit),
            (Range::Signed, Some(signed)) => Ok(signed),
            (Range::Signed, none) => {
                let options = Options { range, ..options.clone() };
                Ok(none.insert(Lpips::open(&options)?))
            }
        }
    }
}

/// What a pair came to, in the order of the pairs.
type Outcomes = Vec<Result<Score, Error>>;

#[pymethods]
impl Scorer {
    #[new]
    fn new(py: Python<'_>, keywords: Keywords) -> PyResult<Scorer> {
        let options = keywords.options()?;
        let unit = py.allow_threads(|| Lpips::open(&options)).map_err(|e| exception(&e))?;
        let (device, signature) = (unit.device().to_owned(), unit.signature());
        let lpips = Mutex::new(ByRange { unit, signed: None });
        Ok(Scorer { options, process: std::process::id(), lpips, device, signature })
    }

    #[getter]
    fn device(&self) -> &str {
        &self.device
    }

    #[getter]
    fn signature(&self) -> &str {
        &self.signature
    }

    /// Takes (reference, distorted) from an iterator while earlier pairs are scored. An outcome is
    /// (total, layers, map, layer_maps, rescored), a map as (floats, height, width), or the
    /// exception of a pair that cannot be scored.
    fn score_all<'py>(
        &self,
        py: Python<'py>,
        pairs: Bound<'py, PyIterator>,
        range: Option<(f64, f64)>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.refuse_fork()?;
        let range = range.map(range_of).transpose()?;
        let pairs = pairs.unbind();
        let mut source = Source { pairs, range, taken: 0, failed: Vec::new(), fault: None };
        let scored = py.allow_threads(|| {
            self.with(range.unwrap_or_default(), |lpips| lpips.score_all(source.by_ref()))
        });
        if let Some(fault) = source.fault {
            return Err(fault);
        }
        let mut outcomes = scored.map_err(|error| exception(&error))?;
        for (index, error) in source.failed {
            outcomes.insert(index, Err(error));
        }
        listed(py, outcomes)
    }

    /// Scores files, which several threads decode. Outcomes are those of [`Scorer::score_all`].
    fn score_files<'py>(
        &self,
        py: Python<'py>,
        pairs: Vec<(PathBuf, PathBuf)>,
        range: Option<(f64, f64)>,
    ) -> PyResult<Bound<'py, PyList>> {
        self.refuse_fork()?;
        let range = range.map(range_of).transpose()?.unwrap_or_default();
        let mut outcomes = Outcomes::with_capacity(pairs.len());
        for pairs in pairs.chunks(FILES_PER_CALL) {
            py.check_signals()?;
            let scored = py.allow_threads(|| self.with(range, |lpips| lpips.score_files(pairs)));
            outcomes.extend(scored.map_err(|error| exception(&error))?);
        }
        listed(py, outcomes)
    }
}

impl Scorer {
    fn with(
        &self,
        range: Range,
        score: impl FnOnce(&mut Lpips) -> Result<Outcomes, Error>,
    ) -> Result<Outcomes, Error> {
        // A panic leaves a scorer that refuses to score, which is what its caller should learn.
        let mut lpips = self.lpips.lock().unwrap_or_else(PoisonError::into_inner);
        score(lpips.of(range, &self.options)?)
    }

    fn refuse_fork(&self) -> PyResult<()> {
        let here = std::process::id();
        if here == self.process {
            return Ok(());
        }
        let message =
            format!("the scorer was opened by the process {}, and this is {here}", self.process);
        let hint = "open a scorer in each process, after the fork";
        Err(DeviceError::new_err((message, hint)))
    }
}

/// Pairs of an iterator of Python as images, until it ends or fails.
struct Source {
    pairs: Py<PyIterator>,
    range: Option<Range>,
    taken: usize,
    /// Pairs that are no images, by index.
    failed: Vec<(usize, Error)>,
    /// What ended it early: an exception of the iterator, an array that is no image, or Ctrl-C.
    fault: Option<PyErr>,
}

impl Source {
    fn inputs(&self, py: Python<'_>) -> PyResult<Option<[Input; 2]>> {
        py.check_signals()?;
        let Some(pair) = self.pairs.bind(py).clone().next() else { return Ok(None) };
        let (reference, distorted): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair?.extract()?;
        let reference = Input::of("the reference", &reference, self.range)?;
        Ok(Some([reference, Input::of("the distorted image", &distorted, self.range)?]))
    }

    fn images(&self, [reference, distorted]: [Input; 2]) -> Result<(Image, Image), Error> {
        let range = self.range.unwrap_or_default();
        Ok((reference.into_image(range)?, distorted.into_image(range)?))
    }
}

impl Iterator for Source {
    type Item = (Image, Image);

    fn next(&mut self) -> Option<(Image, Image)> {
        while self.fault.is_none() {
            match Python::with_gil(|py| self.inputs(py)) {
                Ok(Some(pair)) => {
                    self.taken += 1;
                    match self.images(pair) {
                        Ok(images) => return Some(images),
                        Err(error) => self.failed.push((self.taken - 1, error)),
                    }
                }
                Ok(None) => return None,
                Err(fault) => self.fault = Some(fault),
            }
        }
        None
    }
}

fn range_of((black, white): (f64, f64)) -> PyResult<Range> {
    match (black, white) {
        (0.0, 1.0) => Ok(Range::Unit),
        (-1.0, 1.0) => Ok(Range::Signed),
        _ => {
            let message = format!("range=({black}, {white}) is unknown");
            Err(UsageError::new_err((message, "use (0, 1) or (-1, 1)")))
        }
    }
}

fn listed(py: Python<'_>, outcomes: Outcomes) -> PyResult<Bound<'_, PyList>> {
    let objects = outcomes.into_iter().map(|outcome| object(py, outcome));
    PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
}

/// Floats, height, width.
type MapParts<'py> = (Bound<'py, PyByteArray>, usize, usize);

fn of_map<'py>(py: Python<'py>, map: &Map) -> MapParts<'py> {
    (PyByteArray::new(py, bytemuck::cast_slice(&map.values)), map.height, map.width)
}

/// A map, floats as bytes, as large as images of this height and width.
#[pyfunction]
pub(crate) fn resized<'py>(
    py: Python<'py>,
    values: &[u8],
    shape: (usize, usize),
    size: (usize, usize),
) -> MapParts<'py> {
    let values = bytemuck::pod_collect_to_vec(values);
    let map = Map { height: shape.0, width: shape.1, values };
    of_map(py, &py.allow_threads(|| map.resized(size.0, size.1)))
}

fn object(py: Python<'_>, outcome: Result<Score, Error>) -> PyResult<Bound<'_, PyAny>> {
    match outcome {
        Ok(score) => {
            let map = score.map.as_ref().map(|map| of_map(py, map));
            let layer_maps: Vec<_> = score.layer_maps.iter().map(|map| of_map(py, map)).collect();
            (score.total, score.layers, map, layer_maps, score.rescored).into_bound_py_any(py)
        }
        Err(error) => Ok(exception(&error).into_value(py).into_bound(py).into_any()),
    }
}
