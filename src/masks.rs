//! Masks: one image of weights per item, read beside the pair.

use std::path::{Path, PathBuf};

use crate::code::Code;
use crate::error::Failure;
use crate::image::Size;
use crate::image::{self, ImageError, Pixels, Stamp};
use crate::metric::Mask;

/// What a mask's name may end with.
const EXTENSIONS: [&str; 10] =
    ["png", "npy", "tif", "tiff", "bmp", "webp", "pgm", "pnm", "jpg", "jpeg"];

/// Where masks are and how they are read.
#[derive(Clone, Debug)]
pub struct Masks {
    /// A mask is `<item>.<extension>` below this folder.
    pub folder: PathBuf,
    /// Masks are cut as the images are.
    pub rules: image::Rules,
}

impl Masks {
    /// What can be said against the mask of `item`, which must be of `size`, without decoding it.
    ///
    /// # Errors
    /// When there is none or more than one, its header cannot be read, or it has another size.
    pub fn check(&self, item: &str, size: Size) -> Result<(), Failure> {
        let path = self.find(item)?;
        let header = image::header(&path).map_err(|error| unreadable(&error))?;
        let found = self
            .rules
            .scored(header.size)
            .map_err(|error| fault(format!("mask `{}`: {}", path.display(), error.reason())))?;
        expect_size(&path, found, size)
    }

    /// The mask of `item`, which must be of `size`.
    ///
    /// # Errors
    /// When there is none or more than one, it is no image, is coloured, or has another size.
    pub fn load(&self, item: &str, size: Size) -> Result<(Mask, Stamp), Failure> {
        let path = self.find(item)?;
        let mask = image::decode(&path, &self.rules).map_err(|error| unreadable(&error))?;
        expect_size(&path, mask.size, size)?;
        let weights = match &mask.pixels {
            Pixels::U8(samples) => grey(samples, |sample| f32::from(sample) / 255.0),
            Pixels::F32(samples) => grey(samples, |sample| sample),
        };
        let weights = weights.ok_or_else(|| {
            let shown = path.display();
            fault(format!("mask `{shown}` is coloured: expected a grey image of weights"))
        })?;
        Ok((Mask { size, weights }, mask.stamp))
    }

    /// The file of the mask of `item`.
    ///
    /// # Errors
    /// When there is none or more than one.
    pub fn find(&self, item: &str) -> Result<PathBuf, Failure> {
        let with = |extension: &str| self.folder.join(format!("{item}.{extension}"));
        let mut found = EXTENSIONS.into_iter().map(with).filter(|path| path.is_file());
        match (found.next(), found.next()) {
            (Some(path), None) => Ok(path),
            (Some(one), Some(other)) => Err(fault(format!(
                "two masks for item `{item}`: `{}` and `{}`",
                one.display(),
                other.display()
            ))),
            (None, _) => Err(fault(format!(
                "no mask for item `{item}`: expected `{}` or another image of that name",
                shown(&self.folder.join(item))
            ))),
        }
    }
}

fn expect_size(path: &Path, found: Size, expected: Size) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(fault(format!("mask `{}` is {found}, the images are {expected}", path.display())))
}

fn unreadable(error: &ImageError) -> Failure {
    fault(format!("mask {error}"))
}

fn shown(stem: &Path) -> String {
    format!("{}.png", stem.display())
}

fn fault(text: String) -> Failure {
    Failure::new(Code::Mask, text)
}

/// One value per pixel of RGB samples that are equal in every pixel.
fn grey<T: Copy + PartialEq>(samples: &[T], value: impl Fn(T) -> f32) -> Option<Vec<f32>> {
    let pixel =
        |pixel: &[T]| (pixel[0] == pixel[1] && pixel[0] == pixel[2]).then(|| value(pixel[0]));
    samples.chunks_exact(3).map(pixel).collect()
}
