//! Arrays of other libraries, borrowed: `__array_interface__` (NumPy, PIL) and DLPack (PyTorch, JAX,
//! CuPy). This module reads descriptions of memory; it does not depend on what the samples mean.
#![allow(unsafe_code, reason = "memory that a capsule describes")]

use std::ffi::{CStr, c_void};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyDict};

use crate::errors::{DtypeError, UsageError};

/// Type of an element, in native byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dtype {
    U8,
    U16,
    F16,
    F32,
    F64,
}

impl Dtype {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Dtype::U8 => 1,
            Dtype::U16 | Dtype::F16 => 2,
            Dtype::F32 => 4,
            Dtype::F64 => 8,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Dtype::U8 => "uint8",
            Dtype::U16 => "uint16",
            Dtype::F16 => "float16",
            Dtype::F32 => "float32",
            Dtype::F64 => "float64",
        }
    }

    fn of(name: &str, given: impl FnOnce() -> String) -> PyResult<Dtype> {
        let all = [Dtype::U8, Dtype::U16, Dtype::F16, Dtype::F32, Dtype::F64];
        all.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            let message = format!("{}, expected uint8, uint16 or floats", given());
            let hint = "convert it: `x.astype(\"uint8\")` in NumPy, `x.float()` in PyTorch";
            DtypeError::new_err((message, hint))
        })
    }
}

/// An array in the memory of its owner.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Bytes between neighbours along each axis.
    pub(crate) strides: Vec<isize>,
    pub(crate) data: *const u8,
    /// Keeps the memory: the array, or the capsule that describes it. A capsule that is not
    /// consumed frees its tensor when it goes.
    pub(crate) owner: Py<PyAny>,
}

impl Array {
    /// The memory of `object`, which `role` names in messages.
    pub(crate) fn of(role: &str, object: &Bound<'_, PyAny>) -> PyResult<Array> {
        if let Some(interface) = object.getattr_opt("__array_interface__")? {
            return Array::of_interface(role, object, interface.downcast()?);
        }
        if object.hasattr("__dlpack__")? {
            return Array::of_dlpack(role, object);
        }
        let kind = object.get_type();
        let message = format!("{role} is of the type {}, and no image", kind.qualname()?);
        let hint = "pass a path, a PIL image, a NumPy array, or a tensor with `__dlpack__`";
        Err(DtypeError::new_err((message, hint)))
    }

    fn of_interface(
        role: &str,
        object: &Bound<'_, PyAny>,
        interface: &Bound<'_, PyDict>,
    ) -> PyResult<Array> {
        let item =
            |key: &str| interface.get_item(key).map(|item| item.filter(|item| !item.is_none()));
        let required = |key: &str| {
            let missing = || PyTypeError::new_err(format!("`__array_interface__` has no `{key}`"));
            item(key)?.ok_or_else(missing)
        };
        let typestr: String = required("typestr")?.extract()?;
        let little = cfg!(target_endian = "little");
        let name = match typestr.as_str() {
            "|u1" => "uint8",
            "<u2" if little => "uint16",
            "<f2" if little => "float16",
            "<f4" if little => "float32",
            "<f8" if little => "float64",
            other => other,
        };
        let dtype = Dtype::of(name, || format!("{role} is an array of the type {name:?}"))?;
        let shape: Vec<usize> = required("shape")?.extract()?;
        let strides = match item("strides")? {
            Some(strides) => strides.extract()?,
            None => contiguous(&shape, dtype),
        };
        let data = required("data")?;
        // The pixels of a PIL image are an object of bytes; the data of an array are an address.
        if let Ok(bytes) = data.downcast::<PyBytes>() {
            let (pointer, owner) = (bytes.as_bytes().as_ptr(), bytes.clone().into_any().unbind());
            return Ok(Array { dtype, shape, strides, data: pointer, owner });
        }
        let (address, _read_only): (usize, bool) = data.extract()?;
        let data = std::ptr::with_exposed_provenance(address);
        Ok(Array { dtype, shape, strides, data, owner: object.clone().unbind() })
    }

    fn of_dlpack(role: &str, object: &Bound<'_, PyAny>) -> PyResult<Array> {
        let (kind, device): (i32, i32) = object.call_method0("__dlpack_device__")?.extract()?;
        if kind != CPU && kind != CUDA_HOST {
            let place = if kind == CUDA { "CUDA device" } else { "device" };
            let message = format!("{role} is on {place} {device}, and arrays are read on the CPU");
            return Err(UsageError::new_err((message, "pass `x.cpu()`")));
        }
        let export = object.call_method0("__dlpack__");
        let capsule = export.map_err(|error| {
            UsageError::new_err((format!("{role} cannot be read: {error}"), None::<&str>))
        })?;
        let capsule = capsule.downcast_into::<PyCapsule>()?;
        if capsule.name()? != Some(TENSOR_NAME) {
            return Err(PyTypeError::new_err("`__dlpack__` gave no capsule `dltensor`"));
        }
        // SAFETY: a capsule of this name points to a managed tensor, which begins with a tensor.
        let tensor = unsafe { &*capsule.pointer().cast::<Tensor>() };
        // SAFETY: `shape` and, if it is not null, `strides` have `ndim` elements.
        let axes = |values: *const i64| unsafe {
            std::slice::from_raw_parts(values, tensor.ndim as usize)
        };
        let name = match (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes) {
            (UINT, 8, 1) => "uint8",
            (UINT, 16, 1) => "uint16",
            (FLOAT, 16, 1) => "float16",
            (FLOAT, 32, 1) => "float32",
            (FLOAT, 64, 1) => "float64",
            _ => "other",
        };
        let given = || match object.getattr("dtype").and_then(|dtype| dtype.str()) {
            Ok(dtype) => format!("{role} is a tensor of {dtype}"),
            Err(_) => format!("{role} is a tensor of another type"),
        };
        let dtype = Dtype::of(name, given)?;
        let shape: Vec<usize> = axes(tensor.shape).iter().map(|&side| side as usize).collect();
        let strides = if tensor.strides.is_null() {
            contiguous(&shape, dtype)
        } else {
            let bytes = |&stride: &i64| stride as isize * dtype.bytes() as isize;
            axes(tensor.strides).iter().map(bytes).collect()
        };
        let data = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
        Ok(Array { dtype, shape, strides, data, owner: capsule.into_any().unbind() })
    }

    /// Whether elements follow each other without gaps, the last axis first.
    pub(crate) fn is_contiguous(&self) -> bool {
        let packed = contiguous(&self.shape, self.dtype);
        let mut axes = self.shape.iter().zip(self.strides.iter().zip(packed));
        axes.all(|(&side, (&stride, packed))| side == 1 || stride == packed)
    }
}

fn contiguous(shape: &[usize], dtype: Dtype) -> Vec<isize> {
    let mut strides = vec![dtype.bytes() as isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis] as isize;
    }
    strides
}

const TENSOR_NAME: &CStr = c"dltensor";
/// Codes of devices.
const CPU: i32 = 1;
const CUDA: i32 = 2;
const CUDA_HOST: i32 = 3;
/// Codes of types.
const UINT: u8 = 1;
const FLOAT: u8 = 2;

/// `DLTensor` of dlpack.h, version 0.
#[repr(C)]
struct Tensor {
    data: *mut c_void,
    device: [i32; 2],
    ndim: i32,
    dtype: TensorType,
    shape: *const i64,
    strides: *const i64,
    byte_offset: u64,
}

/// `DLDataType`.
#[repr(C)]
struct TensorType {
    code: u8,
    bits: u8,
    lanes: u16,
}
