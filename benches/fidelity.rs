//! PSNR and SSIM of a pair of 2040x1356 on one thread, beside decoding its two PNG files.
//!
//! `cargo bench --bench fidelity` prints times; `LPIPS_BENCH_ISA` (portable, avx2, avx512) says
//! which instruction set. The pair consists of photographs side by side with noise, so that its
//! files are as hard to inflate as photographs of that size.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use divan::Bencher;
use lpips::fidelity::{Channels, Kind, Luma, Matrix, Metric};
use lpips::image::{Image, Pixels, Range, Rules, Size, decode, decode_bytes};
use lpips::isa::Isa;
use lpips::random::SplitMix64;

const SIZE: Size = Size { width: 2040, height: 1356 };

fn main() {
    divan::main();
}

fn isa() -> Isa {
    let name = std::env::var("LPIPS_BENCH_ISA").ok();
    let named = name.map(|name| Isa::ALL.into_iter().find(|isa| isa.to_string() == name).unwrap());
    named.unwrap_or_else(Isa::best)
}

/// Photographs of `folder` side by side, with noise of up to 2.
fn image(folder: &str, seed: u64) -> Image {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sr").join(folder);
    let mut paths: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|one| one.unwrap().path()).collect();
    paths.sort();
    let photographs: Vec<Image> =
        paths.iter().map(|path| decode(path, &Rules::default()).unwrap()).collect();
    let mut random = SplitMix64::new(seed);
    let mut samples = Vec::with_capacity(SIZE.samples());
    for y in 0..SIZE.height {
        for x in 0..SIZE.width {
            let photograph = &photographs[(x / 256 + y / 256) % photographs.len()];
            let Pixels::U8(from) = &photograph.pixels else { panic!("a photograph of bytes") };
            let Size { width, height } = photograph.size;
            let at = 3 * (y % 256 % height * width + x % 256 % width);
            let noisy =
                |sample: u8, noise: usize| sample.saturating_add(noise as u8).saturating_sub(2);
            samples.extend(from[at..at + 3].iter().map(|&sample| noisy(sample, random.below(5))));
        }
    }
    Image::new(SIZE, Pixels::U8(samples))
}

fn png_of(image: &Image) -> Vec<u8> {
    let Pixels::U8(samples) = &image.pixels else { unreachable!() };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIZE.width as u32, SIZE.height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    bytes
}

#[divan::bench]
fn decode_both(bencher: Bencher<'_, '_>) {
    let files = [image("hr", 1), image("bicubic", 2)].map(|image| png_of(&image));
    let rules = Rules::default();
    bencher.bench_local(|| files.each_ref().map(|bytes| decode_bytes(bytes, &rules).unwrap()));
}

const PSNR: Kind = Kind::Psnr { capped: false };
const SSIM: Kind = Kind::Ssim { clamped: false };
const Y: Channels = Channels::Luma(Luma { matrix: Matrix::Bt601, rounded: false });
const COLUMNS: [(&str, Kind, Channels); 4] = [
    ("psnr_y", PSNR, Y),
    ("ssim_y", SSIM, Y),
    ("psnr_rgb", PSNR, Channels::Rgb),
    ("ssim_rgb", SSIM, Channels::Rgb),
];

#[divan::bench(args = COLUMNS.map(|(name, ..)| name))]
fn column(bencher: Bencher<'_, '_>, name: &str) {
    let &(_, kind, channels) = COLUMNS.iter().find(|(of, ..)| *of == name).unwrap();
    let metric = Metric { kind, channels, border: 0, range: Range::Unit };
    let (reference, distorted, isa) = (image("hr", 1), image("bicubic", 2), isa());
    bencher.bench_local(|| metric.measure_with(isa, &reference, &distorted).unwrap());
}
