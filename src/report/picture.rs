//! Pictures for a page: small, in one file, for looking at and not for measuring.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mozjpeg::{ColorSpace, Compress};

use crate::image::{Image, Pixels, Size};

/// Longest side of a picture.
const SIDE_MAX: usize = 512;
/// Side of the square in which two images differ most.
pub const CROP_SIDE: usize = 128;
/// Of a JPEG file, without subsampling: differences in colour are what people look for.
const QUALITY: f32 = 90.0;

/// A picture as a data URI, and its extents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// `data:image/png;base64,...`.
    pub uri: String,
    /// Extents.
    pub size: Size,
}

impl Picture {
    /// A PNG file.
    #[must_use]
    pub fn png(file: &[u8], size: Size) -> Picture {
        Picture { uri: format!("data:image/png;base64,{}", STANDARD.encode(file)), size }
    }
}

/// Samples of 8 bits, (row, column, RGB).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rgb {
    /// Extents.
    pub size: Size,
    /// Samples.
    pub samples: Vec<u8>,
}

impl Rgb {
    /// An image as a screen shows it; floats are in 0..1.
    #[must_use]
    pub fn of(image: Image) -> Rgb {
        let samples = match image.pixels {
            Pixels::U8(samples) => samples,
            Pixels::F32(samples) => {
                samples.iter().map(|sample| (sample * 255.0).round() as u8).collect()
            }
        };
        Rgb { size: image.size, samples }
    }

    /// A JPEG file with sides of at most 512 pixels.
    ///
    /// # Errors
    /// Never, unless memory ends.
    pub fn thumbnail(&self) -> io::Result<Picture> {
        let size = shrunk(self.size);
        let planes: Vec<f32> = self.samples.iter().map(|&sample| f32::from(sample)).collect();
        let samples: Vec<u8> =
            resized(&planes, self.size, size, 3).iter().map(|value| value.round() as u8).collect();
        let mut jpeg = Compress::new(ColorSpace::JCS_RGB);
        jpeg.set_size(size.width, size.height);
        jpeg.set_fastest_defaults();
        jpeg.set_quality(QUALITY);
        jpeg.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
        let mut started = jpeg.start_compress(Vec::new())?;
        started.write_scanlines(&samples)?;
        let file = started.finish()?;
        Ok(Picture { uri: format!("data:image/jpeg;base64,{}", STANDARD.encode(file)), size })
    }

    /// The square at a corner, unchanged, as a PNG file.
    ///
    /// # Errors
    /// Never, unless memory ends.
    pub fn crop(&self, corner: Corner) -> Result<Picture, png::EncodingError> {
        let size = corner.size;
        let mut samples = Vec::with_capacity(size.samples());
        for row in corner.y..corner.y + size.height {
            let start = (row * self.size.width + corner.x) * 3;
            samples.extend_from_slice(&self.samples[start..start + size.width * 3]);
        }
        let mut file = Vec::new();
        // Sides are at most 128.
        let mut encoder = png::Encoder::new(&mut file, size.width as u32, size.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&samples)?;
        writer.finish()?;
        Ok(Picture::png(&file, size))
    }
}

/// A map with sides of at most 512 pixels.
#[must_use]
pub fn shrunk_map(map: &[f32], size: Size) -> (Vec<f32>, Size) {
    let small = shrunk(size);
    (resized(map, size, small, 1), small)
}

fn shrunk(size: Size) -> Size {
    let longest = size.width.max(size.height);
    if longest <= SIDE_MAX {
        return size;
    }
    let side = |side: usize| (side * SIDE_MAX + longest / 2) / longest;
    Size { width: side(size.width).max(1), height: side(size.height).max(1) }
}

/// Means over the area of each pixel, (row, column, channel); first along rows, then along columns.
fn resized(values: &[f32], from: Size, to: Size, channels: usize) -> Vec<f32> {
    if from == to {
        return values.to_vec();
    }
    let mut narrow: Vec<f32> = Vec::with_capacity(from.height * to.width * channels);
    let columns: Vec<Vec<(usize, f32)>> =
        (0..to.width).map(|at| weights(at, from.width, to.width)).collect();
    for row in values.chunks_exact(from.width * channels) {
        for weights in &columns {
            for channel in 0..channels {
                let of = |&(at, weight): &(usize, f32)| row[at * channels + channel] * weight;
                narrow.push(weights.iter().map(of).sum());
            }
        }
    }
    let width = to.width * channels;
    let mut small = Vec::with_capacity(to.height * width);
    for at in 0..to.height {
        let weights = weights(at, from.height, to.height);
        for column in 0..width {
            let of = |&(row, weight): &(usize, f32)| narrow[row * width + column] * weight;
            small.push(weights.iter().map(of).sum());
        }
    }
    small
}

