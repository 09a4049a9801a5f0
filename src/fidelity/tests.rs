//! PSNR and SSIM against golden values, and against loops that follow the definitions word by word.

use std::path::PathBuf;

use super::*;
use crate::image::{self, Pixels, Rules};
use crate::random::SplitMix64;

fn metric(name: &str, border: usize) -> Metric {
    let (kind, channels) = name.split_once('_').unwrap();
    let luma = |matrix| Channels::Luma(Luma { matrix, rounded: name.contains("_rounded") });
    let channels = match channels.split('_').next().unwrap() {
        "rgb" => Channels::Rgb,
        "y" => luma(Matrix::Bt601),
        "yiq" => luma(Matrix::Yiq),
        other => panic!("{other}"),
    };
    let kind = match kind {
        "psnr" => Kind::Psnr { capped: name.contains("_capped") },
        "ssim" => Kind::Ssim { clamped: name.contains("_clamped") },
        other => panic!("{other}"),
    };
    Metric { kind, channels, border, range: Range::Unit }
}

/// Every metric that a golden file names.
const NAMES: [&str; 11] = [
    "psnr_rgb",
    "psnr_y",
    "ssim_rgb",
    "ssim_y",
    "psnr_y_rounded",
    "psnr_y_capped",
    "psnr_yiq_capped",
    "ssim_rgb_clamped",
    "ssim_y_rounded",
    "ssim_y_rounded_clamped",
    "ssim_yiq_rounded_clamped",
];

fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden")
}

/// The value, equal on every instruction set.
fn measure(metric: Metric, reference: &Image, distorted: &Image) -> f64 {
    let mut values = available().map(|isa| metric.measure_with(isa, reference, distorted).unwrap());
    let first = values.next().unwrap();
    for value in values {
        assert_eq!(value.to_bits(), first.to_bits(), "{metric:?}: {value} and {first}");
    }
    first
}

/// `expected` within 1e-9 of its size and within half a unit of its last digit.
fn assert_close(value: f64, expected: &str, context: &str) {
    let digits = expected.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let expected: f64 = expected.parse().unwrap();
    let limit = 1e-9 * expected.abs() + 0.5 * 10f64.powi(-(digits as i32));
    let is_close = value == expected || (value - expected).abs() <= limit;
    assert!(is_close, "{context}: {value} instead of {expected}");
}

#[test]
fn golden_values_come_out() {
    let mut found = Vec::new();
    for file in ["companions.csv", "fidelity.csv"] {
        let mut table = csv::Reader::from_path(golden().join(file)).unwrap();
        let header = table.headers().unwrap().clone();
        for row in table.records().map(Result::unwrap) {
            let (id, border) = (&row[0], row[1].parse().unwrap());
            let [reference, distorted] = ["ref", "dist"].map(|which| {
                let path = golden().join(format!("images/{id}_{which}.png"));
                image::decode(&path, &Rules::default()).unwrap()
            });
            for (name, expected) in header.iter().zip(&row).skip(2) {
                if name == "dists" {
                    continue;
                }
                let value = measure(metric(name, border), &reference, &distorted);
                assert_close(value, expected, &format!("{name} of {id} without {border}"));
                found.push(name.to_owned());
            }
        }
    }
    assert!(NAMES.iter().all(|name| found.iter().filter(|one| one == name).count() == 20));
}

/// An image of random samples whose local contrast varies.
fn random(width: usize, height: usize, seed: u64) -> Image {
    let mut random = SplitMix64::new(seed);
    let mut sample = |index: usize| {
        let contrast = 1 + (index / 97) % 256;
        (random.below(contrast) + (256 - contrast) / 2) as u8
    };
    let size = Size { width, height };
    Image::new(size, Pixels::U8((0..size.samples()).map(&mut sample).collect()))
}

/// The inner samples of a plane, (row, column), in 0 to 255.
fn plane(image: &Image, border: usize, value: impl Fn([f64; 3]) -> f64) -> Vec<Vec<f64>> {
    let Size { width, height } = image.size;
    let sample = |at: usize| match &image.pixels {
        Pixels::U8(samples) => f64::from(samples[at]),
        Pixels::F32(samples) => f64::from(samples[at]) * 255.0,
    };
    let pixel = |y: usize, x: usize| [0, 1, 2].map(|channel| sample(3 * (y * width + x) + channel));
    let row = |y| (border..width - border).map(|x| value(pixel(y, x))).collect();
    (border..height - border).map(row).collect()
}

