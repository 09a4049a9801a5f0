//! Files of named tensors that others wrote: PyTorch's (zip and older), and safetensors.
//!
//! A PyTorch file is a pickle, which is a program; it is read by a parser that builds dictionaries
//! and tensors, and runs nothing. Tensors are read from the file when they are asked for, so that a
//! classifier of half a gigabyte costs nothing.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use pytorch_reader::PytorchReader;
use safetensors::{Dtype, SafeTensors};

use super::float::Float;
use crate::regular;

/// Largest safetensors file that is read: it is held in memory.
const SAFETENSORS_BYTES_MAX: u64 = 4 << 30;
/// Values of a tensor that is read: more than any of LPIPS has. A file of a few bytes may claim any
/// number of them.
const VALUES_MAX: usize = 4 << 20;

/// An open file of tensors.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct Stored {
    shape: Vec<usize>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Torch(pytorch_reader::Tensor),
    /// Little-endian values, with their type.
    Bytes(Dtype, Vec<u8>),
}

impl Checkpoint {
    /// Opens a file; its kind follows from its content.
    ///
    /// # Errors
    /// When it cannot be read, or is neither kind.
    pub(super) fn open(path: &Path) -> anyhow::Result<Checkpoint> {
        let shown = path.display();
        let tensors = if is_safetensors(path)? {
            safetensors(&regular::read(path, SAFETENSORS_BYTES_MAX)?)
                .with_context(|| format!("`{shown}` is a damaged safetensors file"))?
        } else {
            let reader = PytorchReader::new(path)
                .map_err(anyhow::Error::new)
                .with_context(|| format!("`{shown}` is neither a PyTorch file nor safetensors"))?;
            torch(reader)
        };
        Ok(Checkpoint { path: path.to_owned(), tensors })
    }

    /// Names and shapes, in the order of the names.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    /// The values of a tensor, row-major. Halves are exact; doubles are rounded.
    ///
    /// # Errors
    /// When there is no such tensor, or it holds no floats, has more values than any of LPIPS, is
    /// not finite or cannot be read.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Values> {
        let shown = self.path.display();
        let stored = self.tensors.get(name).with_context(|| format!("no tensor `{name}`"))?;
        let float = stored.float().map_err(|found| {
            anyhow::anyhow!("tensor `{name}` of `{shown}` has type {found}, expected floats")
        })?;
        let count =
            stored.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let Some(count) = count.filter(|&count| count <= VALUES_MAX) else {
            bail!("tensor `{name}` of `{shown}` is larger than any of LPIPS: {:?}", stored.shape);
        };
        let bytes = match &stored.data {
            Data::Torch(tensor) => {
                tensor.read().with_context(|| format!("tensor `{name}` of `{shown}`"))?
            }
            Data::Bytes(_, bytes) => bytes.clone(),
        };
        if bytes.len() != count * float.size() {
            bail!("tensor `{name}` of `{shown}` has {} bytes for {count} values", bytes.len());
        }
        let (values, rounded) = float.values(&bytes);
        let is_finite = values.iter().all(|value| value.is_finite());
        ensure!(is_finite, "tensor `{name}` of `{shown}` is not finite as float32");
        Ok(Values { float, values, rounded })
    }
}

/// What a tensor holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Values {
    /// How it is stored.
    pub(super) float: Float,
    /// As float32.
    pub(super) values: Vec<f32>,
    /// How many of them were rounded.
    pub(super) rounded: usize,
}

impl Stored {
    /// The type of the values, or the name of one that is none of floats.
    fn float(&self) -> Result<Float, String> {
        match &self.data {
            Data::Torch(tensor) => {
                Float::of_torch(tensor.dtype()).ok_or_else(|| format!("{:?}", tensor.dtype()))
            }
            Data::Bytes(dtype, _) => {
                Float::of_safetensors(*dtype).ok_or_else(|| format!("{dtype:?}"))
            }
        }
    }
}

/// A safetensors file starts with the length of its header, which starts with a brace.
fn is_safetensors(path: &Path) -> anyhow::Result<bool> {
    let mut start = Vec::new();
    regular::open(path)?.take(9).read_to_end(&mut start)?;
    Ok(start.get(8) == Some(&b'{') && !start.starts_with(b"PK"))
}

fn safetensors(bytes: &[u8]) -> anyhow::Result<BTreeMap<String, Stored>> {
    let file = SafeTensors::deserialize(bytes)?;
    let tensors = file.iter().map(|(name, view)| {
        let data = Data::Bytes(view.dtype(), view.data().to_vec());
        (name.to_owned(), Stored { shape: view.shape().to_vec(), data })
    });
    Ok(tensors.collect())
}

fn torch(reader: PytorchReader) -> BTreeMap<String, Stored> {
    let stored = |tensor: pytorch_reader::Tensor| Stored {
        shape: tensor.shape().to_vec(),
        data: Data::Torch(tensor),
    };
    reader.into_tensors().into_iter().map(|(name, tensor)| (name, stored(tensor))).collect()
}
