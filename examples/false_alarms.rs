//! How often the gate `mean > 0 @ 95%` fires although nothing changed, for docs/statistics.md.
//!
//! ```sh
//! cargo run --release --example false_alarms
//! ```
//!
//! For each number of items and shape of differences it simulates 2,000 comparisons of two runs
//! whose mean difference is truly zero, and counts how often the interval lies above zero (the gate
//! fires) and below zero (it would fire with the runs exchanged). 2.5 % each are promised for
//! symmetric differences.
#![allow(clippy::print_stdout, reason = "an example prints")]

use lpips::compare::assess::{Sample, Settings};
use lpips::compare::subsets::Interval;

const COMPARISONS: u32 = 2000;
const ITEMS: [usize; 3] = [8, 20, 50];
/// Standard deviation of the logarithm of skewed differences.
const SKEW: f64 = 0.8;

/// SplitMix64.
struct Random(u64);

impl Random {
    /// Uniform above 0 and up to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    /// Log-normal with the mean subtracted: few large increases, many small decreases.
    fn skewed(&mut self) -> f64 {
        (SKEW * self.normal()).exp() - (SKEW * SKEW / 2.0).exp()
    }
}

/// Draws a difference.
type Draw = fn(&mut Random) -> f64;

fn main() {
    println!("| items | differences | fires | would fire with the runs exchanged | both |");
    println!("|---:|---|---:|---:|---:|");
    let shapes: [(&str, Draw); 2] = [("normal", Random::normal), ("skewed", Random::skewed)];
    for items in ITEMS {
        for (name, draw) in shapes {
            let mut random = Random(1);
            let (mut above, mut below) = (0, 0);
            for _ in 0..COMPARISONS {
                let differences: Vec<f64> = (0..items).map(|_| draw(&mut random)).collect();
                let row = Sample::of_differences(&differences).assess(&Settings::default());
                let Some(Interval { low, high, .. }) = row.interval else { continue };
                above += u32::from(low > 0.0);
                below += u32::from(high < 0.0);
            }
            let percent = |count: u32| 100.0 * f64::from(count) / f64::from(COMPARISONS);
            println!(
                "| {items} | {name} | {:.1} % | {:.1} % | {:.1} % |",
                percent(above),
                percent(below),
                percent(above + below)
            );
        }
    }
}
