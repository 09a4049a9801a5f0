//! Cases of every kernel but the taps, each with plain loops as its oracle.

use half::f16;
use lpips::eval::cuda::signature::Element::{self, F16, F32, F64, U8, U32};

use std::ops::Range;

use super::case::{Case, Expected, Random, input, number, output, stored};
use crate::host_cuda::Value;

/// The two layouts: how an element of (image, channel, position) is found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Nchw,
    Nhwc,
}

impl Layout {
    pub(crate) fn at(
        self,
        (c, positions): (usize, usize),
        (image, channel, position): (usize, usize, usize),
    ) -> usize {
        match self {
            Layout::Nchw => (image * c + channel) * positions + position,
            Layout::Nhwc => (image * positions + position) * c + channel,
        }
    }
}

/// Layouts and elements that features come in, and the suffix that names them.
pub(crate) const FEATURES: [(&str, Layout, Element); 3] = [
    ("nchw_f32", Layout::Nchw, F32),
    ("nhwc_f32", Layout::Nhwc, F32),
    ("nhwc_f16", Layout::Nhwc, F16),
];

/// The positions that a case reduces, as the arguments REGION.
#[derive(Clone, Copy)]
pub(crate) struct Region {
    pub(crate) positions: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) whole: usize,
    pub(crate) whole_first: usize,
}

impl Region {
    pub(crate) fn all(positions: usize) -> Region {
        Region { positions, first: 0, count: positions, whole: positions, whole_first: 0 }
    }

    /// Some positions in the middle, and as many of a larger map.
    pub(crate) fn band(positions: usize) -> Region {
        let (first, count) = (positions / 5, positions - positions / 3);
        Region { positions, first, count, whole: 2 * positions, whole_first: positions / 2 }
    }

    pub(crate) fn counted(self) -> Range<usize> {
        self.first..self.first + self.count
    }

    pub(crate) fn values(self) -> [Value; 5] {
        [self.positions, self.first, self.count, self.whole, self.whole_first].map(number)
    }

    /// A pair's results as a whole map: those outside of the region are never written.
    pub(crate) fn placed(self, own: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
        let mut whole = vec![(f64::NAN, 0.0); self.whole];
        whole[self.whole_first..][..self.count].copy_from_slice(&own);
        whole
    }
}

/// Every (image, channel, position).
fn everywhere(
    images: usize,
    c: usize,
    positions: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..images).flat_map(move |image| {
        (0..c)
            .flat_map(move |channel| (0..positions).map(move |position| (image, channel, position)))
    })
}

fn rounded(element: Element, value: f32) -> f64 {
    if element == F16 { f16::from_f32(value).to_f64() } else { f64::from(value) }
}

pub(crate) fn normalise() -> Vec<Case> {
    let published = ([-0.030f32, -0.088, -0.188], [0.458f32, 0.448, 0.450]);
    let none = ([0.0; 3], [1.0; 3]);
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        let paddings: &[usize] = match (layout, element) {
            (Layout::Nchw, _) => &[3, 4],
            (Layout::Nhwc, F16) => &[4, 8, 16],
            (Layout::Nhwc, _) => &[3, 4, 8],
        };
        for &c_dst in paddings {
            for (images, positions) in [(1, 1), (3, 35), (3, 683)] {
                for (source, scaling, affine) in [
                    (U8, published, (2.0, -1.0)),
                    (U8, none, (2.0, -1.0)),
                    (F32, published, (2.0, -1.0)),
                    (F32, published, (0.7, 0.1)),
                ] {
                    let extents = (images, positions, c_dst);
                    let what = (suffix, layout, element, source);
                    cases.push(normalise_case(what, extents, scaling, affine));
                }
            }
        }
    }
    cases
}

