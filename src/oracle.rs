//! LPIPS and DISTS in float64, written as plainly as possible: the reference for the evaluators.
//!
//! It walks the same plans as the evaluators, and shares nothing else with them. The self-test and
//! the tests compute their expected values with it. A convolution adds its products in the order
//! (input channel, kernel row, kernel column); output channels are divided among threads.

use rayon::prelude::*;

use crate::eval::{Affine, Metric, Model};
use crate::image::{Image, Pixels};
use crate::net::plan::{ConvStep, Plan, Shape, Slot, Step, TooSmall};
use crate::net::weights::{Conv, Dists};

/// Values of an activation, or of a map: (channel, row, column).
pub type Values = Vec<f64>;

/// The activations of one image at every tap.
#[derive(Clone, PartialEq, Debug)]
pub struct Taps(Vec<(Shape, Values)>);

/// The trunk's input.
fn input(image: &Image, model: &Model) -> Values {
    let Affine { gain, bias } = model.input;
    let pixels = image.size.width * image.size.height;
    let sample = |index: usize| match &image.pixels {
        Pixels::U8(samples) => f64::from(samples[index]) / 255.0,
        Pixels::F32(samples) => f64::from(samples[index]),
    };
    let value = |index: usize| {
        let (c, pixel) = (index / pixels, index % pixels);
        let v = f64::from(gain) * sample(3 * pixel + c) + f64::from(bias);
        let scaled =
            |(shift, scale): ([f32; 3], [f32; 3])| (v - f64::from(shift[c])) / f64::from(scale[c]);
        model.version.scaling().map_or(v, scaled)
    };
    (0..3 * pixels).map(value).collect()
}

/// Convolution with zero padding, bias, ReLU.
#[must_use]
pub fn convolve(
    src: &[f64],
    from: Shape,
    to: Shape,
    (stride, pad): (usize, usize),
    conv: &Conv,
) -> Values {
    let (area, kernel) = (to.h * to.w, conv.spec.kernel);
    let mut out = vec![0.0; to.len()];
    out.par_chunks_exact_mut(area).enumerate().for_each(|(o, out)| {
        out.fill(f64::from(conv.bias[o]));
        for (i, ky, kx) in positions(Shape { c: from.c, h: kernel, w: kernel }) {
            let weight = f64::from(conv.weight[((o * from.c + i) * kernel + ky) * kernel + kx]);
            for (y, row) in out.chunks_exact_mut(to.w).enumerate() {
                let Some(sy) = (y * stride + ky).checked_sub(pad).filter(|&sy| sy < from.h) else {
                    continue;
                };
                let src = &src[(i * from.h + sy) * from.w..][..from.w];
                for (x, out) in row.iter_mut().enumerate() {
                    let sx = (x * stride + kx).wrapping_sub(pad);
                    if let Some(value) = src.get(sx) {
                        *out += weight * value;
                    }
                }
            }
        }
        for value in out {
            *value = value.max(0.0);
        }
    });
    out
}

/// Max-pooling without padding. Only the elements inside count.
#[must_use]
pub fn max_pool(src: &[f64], from: Shape, to: Shape, kernel: usize, stride: usize) -> Values {
    let window = |(c, y, x): (usize, usize, usize)| {
        positions(Shape { c: 1, h: kernel, w: kernel })
            .map(|(_, ky, kx)| (y * stride + ky, x * stride + kx))
            .filter(|&(sy, sx)| sy < from.h && sx < from.w)
            .map(|(sy, sx)| src[(c * from.h + sy) * from.w + sx])
            .fold(f64::NEG_INFINITY, f64::max)
    };
    positions(to).map(window).collect()
}

/// The weights of a window's sides in L2 pooling: a Hanning window of five without its zeros.
const HANNING: [f64; 3] = [0.5, 1.0, 0.5];

/// L2 pooling: 3x3 windows at stride 2, padded by one zero on each side.
#[must_use]
pub fn l2_pool(src: &[f64], from: Shape, to: Shape) -> Values {
    let whole = HANNING.iter().sum::<f64>().powi(2);
    let window = |(c, y, x): (usize, usize, usize)| {
        let mut sum = 0.0;
        for (_, ky, kx) in positions(Shape { c: 1, h: 3, w: 3 }) {
            let inside = |at: usize, len: usize| at.checked_sub(1).filter(|&at| at < len);
            if let (Some(sy), Some(sx)) = (inside(2 * y + ky, from.h), inside(2 * x + kx, from.w)) {
                let weight = HANNING[ky] * HANNING[kx] / whole;
                sum += weight * src[(c * from.h + sy) * from.w + sx].powi(2);
            }
        }
        (sum + 1e-12).sqrt()
    };
    positions(to).map(window).collect()
}

fn positions(shape: Shape) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..shape.c)
        .flat_map(move |c| (0..shape.h).flat_map(move |y| (0..shape.w).map(move |x| (c, y, x))))
}

