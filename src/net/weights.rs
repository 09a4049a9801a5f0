//! Trunk and lin weights: found, read, checked shape by shape and identified by SHA-256.
//!
//! A weights file is a safetensors file of float32 tensors named as torchvision names them. Weights
//! are never guessed: a missing tensor, a wrong shape or an unknown hash stops the run. This module
//! depends on where weights are, and not on what is computed with them.

mod checkpoint;
mod dists;
mod float;
mod generated;
mod published;
mod recognise;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{ConvSpec, Net};
use crate::hash::{sha256_hex, sha256_hex_of};
use crate::regular;

pub use self::dists::Dists;
pub use self::generated::CustomWeights;
pub use self::published::{
    ALEX_SHA256, DISTS_SHA256, LIN_SHA256, Published, Torchvision, VGG_SHA256, published,
    torchvision,
};
pub use self::recognise::{Recognised, recognise};
pub use self::write::{Tensors, safetensors_of, tensors_of};

/// AlexNet's trunk, embedded so that the program works alone.
static ALEX: &[u8] = include_bytes!("../../weights/alex.safetensors");
/// The six sets of lin weights (three nets, two versions).
static LIN: &[u8] = include_bytes!("../../weights/lin.safetensors");

/// What is embedded in the program, with SHA-256.
#[must_use]
pub fn embedded() -> [(&'static str, &'static str); 3] {
    [("alex trunk", ALEX_SHA256), ("lin, all nets", LIN_SHA256), ("dists", DISTS_SHA256)]
}

/// Environment variable that names a folder of weights, searched after `--weights-dir`.
pub const WEIGHTS_DIR_VARIABLE: &str = "LPIPS_WEIGHTS_DIR";
/// Largest file that is read as a published trunk; the largest of them has 59 MB.
pub(crate) const TRUNK_BYTES_MAX: u64 = 256 << 20;

/// Version of the published metric: which lin weights, and whether inputs are scaled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum Version {
    /// `lpips` 0.1, the default of every implementation: inputs are shifted and scaled.
    #[default]
    #[serde(rename = "0.1")]
    V0_1,
    /// `lpips` 0.0, as first published: inputs stay in [-1, 1].
    #[serde(rename = "0.0")]
    V0_0,
}

impl Version {
    /// Both versions, the usual one first.
    pub const ALL: [Version; 2] = [Version::V0_1, Version::V0_0];

    /// `0.1` or `0.0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Version::V0_1 => "0.1",
            Version::V0_0 => "0.0",
        }
    }

    /// Shift and scale per channel (R, G, B): the trunk's input is `(2x - 1 - shift) / scale` for x
    /// in [0, 1]. Version 0.0 has none. (ScalingLayer of the published code.)
    #[doc(hidden)]
    #[must_use]
    pub fn scaling(self) -> Option<([f32; 3], [f32; 3])> {
        match self {
            Version::V0_1 => Some(([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450])),
            Version::V0_0 => None,
        }
    }
}

/// One convolution's parameters.
#[derive(Clone, Debug)]
pub struct Conv {
    /// Name and shape.
    pub spec: ConvSpec,
    /// OIHW, row-major.
    pub weight: Vec<f32>,
    /// One per output channel.
    pub bias: Vec<f32>,
}

/// The convolutions of a net, in the order of [`super::NetSpec::convs`].
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Which net.
    pub net: Net,
    /// The parameters. Copies of a trunk share them.
    pub convs: Vec<Arc<Conv>>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// The learned 1x1 weights of a net: one vector of channel weights per layer.
#[derive(Clone, Debug)]
pub struct Lin {
    /// `layers[l]` has as many elements as tap `l` has channels.
    pub layers: Vec<Vec<f32>>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Where a trunk comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Part of the program.
    Embedded,
    /// A file.
    File(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Embedded => f.write_str("embedded in the program"),
            Source::File(path) => write!(f, "`{}`", path.display()),
        }
    }
}

/// No file holds the trunk of `net`.
#[derive(Debug, thiserror::Error)]
#[error("no weights for {net}: tried {}", list(.tried))]
pub struct Missing {
    /// The net.
    pub net: Net,
    /// Every path that was tried, in order.
    pub tried: Vec<PathBuf>,
}

impl Missing {
    /// The file that version 0.1 of this program made of torchvision's.
    fn unverified_squeeze(&self) -> Option<PathBuf> {
        let beside = |path: &PathBuf| path.with_file_name("squeeze.safetensors");
        self.tried.iter().map(beside).find(|path| path.is_file())
    }

    /// The command or the steps that bring the file.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self.net {
            Net::Alex => "alex is embedded in the program".to_owned(),
            Net::Vgg => {
                "run `lpips weights fetch vgg` (or `python3 scripts/fetch_weights.py vgg`) where \
                 there is a network, copy vgg.safetensors here, and name its folder with \
                 `--weights-dir`"
                    .to_owned()
            }
            Net::Squeeze => {
                let file = torchvision(Net::Squeeze).file;
                let unverified = self.unverified_squeeze().map_or(String::new(), |path| {
                    let shown = path.display();
                    format!(
                        "; `{shown}`, which an earlier version imported, has no published hash: \
                         it can be used with `--trunk {shown}`"
                    )
                });
                format!(
                    "run `lpips weights fetch squeeze`, or download torchvision's {file} \
                     elsewhere, copy it here, and run `lpips weights import {file}`{unverified}"
                )
            }
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    quoted.join(", ")
}