fn normalise_case(
    (suffix, layout, element, source): (&str, Layout, Element, Element),
    (images, positions, c_dst): (usize, usize, usize),
    (shift, scale): ([f32; 3], [f32; 3]),
    (gain, bias): (f32, f32),
) -> Case {
    let mut random = Random::new(c_dst as u64);
    let samples = (0..images * positions * 3).map(|index| match source {
        // Every level comes up in the larger cases.
        U8 => ((index * 89) % 256) as f64,
        _ => random.unit(),
    });
    let samples = stored(source, &samples.collect::<Vec<_>>());
    let mut expected = vec![0.0; images * positions * c_dst];
    for (image, channel, position) in everywhere(images, 3, positions) {
        let sample = samples[(image * positions + position) * 3 + channel] as f32;
        let x = if source == U8 { sample / 255.0 } else { sample };
        let v = gain * x + bias;
        let value = (v - shift[channel]) / scale[channel];
        // The f32 arithmetic above is the CPU's; it must also be right.
        let exact = (f64::from(gain) * f64::from(x) + f64::from(bias) - f64::from(shift[channel]))
            / f64::from(scale[channel]);
        assert!((f64::from(value) - exact).abs() < 1e-6, "{value} is not {exact}");
        expected[layout.at((c_dst, positions), (image, channel, position))] =
            rounded(element, value);
    }
    let depth = if source == U8 { "u8" } else { "f32" };
    let mut values = vec![output(element, expected.len()), input(source, &samples)];
    values.extend([images, positions, c_dst].map(number));
    values.extend([gain, bias].into_iter().chain(shift).chain(scale).map(Value::F32));
    Case::new(
        &format!("normalise_{depth}_{suffix}"),
        &format!("{images} images of {positions} pixels, {c_dst} channels, gain {gain}"),
        (1, images * positions),
        values,
        vec![Expected::exactly(expected)],
    )
}

pub(crate) fn bias_relu() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        // The halves of a fire module, whole activations, and a part in the middle.
        for (images, positions, c, c_slot, c_first) in
            [(1, 1, 8, 8, 0), (2, 45, 64, 128, 0), (2, 45, 64, 128, 64), (3, 33, 24, 64, 16)]
        {
            let mut random = Random::new(7);
            let bias: Vec<f64> = stored(F32, &(0..c).map(|_| random.signed()).collect::<Vec<_>>());
            let mut data: Vec<f64> =
                (0..images * positions * c_slot).map(|_| random.signed()).collect();
            data[layout.at((c_slot, positions), (0, c_first, 0))] = f64::NAN;
            let data = stored(element, &data);
            let mut expected = data.clone();
            for (image, channel, position) in everywhere(images, c, positions) {
                let at = layout.at((c_slot, positions), (image, c_first + channel, position));
                let sum = data[at] as f32 + bias[channel] as f32;
                expected[at] = rounded(element, if sum < 0.0 { 0.0 } else { sum });
            }
            let mut values = vec![input(element, &data), input(F32, &bias)];
            values.extend([images, positions, c, c_slot, c_first].map(number));
            let vector = if layout == Layout::Nchw { 1 } else { 16 / element.bytes() };
            cases.push(Case::new(
                &format!("bias_relu_{suffix}"),
                &format!("{images} images of {positions}, channels {c_first}+{c} of {c_slot}"),
                (1, images * positions * c / vector),
                values,
                vec![Expected::exactly(expected)],
            ));
        }
    }
    cases
}

/// Rows and columns.
type Extent = (usize, usize);

pub(crate) fn max_pool() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        for (images, c, from, to, kernel, stride) in [
            (2, 8, (6, 10), (3, 5), 2, 2),
            // Odd sides: floor leaves the last row out, ceil takes a part of a window.
            (3, 24, (7, 9), (3, 4), 2, 2),
            (2, 64, (15, 11), (7, 5), 3, 2),
            (2, 64, (14, 12), (7, 6), 3, 2),
            (1, 16, (2, 2), (1, 1), 3, 2),
            // A window that no kernel is unrolled for.
            (2, 8, (9, 8), (2, 2), 4, 3),
        ] {
            let what = (suffix, layout, element);
            cases.push(max_pool_case(what, (images, c), from, to, (kernel, stride)));
        }
    }
    cases
}

