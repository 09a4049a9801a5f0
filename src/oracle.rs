//! LPIPS in float64, written as plainly as possible: the reference for the evaluators.
//!
//! It walks the same plans as the evaluators, and shares nothing else with them. The self-test and
//! the tests compute their expected values with it. A convolution adds its products in the order
//! (input channel, kernel row, kernel column); output channels are divided among threads.

use rayon::prelude::*;

use crate::eval::{Affine, Model};
use crate::image::{Image, Pixels};
use crate::net::plan::{ConvStep, Plan, Shape, Slot, Step, TooSmall};
use crate::net::weights::Conv;

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
    let plan = Plan::new(trunk.net.spec(), image.size.height, image.size.width)?;
    let mut buffers = vec![Values::new(); 3];
    let input = input(image, model);
    let mut taps = Vec::new();
    for step in &plan.steps {
        let (src, dst) = match *step {
            Step::Conv(ConvStep { src, dst, .. }) | Step::MaxPool { src, dst, .. } => (src, dst),
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
        };
        let Slot::Buffer(index) = dst.slot else { unreachable!("a plan that writes its input") };
        let area = dst.shape.h * dst.shape.w;
        buffers[index].resize(dst.c_slot * area, 0.0);
        buffers[index][dst.c_first * area..][..result.len()].copy_from_slice(&result);
    }
    Ok(Taps(taps))
}

/// The maps D_l, in layer order.
#[must_use]
pub fn maps(model: &Model, reference: &Taps, distorted: &Taps) -> Vec<Values> {
    let layer = |index: usize| {
        let ((shape, a), (_, b)) = (&reference.0[index], &distorted.0[index]);
        let area = shape.h * shape.w;
        let (inside, outside) = (model.epsilon.inside, model.epsilon.outside);
        let norm = |map: &Values, at: usize| {
            let squares = (0..shape.c).map(|c| map[c * area + at].powi(2)).sum::<f64>();
            (squares + f64::from(inside)).sqrt() + f64::from(outside)
        };
        let lin = |c: usize| model.lin.as_ref().map_or(1.0, |lin| f64::from(lin[index][c]));
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

/// The distance of each layer: the mean of its map.
#[must_use]
pub fn layers(model: &Model, reference: &Taps, distorted: &Taps) -> Vec<f64> {
    let mean = |map: &Values| map.iter().sum::<f64>() / map.len() as f64;
    maps(model, reference, distorted).iter().map(mean).collect()
}