fn plain_value(metric: Metric, reference: &Image, distorted: &Image) -> f64 {
    let value = |channel: usize| {
        move |pixel: [f64; 3]| {
            let [red, green, blue] = pixel;
            let Channels::Luma(luma) = metric.channels else { return pixel[channel] };
            let value = match luma.matrix {
                Matrix::Bt601 => 16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0,
                Matrix::Yiq => 0.299 * red + 0.587 * green + 0.114 * blue,
            };
            if luma.rounded { value.round_ties_even() } else { value }
        }
    };
    let channels: usize = if metric.channels == Channels::Rgb { 3 } else { 1 };
    let planes = (0..channels)
        .map(|one| [reference, distorted].map(|image| plane(image, metric.border, value(one))));
    let each = planes.map(|[reference, distorted]| match metric.kind {
        Kind::Psnr { .. } => plain_error(&reference, &distorted),
        Kind::Ssim { clamped } => plain_ssim(&reference, &distorted, clamped),
    });
    let mean = each.sum::<f64>() / channels as f64;
    match metric.kind {
        Kind::Psnr { capped: false } => 10.0 * (255.0 * 255.0 / mean).log10(),
        Kind::Psnr { capped: true } => 10.0 * (1.0 / (mean / 65025.0 + 1e-8)).log10(),
        Kind::Ssim { .. } => mean,
    }
}

fn plain_error(reference: &[Vec<f64>], distorted: &[Vec<f64>]) -> f64 {
    let pairs = reference.iter().flatten().zip(distorted.iter().flatten());
    let count = reference.len() * reference[0].len();
    pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>() / count as f64
}

fn plain_ssim(reference: &[Vec<f64>], distorted: &[Vec<f64>], clamped: bool) -> f64 {
    let weight = |tap: usize| (-(tap as f64 - 5.0).powi(2) / (2.0 * 1.5 * 1.5)).exp();
    let sum: f64 = (0..11).flat_map(|i| (0..11).map(move |j| weight(i) * weight(j))).sum();
    let (rows, columns) = (reference.len() - 10, reference[0].len() - 10);
    let mut total = 0.0;
    for y in 0..rows {
        for x in 0..columns {
            let mean = |value: &dyn Fn(f64, f64) -> f64| -> f64 {
                let positions = (0..11).flat_map(|i| (0..11).map(move |j| (i, j)));
                let of = |(i, j): (usize, usize)| {
                    let (a, b) = (reference[y + i][x + j], distorted[y + i][x + j]);
                    weight(i) * weight(j) / sum * value(a, b)
                };
                positions.map(of).sum()
            };
            let (a, b) = (mean(&|a, _| a), mean(&|_, b| b));
            let variance_a = mean(&|a, _| a * a) - a * a;
            let variance_b = mean(&|_, b| b * b) - b * b;
            let covariance = mean(&|a, b| a * b) - a * b;
            let luminance = (2.0 * a * b + 6.5025) / (a * a + b * b + 6.5025);
            let contrast = (2.0 * covariance + 58.5225) / (variance_a + variance_b + 58.5225);
            total += luminance * if clamped { contrast.max(0.0) } else { contrast };
        }
    }
    total / (rows * columns) as f64
}

/// Sides around those of strips and of the window, with and without a border.
#[test]
fn plain_loops_give_the_same_values() {
    for (width, height, border) in
        [(11, 11, 0), (12, 40, 0), (75, 23, 2), (74, 12, 0), (139, 16, 1)]
    {
        let (reference, distorted) = (random(width, height, 1), random(width, height, 2));
        for name in NAMES {
            let metric = metric(name, border);
            let value = measure(metric, &reference, &distorted);
            let expected = plain_value(metric, &reference, &distorted);
            let error = (value - expected).abs();
            let context = format!("{name} of {width}x{height}");
            assert!(error <= 1e-11 * expected.abs().max(1e-3), "{context}: {value}, {expected}");
        }
    }
}

#[test]
fn identical_images_have_the_best_value() {
    let image = random(80, 40, 3);
    for name in NAMES {
        let expected = match metric(name, 0).kind {
            Kind::Psnr { capped: false } => f64::INFINITY,
            Kind::Psnr { capped: true } => 80.0,
            Kind::Ssim { .. } => 1.0,
        };
        assert_eq!(measure(metric(name, 1), &image, &image), expected, "{name}");
    }
}