/// Which pixels of `from` lie below the pixel `at` of `to`, and with which share of it.
fn weights(at: usize, from: usize, to: usize) -> Vec<(usize, f32)> {
    let scale = from as f64 / to as f64;
    let (start, end) = (at as f64 * scale, (at + 1) as f64 * scale);
    let last = (end.ceil() as usize).min(from);
    let share = |pixel: usize| {
        let covered = end.min((pixel + 1) as f64) - start.max(pixel as f64);
        (pixel, (covered / scale) as f32)
    };
    (start as usize..last).map(share).collect()
}

/// A rectangle of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corner {
    /// Its first column.
    pub x: usize,
    /// Its first row.
    pub y: usize,
    /// Its extents.
    pub size: Size,
}

/// The square of 128 pixels with the largest sum of a map, in steps of 8 pixels; smaller where the
/// image is.
#[must_use]
pub fn hottest(map: &[f32], size: Size) -> Corner {
    const STEP: usize = 8;
    let side = |side: usize| side.min(CROP_SIDE);
    let crop = Size { width: side(size.width), height: side(size.height) };
    // Sums over all pixels above and to the left.
    let stride = size.width + 1;
    let mut sums = vec![0.0f64; stride * (size.height + 1)];
    for y in 0..size.height {
        let mut row = 0.0;
        for x in 0..size.width {
            row += f64::from(map[y * size.width + x]);
            sums[(y + 1) * stride + x + 1] = sums[y * stride + x + 1] + row;
        }
    }
    let at = |x: usize, y: usize| sums[y * stride + x];
    let (mut best, mut corner) = (f64::NEG_INFINITY, Corner { x: 0, y: 0, size: crop });
    for y in (0..=size.height - crop.height).step_by(STEP) {
        for x in (0..=size.width - crop.width).step_by(STEP) {
            let (right, bottom) = (x + crop.width, y + crop.height);
            let sum = at(right, bottom) - at(x, bottom) - at(right, y) + at(x, y);
            if sum > best {
                (best, corner) = (sum, Corner { x, y, size: crop });
            }
        }
    }
    corner
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunk_map_keeps_its_mean() {
        let size = Size { width: 1030, height: 7 };
        let map: Vec<f32> = (0..size.width * size.height).map(|at| (at % 13) as f32).collect();
        let (small, of) = shrunk_map(&map, size);
        assert_eq!(of, Size { width: 512, height: 3 });
        let mean = |values: &[f32]| {
            values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64
        };
        assert!((mean(&small) - mean(&map)).abs() < 1e-3, "{} {}", mean(&small), mean(&map));
        let unchanged = Size { width: 2, height: 1 };
        assert_eq!(shrunk_map(&[1.0, 2.0], unchanged), (vec![1.0, 2.0], unchanged));
    }

    #[test]
    fn the_hottest_square_holds_the_largest_values() {
        let size = Size { width: 400, height: 300 };
        let mut map = vec![0.0; size.width * size.height];
        map[250 * size.width + 390] = 1.0;
        let Corner { x, y, size: of } = hottest(&map, size);
        assert_eq!(of, Size { width: 128, height: 128 });
        assert!((x..x + 128).contains(&390) && (y..y + 128).contains(&250));
        assert_eq!(hottest(&[0.5; 12], Size { width: 4, height: 3 }).size.width, 4);
    }

    #[test]
    fn pictures_are_files_of_their_kind() {
        let size = Size { width: 600, height: 300 };
        let rgb = Rgb { size, samples: vec![77; size.samples()] };
        let thumbnail = rgb.thumbnail().unwrap();
        assert_eq!(thumbnail.size, Size { width: 512, height: 256 });
        let bytes =
            |picture: &Picture| STANDARD.decode(picture.uri.split_once(',').unwrap().1).unwrap();
        assert!(bytes(&thumbnail).starts_with(b"\xff\xd8"));
        let corner = Corner { x: 3, y: 5, size: Size { width: 16, height: 9 } };
        let crop = rgb.crop(corner).unwrap();
        let decoded =
            crate::image::decode_bytes(&bytes(&crop), &crate::image::Rules::default()).unwrap();
        assert_eq!(Rgb::of(decoded), Rgb { size: corner.size, samples: vec![77; 16 * 9 * 3] });
    }
}