fn max_pool_case(
    (suffix, layout, element): (&str, Layout, Element),
    (images, c): (usize, usize),
    (height, width): Extent,
    (height_out, width_out): Extent,
    (kernel, stride): (usize, usize),
) -> Case {
    let mut random = Random::new((height * width) as u64);
    let mut src: Vec<f64> = (0..images * c * height * width).map(|_| random.signed()).collect();
    // Overflow must reach the end: as the first and as a later element of a window.
    let from = (c, height * width);
    src[layout.at(from, (0, 0, 0))] = f64::NAN;
    src[layout.at(from, (0, 1, width + 1))] = f64::NAN;
    src[layout.at(from, (0, 2, 0))] = f64::INFINITY;
    let src = stored(element, &src);
    let mut expected = vec![0.0; images * c * height_out * width_out];
    for (image, channel, position) in everywhere(images, c, height_out * width_out) {
        let (y, x) = (position / width_out * stride, position % width_out * stride);
        let mut most = f64::NEG_INFINITY;
        for sy in y..(y + kernel).min(height) {
            for sx in x..(x + kernel).min(width) {
                let value = src[layout.at(from, (image, channel, sy * width + sx))];
                // As PyTorch: a NaN wins.
                if value.is_nan() || most.is_nan() {
                    most = f64::NAN;
                } else {
                    most = most.max(value);
                }
            }
        }
        expected[layout.at((c, height_out * width_out), (image, channel, position))] = most;
    }
    let vector = if layout == Layout::Nchw { 1 } else { 16 / element.bytes() };
    let mut values = vec![output(element, expected.len()), input(element, &src)];
    values.extend([images, c, height, width, height_out, width_out, kernel, stride].map(number));
    Case::new(
        &format!("max_pool_{suffix}"),
        &format!("{height}x{width}x{c} to {height_out}x{width_out}, {kernel} by {stride}"),
        (1, expected.len() / vector),
        values,
        vec![Expected::exactly(expected)],
    )
}

/// A convolution that im2col serves.
struct Window {
    images: usize,
    c: usize,
    from: Extent,
    kernel: usize,
    stride: usize,
    pad: usize,
    k_dst: usize,
}

pub(crate) fn im2col() -> Vec<Case> {
    // alex 0 (input padded to 8 channels) and 3, any 3x3, squeeze 0; the matrix padded or not.
    let windows = [
        Window { images: 2, c: 8, from: (19, 15), kernel: 11, stride: 4, pad: 2, k_dst: 976 },
        Window { images: 2, c: 16, from: (6, 7), kernel: 5, stride: 1, pad: 2, k_dst: 400 },
        Window { images: 3, c: 8, from: (5, 9), kernel: 3, stride: 1, pad: 1, k_dst: 80 },
        Window { images: 2, c: 8, from: (9, 8), kernel: 3, stride: 2, pad: 0, k_dst: 72 },
    ];
    let mut cases = Vec::new();
    for (suffix, element) in [("f32", F32), ("f16", F16)] {
        for window in &windows {
            let out = |len: usize| (len + 2 * window.pad - window.kernel) / window.stride + 1;
            let all = window.images * out(window.from.0) * out(window.from.1);
            for (first_row, rows) in [(0, all), (all / 3, all / 2)] {
                cases.push(im2col_case(suffix, element, window, (first_row, rows)));
            }
        }
    }
    cases
}