/// The taps of one image.
///
/// # Errors
/// When the image is too small for the trunk.
pub fn taps(model: &Model, image: &Image) -> Result<Taps, TooSmall> {
    let trunk = &model.trunk;
    let plan = Plan::new(model.spec(), image.size.height, image.size.width)?;
    let mut buffers = vec![Values::new(); 3];
    let input = input(image, model);
    let mut taps = Vec::new();
    for step in &plan.steps {
        let (src, dst) = match *step {
            Step::Conv(ConvStep { src, dst, .. })
            | Step::MaxPool { src, dst, .. }
            | Step::L2Pool { src, dst } => (src, dst),
            Step::Tap { src, .. } => (src, src),
        };
        let from: &Values = match src.slot {
            Slot::Input => &input,
            Slot::Buffer(index) => &buffers[index],
        };
        let result = match *step {
            Step::Tap { src, .. } => {
                taps.push((src.shape, from[..src.shape.len()].to_vec()));
                continue;
            }
            Step::Conv(ConvStep { weight, stride, pad, .. }) => {
                convolve(from, src.shape, dst.shape, (stride, pad), &trunk.convs[weight])
            }
            Step::MaxPool { kernel, stride, .. } => {
                max_pool(from, src.shape, dst.shape, kernel, stride)
            }
            Step::L2Pool { .. } => l2_pool(from, src.shape, dst.shape),
        };
        let Slot::Buffer(index) = dst.slot else { unreachable!("a plan that writes its input") };
        let area = dst.shape.h * dst.shape.w;
        buffers[index].resize(dst.c_slot * area, 0.0);
        buffers[index][dst.c_first * area..][..result.len()].copy_from_slice(&result);
    }
    Ok(Taps(taps))
}

/// The maps D_l, in layer order; none of DISTS.
#[must_use]
pub fn maps(model: &Model, reference: &Taps, distorted: &Taps) -> Vec<Values> {
    let Metric::Lpips(lpips) = &model.metric else { return Vec::new() };
    let layer = |index: usize| {
        let ((shape, a), (_, b)) = (&reference.0[index], &distorted.0[index]);
        let area = shape.h * shape.w;
        let (inside, outside) = (lpips.epsilon.inside, lpips.epsilon.outside);
        let norm = |map: &Values, at: usize| {
            let squares = (0..shape.c).map(|c| map[c * area + at].powi(2)).sum::<f64>();
            (squares + f64::from(inside)).sqrt() + f64::from(outside)
        };
        let lin = |c: usize| lpips.lin.as_ref().map_or(1.0, |lin| f64::from(lin[index][c]));
        let value = |at: usize| -> f64 {
            let (of_a, of_b) = (norm(a, at), norm(b, at));
            let term = |c: usize| (a[c * area + at] / of_a - b[c * area + at] / of_b).powi(2);
            (0..shape.c).map(|c| lin(c) * term(c)).sum()
        };
        (0..area).map(value).collect()
    };
    (0..reference.0.len()).map(layer).collect()
}

/// The map S_k: the sum over channels of tap `layer`.
#[must_use]
pub fn channel_sum(taps: &Taps, layer: usize) -> Values {
    let (shape, values) = &taps.0[layer];
    let area = shape.h * shape.w;
    (0..area).map(|at| (0..shape.c).map(|c| values[c * area + at]).sum()).collect()
}

/// The distance of each layer: the mean of its map, or its part of DISTS.
#[must_use]
pub fn layers(model: &Model, reference: &Taps, distorted: &Taps) -> Vec<f64> {
    match &model.metric {
        Metric::Lpips(_) => {
            let maps = maps(model, reference, distorted);
            maps.iter().map(|map| mean(map.iter().copied())).collect()
        }
        Metric::Dists(weights) => {
            let taps = reference.0.iter().zip(&distorted.0).enumerate();
            taps.map(|(layer, (a, b))| dists_layer(model, weights, layer, a, b)).collect()
        }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// `sum over channels of alpha (1 - S1) + beta (1 - S2)`. Tap 0 is the trunk's input; the metric
/// takes the samples in [0, 1] that it was made of.
fn dists_layer(
    model: &Model,
    weights: &Dists,
    layer: usize,
    (shape, a): &(Shape, Values),
    (_, b): &(Shape, Values),
) -> f64 {
    let area = shape.h * shape.w;
    let (shift, scale) = model.version.scaling().unwrap_or(([0.0; 3], [1.0; 3]));
    let channel = |c: usize| -> f64 {
        let of = |map: &Values| -> Values {
            let sample = |x: f64| (x * f64::from(scale[c]) + f64::from(shift[c]) + 1.0) / 2.0;
            let values = map[c * area..][..area].iter();
            values.map(|&x| if layer == 0 { sample(x) } else { x }).collect()
        };
        let (a, b) = (of(a), of(b));
        let (mean_a, mean_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
        let product = |(a, mean_a): (&Values, f64), (b, mean_b): (&Values, f64)| {
            mean(a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)))
        };
        let (of_a, of_b) = ((&a, mean_a), (&b, mean_b));
        let (var_a, var_b, covariance) =
            (product(of_a, of_a), product(of_b, of_b), product(of_a, of_b));
        let s1 = (2.0 * mean_a * mean_b + 1e-6) / (mean_a.powi(2) + mean_b.powi(2) + 1e-6);
        let s2 = (2.0 * covariance + 1e-6) / (var_a + var_b + 1e-6);
        weights.alpha[layer][c] * (1.0 - s1) + weights.beta[layer][c] * (1.0 - s2)
    };
    (0..shape.c).map(channel).sum()
}
