//! Files of named tensors that others wrote: PyTorch's (zip and older), and safetensors.
//!
//! A PyTorch file is a pickle, which is a program; it is read by a parser that builds dictionaries
//! and tensors, and runs nothing. Tensors are read from the file when they are asked for, so that a
//! classifier of half a gigabyte costs nothing.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors};

/// Largest safetensors file that is read: it is held in memory.
const SAFETENSORS_BYTES_MAX: u64 = 4 << 30;

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
            let len = fs_err::metadata(path)?.len();
            ensure!(
                len <= SAFETENSORS_BYTES_MAX,
                "`{shown}` is larger than {SAFETENSORS_BYTES_MAX} bytes"
            );
            safetensors(&fs_err::read(path)?)
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

    /// The values of a tensor, row-major.
    ///
    /// # Errors
    /// When there is no such tensor, it is not float32, not finite or cannot be read.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Vec<f32>> {
        let shown = self.path.display();
        let stored = self.tensors.get(name).with_context(|| format!("no tensor `{name}`"))?;
        let float32 = |is: bool, found: &dyn std::fmt::Debug| {
            ensure!(is, "tensor `{name}` of `{shown}` has type {found:?}, expected float32");
            Ok(())
        };
        let bytes = match &stored.data {
            Data::Torch(tensor) => {
                float32(tensor.dtype() == DType::F32, &tensor.dtype())?;
                tensor.read().with_context(|| format!("tensor `{name}` of `{shown}`"))?
            }
            Data::Bytes(dtype, bytes) => {
                float32(*dtype == Dtype::F32, dtype)?;
                bytes.clone()
            }
        };
        let (values, rest) = bytes.as_chunks::<4>();
        let count: usize = stored.shape.iter().product();
        if values.len() != count || !rest.is_empty() {
            bail!("tensor `{name}` of `{shown}` has {} bytes for {count} values", bytes.len());
        }
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let is_finite = values.iter().all(|value| value.is_finite());
        ensure!(is_finite, "tensor `{name}` of `{shown}` is not finite");
        Ok(values)
    }
}

/// A safetensors file starts with the length of its header, which starts with a brace.
fn is_safetensors(path: &Path) -> anyhow::Result<bool> {
    let mut start = Vec::new();
    fs_err::File::open(path)?.take(9).read_to_end(&mut start)?;
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