/// Folders that are searched for weights, in order.
#[derive(Clone, Debug, Default)]
pub struct SearchPath {
    folders: Vec<PathBuf>,
    target: Option<PathBuf>,
}

impl SearchPath {
    /// `explicit` (`--weights-dir`) alone if given, else `$LPIPS_WEIGHTS_DIR`, `weights` beside the
    /// program, and the user's data folder. The working folder is never searched: a file that
    /// happens to lie there must not decide a number.
    #[must_use]
    pub fn new(explicit: Option<&Path>) -> SearchPath {
        if let Some(folder) = explicit {
            let folder = folder.to_owned();
            return SearchPath { folders: vec![folder.clone()], target: Some(folder) };
        }
        let variable = std::env::var_os(WEIGHTS_DIR_VARIABLE).filter(|folder| !folder.is_empty());
        let variable = variable.map(PathBuf::from);
        let beside = std::env::current_exe().ok();
        let beside = beside.and_then(|program| Some(program.parent()?.join("weights")));
        // An XDG folder that is relative is invalid and ignored (XDG Base Directory Specification).
        let data =
            std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|it| it.is_absolute());
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share"));
        let data = data.or_else(home).map(|folder| folder.join("lpips"));
        let target = variable.clone().or_else(|| data.clone());
        let folders = [variable, beside, data].into_iter().flatten().collect();
        SearchPath { folders, target }
    }

    /// The folder that weights are written to: the explicit one, else `$LPIPS_WEIGHTS_DIR`, else
    /// the user's data folder. `None` without any of these.
    #[must_use]
    pub fn target(&self) -> Option<&Path> {
        self.target.as_deref()
    }

    /// Where the trunk of `net` would be read from. AlexNet's is always the embedded one, so that
    /// it is the same everywhere.
    ///
    /// # Errors
    /// [`Missing`], with every path tried.
    pub fn find(&self, net: Net) -> Result<Source, Missing> {
        if net == Net::Alex {
            return Ok(Source::Embedded);
        }
        let name = published(net).file;
        let tried: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(name)).collect();
        match tried.iter().find(|path| path.is_file()) {
            Some(path) => Ok(Source::File(path.clone())),
            None => Err(Missing { net, tried }),
        }
    }
}

