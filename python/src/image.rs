//! One image as Python passes it, and as the library takes it.
#![allow(unsafe_code, reason = "memory that an object of Python owns")]

use std::path::PathBuf;

use half::f16;
use lpips::{Error, Image, Range};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::array::{Array, Dtype};
use crate::errors::{RangeError, ShapeError};

/// What Python passes for an image.
#[derive(Debug)]
pub(crate) enum Input {
    /// A file.
    Path(PathBuf),
    /// An array, (row, column, RGB).
    Array { width: usize, height: usize, samples: Samples },
}

/// Samples in a type that the library takes.
#[derive(Debug)]
pub(crate) enum Samples {
    Bytes(Elements<u8>),
    Floats(Elements<f32>),
    /// 0 to 1, of integers.
    Scaled(Vec<f32>),
}

impl Input {
    /// `role` names the image in messages.
    pub(crate) fn of(
        role: &str,
        object: &Bound<'_, PyAny>,
        range: Option<Range>,
    ) -> PyResult<Input> {
        if object.is_instance_of::<PyString>() {
            return object.extract().map(Input::Path);
        }
        let array = Array::of(role, object)?;
        let [height, width] = sides(role, &array.shape)?;
        let is_float = !matches!(array.dtype, Dtype::U8 | Dtype::U16);
        if is_float && range.is_none() {
            let dtype = array.dtype.name();
            let message = format!("{role} has samples of {dtype}, whose range is not stated");
            let hint = "pass `range=(0, 1)` or `range=(-1, 1)`";
            return Err(RangeError::new_err((message, hint, "E_RANGE")));
        }
        let samples = match array.dtype {
            Dtype::U8 => Samples::Bytes(Elements::of(array)),
            Dtype::U16 => {
                let unit = |sample: u16| f32::from(sample) / f32::from(u16::MAX);
                Samples::Scaled(gather(&array).into_iter().map(unit).collect())
            }
            Dtype::F16 => Samples::Floats(Elements::Owned(
                gather(&array).into_iter().map(|bits: u16| f16::from_bits(bits).to_f32()).collect(),
            )),
            Dtype::F32 => Samples::Floats(Elements::of(array)),
            // Beyond float32 is beyond any range.
            Dtype::F64 => Samples::Floats(Elements::Owned(
                gather(&array).into_iter().map(|sample: f64| sample as f32).collect(),
            )),
        };
        Ok(Input::Array { width, height, samples })
    }

    /// The image for a scorer of `range`.
    pub(crate) fn into_image(self, range: Range) -> Result<Image, Error> {
        match self {
            Input::Path(path) => Image::file(path, range),
            Input::Array { width, height, samples } => match samples {
                Samples::Bytes(samples) => Image::bytes(width, height, samples, range),
                Samples::Floats(samples) => Image::floats(width, height, samples, range),
                Samples::Scaled(mut samples) => {
                    if range == Range::Signed {
                        samples.iter_mut().for_each(|sample| *sample = 2.0 * *sample - 1.0);
                    }
                    Image::floats(width, height, samples, range)
                }
            },
        }
    }
}

/// Height and width of an array of pixels.
fn sides(role: &str, shape: &[usize]) -> PyResult<[usize; 2]> {
    let hint = match *shape {
        [height, width, 3] => return Ok([height, width]),
        [3, _, _] => {
            "move the channels last: `x.permute(1, 2, 0)` in PyTorch, \
            `x.transpose(1, 2, 0)` in NumPy"
        }
        [_, _, 4] => "leave alpha out: `x[..., :3]`",
        [_, _] | [_, _, 1] => "repeat the grey channel: `numpy.dstack([x, x, x])`",
        [_, _, _, _] => "score the images of a batch with `score_all(zip(refs, dists))`",
        _ => "pass one RGB image",
    };
    let message = format!("{role} has the shape {shape:?}, expected [height, width, 3]");
    Err(ShapeError::new_err((message, hint)))
}

/// Elements of an array.
#[derive(Debug)]
pub(crate) enum Elements<T> {
    Borrowed {
        data: *const T,
        len: usize,
        /// Held for the memory alone.
        _owner: Py<PyAny>,
    },
    Owned(Vec<T>),
}

// SAFETY: the memory is read alone, and its owner may be dropped by any thread.
unsafe impl<T: Send> Send for Elements<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Elements<T> {}

impl<T: Plain> Elements<T> {
    /// Borrows the elements if they follow each other, else copies them.
    fn of(array: Array) -> Elements<T> {
        let data = array.data.cast::<T>();
        if array.is_contiguous() && data.is_aligned() && !data.is_null() {
            let len = array.shape.iter().product();
            return Elements::Borrowed { data, len, _owner: array.owner };
        }
        Elements::Owned(gather(&array))
    }
}

impl<T> AsRef<[T]> for Elements<T> {
    fn as_ref(&self) -> &[T] {
        match self {
            // SAFETY: the owner keeps `len` elements at `data`, which is aligned and not null.
            Elements::Borrowed { data, len, .. } => unsafe {
                std::slice::from_raw_parts(*data, *len)
            },
            Elements::Owned(elements) => elements,
        }
    }
}

/// Types of which every pattern of bits is a value.
pub(crate) trait Plain: Copy {}
impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for f32 {}
impl Plain for f64 {}

/// Copies the elements of an array of three axes in order.
fn gather<T: Plain>(array: &Array) -> Vec<T> {
    debug_assert_eq!(size_of::<T>(), array.dtype.bytes());
    let (&[height, width, channels], &[down, right, deep]) = (&array.shape[..], &array.strides[..])
    else {
        unreachable!("an image has three axes")
    };
    let mut elements = Vec::with_capacity(height * width * channels);
    for y in 0..height as isize {
        for x in 0..width as isize {
            for channel in 0..channels as isize {
                let offset = y * down + x * right + channel * deep;
                // SAFETY: the owner describes an element of `T` at every index within the shape.
                elements.push(unsafe { array.data.offset(offset).cast::<T>().read_unaligned() });
            }
        }
    }
    elements
}
