//! Scores two images in memory and two files: `cargo run --release --example score`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use lpips::{Error, Lpips, Options};

fn main() -> Result<(), Error> {
    let mut lpips = Lpips::open(&Options::default())?;

    let samples: Vec<u8> = (0..64 * 64 * 3).map(|index| (index % 251) as u8).collect();
    let darker: Vec<u8> = samples.iter().map(|sample| sample / 2).collect();
    let (reference, distorted) = (lpips.bytes(64, 64, samples)?, lpips.bytes(64, 64, darker)?);
    println!("in memory: {:.4}", lpips.score(&reference, &distorted)?.total);

    let reference = lpips.file("tests/data/sr/hr/astronaut.png")?;
    let distorted = lpips.file("tests/data/sr/bicubic/astronaut.png")?;
    println!("files: {:.4}", lpips.score(&reference, &distorted)?.total);
    println!("{}", lpips.signature());
    Ok(())
}