/// The samples of an image as `white` times theirs, in 0..1 or -1..1.
fn deeper(image: &Image, white: u16, range: Range) -> Image {
    let Pixels::U8(samples) = &image.pixels else { unreachable!() };
    let factor = white / 255;
    let unit = |&sample: &u8| f32::from(u16::from(sample) * factor) / f32::from(white);
    let pixels = range.of_integers(Pixels::F32(samples.iter().map(unit).collect()));
    Image { white: Some(white), ..Image::new(image.size, pixels) }
}

#[test]
fn a_depth_or_range_that_stores_the_same_samples_changes_no_bit() {
    let (reference, distorted) = (random(70, 20, 4), random(70, 20, 5));
    for name in NAMES {
        let expected = measure(metric(name, 1), &reference, &distorted);
        for (white, range) in [(65535, Range::Unit), (65535, Range::Signed), (255, Range::Signed)] {
            let [reference, distorted] =
                [&reference, &distorted].map(|image| deeper(image, white, range));
            let value = measure(Metric { range, ..metric(name, 1) }, &reference, &distorted);
            assert_eq!(value.to_bits(), expected.to_bits(), "{name} of {white}, {range:?}");
        }
    }
}

/// One step of 16 bits is 255/65535, although a float32 near 1 holds such a step 0.1 % off.
#[test]
fn samples_of_16_bits_are_not_rounded() {
    let size = Size { width: 16, height: 16 };
    let all = |sample: u16| {
        let pixels = Pixels::F32(vec![f32::from(sample) / 65535.0; size.samples()]);
        Image { white: Some(65535), ..Image::new(size, pixels) }
    };
    for sample in [1, 40_001, 65_533] {
        let value = measure(metric("psnr_rgb", 0), &all(sample), &all(sample + 1));
        assert!((value / (20.0 * 65535f64.log10()) - 1.0).abs() < 1e-9, "{sample}: {value}");
    }
}

/// Floats that are no fractions of integers are used as they are.
#[test]
fn floats_are_compared_at_full_precision() {
    let size = Size { width: 30, height: 20 };
    let floats = |seed| {
        let mut random = SplitMix64::new(seed);
        let samples = (0..size.samples()).map(|_| random.unit() as f32).collect();
        Image::new(size, Pixels::F32(samples))
    };
    let (reference, distorted) = (floats(1), floats(2));
    for name in ["psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"] {
        let metric = metric(name, 0);
        let expected = plain_value(metric, &reference, &distorted);
        let value = measure(metric, &reference, &distorted);
        assert!((value - expected).abs() <= 1e-11 * expected.abs(), "{name}: {value}, {expected}");
    }
}

#[test]
fn images_that_are_too_small_are_refused_with_the_side_that_is_needed() {
    let image = random(20, 18, 6);
    let refused = |name, border| metric(name, border).measure(&image, &image).unwrap_err();
    assert_eq!(
        refused("ssim_y", 4).to_string(),
        "SSIM needs at least 19 pixels on each side with a border of 4 to cut, found 20x18"
    );
    let small = random(20, 10, 6);
    assert_eq!(
        metric("ssim_rgb", 0).measure(&small, &small).unwrap_err().to_string(),
        "SSIM needs at least 11 pixels on each side, found 20x10"
    );
    assert!(refused("psnr_y", 9).to_string().starts_with("PSNR needs at least 19 pixels"));
    assert!(metric("psnr_y", 8).measure(&image, &image).is_ok());
}

#[test]
fn a_name_holds_what_is_unusual() {
    let name = |kind, channels| Metric::new(kind, channels).to_string();
    let luma = |matrix, rounded| Channels::Luma(Luma { matrix, rounded });
    assert_eq!(name(Kind::Psnr { capped: true }, Channels::Rgb), "psnr_rgb");
    assert_eq!(name(Kind::Psnr { capped: false }, luma(Matrix::Bt601, true)), "psnr_y_rounded");
    assert_eq!(name(Kind::Ssim { clamped: false }, luma(Matrix::Bt601, false)), "ssim_y");
    let other = name(Kind::Ssim { clamped: true }, luma(Matrix::Yiq, true));
    assert_eq!(other, "ssim_yiq_rounded_clamped");
}
