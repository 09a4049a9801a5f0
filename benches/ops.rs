//! The convolutions of AlexNet and VGG16, one by one, for the two images of a 256x256 pair.
//!
//! `cargo bench --bench ops` prints times and effective rates: multiplications and additions of the
//! direct algorithm per second, which minimal filtering does with fewer. `LPIPS_BENCH_THREADS`
//! (default 1) says how many threads compute, `LPIPS_BENCH_ISA` (portable, avx2, avx512) which
//! instruction set. `peak` and `copy` are the ceilings of one core: multiplications and additions, and
//! bytes read and written.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use lpips::eval::cpu::single::{Shape, Single, multiply_add};
use lpips::isa::Isa;

const IMAGES: usize = 2;

fn main() {
    divan::main();
}

const fn square(c_in: usize, c_out: usize, side: usize) -> Shape {
    Shape { c_in, c_out, kernel: 3, stride: 1, pad: 1, side }
}

const VGG: [(&str, Shape); 9] = [
    ("1_1", square(3, 64, 256)),
    ("1_2", square(64, 64, 256)),
    ("2_1", square(64, 128, 128)),
    ("2_2", square(128, 128, 128)),
    ("3_1", square(128, 256, 64)),
    ("3_2", square(256, 256, 64)),
    ("4_1", square(256, 512, 32)),
    ("4_2", square(512, 512, 32)),
    ("5_1", square(512, 512, 16)),
];

const ALEX: [(&str, Shape); 5] = [
    ("1", Shape { c_in: 3, c_out: 64, kernel: 11, stride: 4, pad: 2, side: 256 }),
    ("2", Shape { c_in: 64, c_out: 192, kernel: 5, stride: 1, pad: 2, side: 31 }),
    ("3", square(192, 384, 15)),
    ("4", square(384, 256, 15)),
    ("5", square(256, 256, 15)),
];

fn isa() -> Isa {
    let name = std::env::var("LPIPS_BENCH_ISA").ok();
    let named = name.map(|name| Isa::ALL.into_iter().find(|isa| isa.to_string() == name).unwrap());
    named.unwrap_or_else(Isa::best)
}

fn convolve(bencher: Bencher<'_, '_>, list: &[(&str, Shape)], name: &str) {
    let shape = list.iter().find(|(of, _)| *of == name).unwrap().1;
    let threads = std::env::var("LPIPS_BENCH_THREADS").map_or(1, |count| count.parse().unwrap());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let mut single = pool.install(|| {
        let mut single = Single::new(shape, IMAGES, isa());
        single.run();
        single
    });
    let bencher = bencher.counter(ItemsCount::new(IMAGES * shape.flops()));
    bencher.bench_local(|| pool.install(|| single.run()));
}

#[divan::bench(args = VGG.map(|(name, _)| name))]
fn vgg(bencher: Bencher<'_, '_>, name: &str) {
    convolve(bencher, &VGG, name);
}

#[divan::bench(args = ALEX.map(|(name, _)| name))]
fn alex(bencher: Bencher<'_, '_>, name: &str) {
    convolve(bencher, &ALEX, name);
}

#[divan::bench]
fn peak(bencher: Bencher<'_, '_>) {
    const ROUNDS: usize = 1_000_000;
    let flops = multiply_add(isa(), ROUNDS);
    bencher.counter(ItemsCount::new(flops)).bench_local(|| multiply_add(isa(), ROUNDS));
}

#[divan::bench]
fn copy(bencher: Bencher<'_, '_>) {
    const LEN: usize = 64 << 20;
    let (src, mut dst) = (vec![1.0f32; LEN], vec![0.0f32; LEN]);
    let bytes = BytesCount::new(2 * size_of_val(src.as_slice()));
    bencher.counter(bytes).bench_local(|| dst.copy_from_slice(divan::black_box(&src)));
}
