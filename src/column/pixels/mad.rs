//! The mean absolute difference of RGB samples, 0 to 255. It shows in tests what a metric of pixels
//! takes.

use super::PixelMetric;
use crate::column::{Better, Value};
use crate::image::{Image, Pixels};

pub(super) const MAD_RGB: PixelMetric = PixelMetric {
    name: "mad_rgb",
    better: Better::Lower,
    settings: &[("peak", "255")],
    measure: |reference, distorted| Ok(Value::whole(mean_difference(reference, distorted))),
};

fn mean_difference(reference: &Image, distorted: &Image) -> f64 {
    let differences = samples(reference).zip(samples(distorted)).map(|(a, b)| (a - b).abs());
    differences.sum::<f64>() / reference.size.samples() as f64
}

fn samples(image: &Image) -> Box<dyn Iterator<Item = f64> + '_> {
    match &image.pixels {
        Pixels::U8(samples) => Box::new(samples.iter().copied().map(f64::from)),
        Pixels::F32(samples) => Box::new(samples.iter().map(|&x| 255.0 * f64::from(x))),
    }
}
