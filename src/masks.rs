//! Masks: one image of weights per item, read beside the pair.
//!
//! A mask lies below the folder of masks, whatever an item is called, and its samples are weights
//! from 0 to 1, whatever the samples of images stand for. This module refuses to know what is
//! weighted.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use crate::code::Code;
use crate::error::Failure;
use crate::image::{self, Alpha, ImageError, Pixels, Range, Rules, Size, SizePolicy, Stamp};
use crate::metric::Mask;

/// What a mask's name may end with.
const EXTENSIONS: [&str; 10] =
    ["png", "npy", "tif", "tiff", "bmp", "webp", "pgm", "pnm", "jpg", "jpeg"];

/// Where masks are and how they are read.
#[derive(Clone, Debug)]
pub struct Masks {
    /// A mask is `<item>.<extension>` below this folder.
    pub folder: PathBuf,
    /// Rules of the images: masks have their sizes and are cut as they are.
    pub rules: Rules,
}

impl Masks {
    /// What is wrong with the mask of `item`, whose images have `size` after they were cut, as far
    /// as its header shows.
    ///
    /// # Errors
    /// When there is none or more than one, its header cannot be read, or it has another size.
    pub fn check(&self, item: &str, size: Size) -> Result<(), Unusable> {
        let path = self.find(item)?;
        let header = image::header(&path)?;
        let found = self
            .rules
            .scored(header.size)
            .map_err(|error| fault(format!("mask `{}`: {}", path.display(), error.reason())))?;
        Ok(self.expect_size(&path, found, size)?)
    }

    /// The mask of `item`, whose `images` have `size` after they were cut.
    ///
    /// # Errors
    /// When there is none or more than one, it is one of the images or no image, is coloured, or
    /// has another size.
    pub fn load(
        &self,
        item: &str,
        size: Size,
        images: [&Path; 2],
    ) -> Result<(Mask, Stamp), Unusable> {
        self.expect_none_of(images, item)?;
        let path = self.find(item)?;
        let mask = image::decode(&path, &self.decoding())?;
        self.expect_size(&path, mask.size, size)?;
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
    /// When there is none or more than one below the folder of masks.
    pub fn find(&self, item: &str) -> Result<PathBuf, Failure> {
        let folder = self.folder.display();
        let is_name = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(item).components().all(is_name) {
            return Err(fault(format!(
                "no mask for item `{item}`: the name leads out of `{folder}`; name the items of \
                 the pairs in a column `item`"
            )));
        }
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
                with("png").display()
            ))),
        }
    }

    /// Refuses a folder of masks that holds the images themselves. A file that has the name of one
    /// of the images may be it.
    ///
    /// # Errors
    /// When the mask of `item` is one of `images`.
    pub fn expect_none_of(&self, images: [&Path; 2], item: &str) -> Result<(), Failure> {
        let Ok(mask) = self.find(item) else { return Ok(()) };
        let file = |path: &Path| fs_err::metadata(path).ok().map(|of| (of.dev(), of.ino()));
        let is_mask =
            |image: &&Path| image.file_name() == mask.file_name() && file(image) == file(&mask);
        images.iter().find(|image| is_mask(image)).map_or(Ok(()), |image| {
            let (folder, image) = (self.folder.display(), image.display());
            Err(fault(format!(
                "`{image}` would be its own mask: `{folder}` holds images, not masks"
            )))
        })
    }

    /// Samples are weights: whole numbers over the largest one, or floats from 0 to 1; without
    /// transparency.
    fn decoding(&self) -> Rules {
        Rules { range: Range::Unit, alpha: Alpha::Drop, ..self.rules }
    }

    fn expect_size(&self, path: &Path, found: Size, expected: Size) -> Result<(), Failure> {
        if found == expected {
            return Ok(());
        }
        let is_cut = self.rules.crop_border > 0 || self.rules.size_policy != SizePolicy::Error;
        let cut = match is_cut {
            true => ", all of them cut; a mask has the size of its images before they are cut",
            false => "",
        };
        let shown = path.display();
        Err(fault(format!("mask `{shown}` is {found}, the images are {expected}{cut}")))
    }
}

/// Why there is no mask.
#[derive(Debug)]
pub enum Unusable {
    /// The pair fails.
    Mask(Failure),
    /// The machine is at fault, so that the run ends.
    Machine(ImageError),
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Unusable {
        Unusable::Mask(failure)
    }
}

impl From<ImageError> for Unusable {
    fn from(error: ImageError) -> Unusable {
        match error.is_of_machine() {
            true => Unusable::Machine(error),
            false => Unusable::Mask(fault(format!("mask {error}"))),
        }
    }
}

impl Unusable {
    /// The failure of a pair; an error if the run must end.
    ///
    /// # Errors
    /// When the machine is at fault.
    pub fn failure(self) -> anyhow::Result<Failure> {
        match self {
            Unusable::Mask(failure) => Ok(failure),
            Unusable::Machine(error) => Err(error.into()),
        }
    }
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