fn im2col_case(
    suffix: &str,
    element: Element,
    window: &Window,
    (first_row, rows): (usize, usize),
) -> Case {
    let Window { images, c, from: (height, width), kernel, stride, pad, k_dst } = *window;
    let out = |len: usize| (len + 2 * pad - kernel) / stride + 1;
    let (height_out, width_out) = (out(height), out(width));
    let mut random = Random::new(3);
    let src: Vec<f64> = (0..images * height * width * c).map(|_| random.signed()).collect();
    let src = stored(element, &src);
    let mut expected = Vec::with_capacity(rows * k_dst);
    for row in first_row..first_row + rows {
        let (image, y, x) =
            (row / (height_out * width_out), row / width_out % height_out, row % width_out);
        for column in 0..k_dst {
            let (tap, channel) = (column / c, column % c);
            let sy = (y * stride + tap / kernel).wrapping_sub(pad);
            let sx = (x * stride + tap % kernel).wrapping_sub(pad);
            let inside = tap < kernel * kernel && sy < height && sx < width;
            expected.push(if inside {
                src[((image * height + sy) * width + sx) * c + channel]
            } else {
                0.0
            });
        }
    }
    let mut values = vec![output(element, rows * k_dst), input(element, &src)];
    values.extend(
        [c, height, width, height_out, width_out, kernel, stride, pad, first_row, rows, k_dst]
            .map(number),
    );
    Case::new(
        &format!("im2col_{suffix}"),
        &format!("{kernel}x{kernel} by {stride}, rows {first_row}+{rows}"),
        (1, rows),
        values,
        vec![Expected::exactly(expected)],
    )
}

pub(crate) fn channel_sum() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        let all = [(8, 1), (16, 70), (64, 33), (192, 257), (384, 9), (512, 35)];
        let all = all.map(|(c, positions)| (c, Region::all(positions)));
        for (c, region) in all.into_iter().chain([(64, Region::band(301))]) {
            let positions = region.positions;
            let mut random = Random::new(c as u64);
            let images = 3;
            let features: Vec<f64> =
                (0..images * c * positions).map(|_| random.unit() * 9.0).collect();
            let features = stored(element, &features);
            let pairs = [(0, 1), (2, 0)];
            let sum = |(reference, position)| {
                let channels = 0..c;
                let value =
                    |channel| features[layout.at((c, positions), (reference, channel, position))];
                let sum: f64 = channels.map(value).sum();
                (sum, 2e-6 * sum)
            };
            let map = |&(reference, _): &(usize, u8)| {
                region.placed(region.counted().map(|position| sum((reference, position))).collect())
            };
            let expected: Vec<(f64, f64)> = pairs.iter().flat_map(map).collect();
            let indices: Vec<f64> =
                pairs.iter().flat_map(|&(a, b)| [a as f64, f64::from(b)]).collect();
            let mut values = vec![output(F32, expected.len()), input(element, &features)];
            values.push(input(U32, &indices));
            values.extend([pairs.len(), c].map(number));
            values.extend(region.values());
            cases.push(Case::new(
                &format!("channel_sum_{suffix}"),
                &format!("{c} channels, {} of {positions} positions", region.count),
                (pairs.len(), region.count),
                values,
                vec![Expected::within(expected)],
            ));
        }
    }
    cases
}

pub(crate) fn finish() -> Vec<Case> {
    let mut cases = Vec::new();
    for (pairs, layers) in [
        (1, vec![(1, 1)]),
        (3, vec![(8, 225), (2, 64), (1, 9)]),
        (2, vec![(700, 22_400), (256, 8192), (257, 8200)]),
    ] {
        let mut random = Random::new(pairs as u64);
        let mut partial = Vec::new();
        let mut out = vec![(0.0, 0.0); pairs * layers.len()];
        for (layer, &(tiles, positions)) in layers.iter().enumerate() {
            for pair in 0..pairs {
                let own: Vec<f64> = (0..tiles).map(|_| random.unit()).collect();
                let mean = own.iter().sum::<f64>() / positions as f64;
                out[pair * layers.len() + layer] = (mean, 1e-14 * mean);
                partial.extend(own);
            }
        }
        let table = |of: fn(&(usize, usize)) -> usize| -> Vec<f64> {
            layers.iter().map(|layer| of(layer) as f64).collect()
        };
        let values = vec![
            output(F64, out.len()),
            input(F64, &partial),
            input(U32, &table(|layer| layer.0)),
            input(U32, &table(|layer| layer.1)),
            number(pairs),
            number(layers.len()),
        ];
        cases.push(Case::new(
            "finish",
            &format!("{pairs} pairs, tiles and positions {layers:?}"),
            (pairs, layers.len()),
            values,
            vec![Expected::within(out)],
        ));
    }
    cases
}