impl Trunk {
    /// Whether both share their parameters in memory.
    #[must_use]
    pub fn is(&self, other: &Trunk) -> bool {
        let mut convs = self.convs.iter().zip(&other.convs);
        self.net == other.net && convs.all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// Reads and verifies the published trunk of `net`.
    ///
    /// # Errors
    /// When the file cannot be read, its SHA-256 is not the published one, or a tensor is missing
    /// or has another shape or type than the net needs.
    pub fn load(net: Net, source: &Source) -> anyhow::Result<Trunk> {
        Trunk::load_published(net, source)
            .with_context(|| format!("cannot load the {net} weights, {source}"))
    }

    fn load_published(net: Net, source: &Source) -> anyhow::Result<Trunk> {
        let path = match source {
            // The embedded bytes are verified by a test and by `lpips weights verify`, so that
            // start-up need not hash them.
            Source::Embedded => {
                return Trunk::from_safetensors(net, ALEX, ALEX_SHA256.to_owned());
            }
            Source::File(path) => path,
        };
        if path.extension().is_some_and(|extension| extension == "pth") {
            check_sha256(net, &sha256_hex_of(&mut regular::open(path)?)?)?;
            return recognise(path)?.trunk.context("the file holds no trunk");
        }
        let bytes = regular::read(path, TRUNK_BYTES_MAX)?;
        let sha256 = sha256_hex(&bytes);
        check_sha256(net, &sha256)?;
        Trunk::from_safetensors(net, &bytes, sha256)
    }

    /// Reads a trunk from the bytes of a safetensors file whose hash is `sha256`.
    ///
    /// # Errors
    /// When the bytes are not safetensors, or a tensor is missing, has another shape or type, or is
    /// not finite.
    pub fn from_safetensors(net: Net, bytes: &[u8], sha256: String) -> anyhow::Result<Trunk> {
        let file = SafeTensors::deserialize(bytes).context("not a safetensors file")?;
        let convs = net.spec().convs().into_iter().map(|spec| {
            let weight = tensor(&file, &format!("{}.weight", spec.name), &spec.weight_shape())?;
            let bias = tensor(&file, &format!("{}.bias", spec.name), &[spec.c_out])?;
            Ok(Arc::new(Conv { spec, weight, bias }))
        });
        Ok(Trunk { net, convs: convs.collect::<anyhow::Result<_>>()?, sha256 })
    }
}

impl Lin {
    /// The published lin weights.
    ///
    /// # Errors
    /// When the embedded file lacks a tensor; a test shows that it does not.
    pub fn load(net: Net, version: Version) -> anyhow::Result<Lin> {
        let file = SafeTensors::deserialize(LIN).context("embedded lin weights")?;
        let layers = net.spec().tap_channels().into_iter().enumerate().map(|(layer, channels)| {
            tensor(&file, &format!("v{}.{net}.lin{layer}.weight", version.name()), &[channels])
        });
        Ok(Lin { layers: layers.collect::<anyhow::Result<_>>()?, sha256: LIN_SHA256.to_owned() })
    }
}

fn check_sha256(net: Net, found: &str) -> anyhow::Result<()> {
    let expected = published(net).sha256;
    ensure!(
        found == expected,
        "expected SHA-256 {expected}, found {found}: the file is damaged or is not the published \
         trunk"
    );
    Ok(())
}

fn tensor(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> anyhow::Result<Vec<f32>> {
    let Ok(view) = file.tensor(name) else { bail!("tensor `{name}` is missing") };
    ensure!(
        view.dtype() == Dtype::F32,
        "tensor `{name}` has type {:?}, expected F32",
        view.dtype()
    );
    ensure!(
        view.shape() == shape,
        "tensor `{name}` has shape {:?}, expected {shape:?}",
        view.shape()
    );
    let values: Vec<f32> = view
        .data()
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    ensure!(values.iter().all(|value| value.is_finite()), "tensor `{name}` is not finite");
    Ok(values)
}

/// One line of `lpips weights list`.
#[derive(Debug)]
pub struct Listed {
    /// `alex`, `vgg`, `squeeze`, `lin` or `dists`.
    pub name: &'static str,
    /// Where it is, or what was tried.
    pub source: Result<Source, Missing>,
    /// The SHA-256 that it must have.
    pub expected: &'static str,
}

/// Everything that the program could load, without reading it.
#[must_use]
pub fn list_all(search: &SearchPath) -> Vec<Listed> {
    let trunks = Net::ALL.map(|net| Listed {
        name: net.name(),
        source: search.find(net),
        expected: published(net).sha256,
    });
    let lin = Listed { name: "lin", source: Ok(Source::Embedded), expected: LIN_SHA256 };
    let dists = Listed { name: "dists", source: Ok(Source::Embedded), expected: DISTS_SHA256 };
    trunks.into_iter().chain([lin, dists]).collect()
}

/// Reads and hashes what `listed` found; returns the SHA-256.
///
/// # Errors
/// When it is missing, unreadable, not the published file, or lacks a tensor.
pub fn verify(listed: &Listed) -> anyhow::Result<&'static str> {
    let source = listed.source.as_ref().map_err(|missing| anyhow::anyhow!("{missing}"))?;
    let expected = listed.expected;
    if let Some(net) = Net::ALL.into_iter().find(|net| net.name() == listed.name) {
        if *source == Source::Embedded {
            check_sha256(net, &sha256_hex(ALEX))?;
        }
        Trunk::load(net, source)?;
        return Ok(expected);
    }
    let is_dists = listed.name == "dists";
    let found = sha256_hex(if is_dists { dists::FILE } else { LIN });
    ensure!(found == expected, "{source}: expected SHA-256 {expected}, found {found}");
    if is_dists {
        Dists::load()?;
        return Ok(expected);
    }
    for net in Net::ALL {
        for version in Version::ALL {
            Lin::load(net, version)?;
        }
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_embedded_is_what_was_published() {
        for listed in list_all(&SearchPath::new(None)) {
            if listed.source.as_ref().is_ok_and(|source| *source == Source::Embedded) {
                verify(&listed).unwrap();
            }
        }
    }

    #[test]
    fn absent_weights_name_every_path_and_the_remedy() {
        let search = SearchPath::new(Some(Path::new("/nowhere")));
        let missing = search.find(Net::Vgg).unwrap_err();
        assert_eq!(missing.to_string(), "no weights for vgg: tried `/nowhere/vgg.safetensors`");
        assert!(missing.remedy().contains("fetch_weights.py vgg"));
    }

    #[test]
    fn a_wrong_shape_names_the_tensor_and_both_shapes() {
        let error = Trunk::from_safetensors(Net::Vgg, ALEX, String::new()).unwrap_err();
        let text = format!("{error:#}");
        assert_eq!(
            text,
            "tensor `features.0.weight` has shape [64, 3, 11, 11], expected [64, 3, 3, 3]"
        );
    }

    #[test]
    fn bytes_that_are_no_safetensors_are_refused() {
        for bytes in [&b""[..], b"\x80\x02pickle", &[0xff; 64]] {
            let error = Trunk::from_safetensors(Net::Alex, bytes, String::new()).unwrap_err();
            assert!(format!("{error:#}").starts_with("not a safetensors file"), "{error:#}");
        }
    }
}
