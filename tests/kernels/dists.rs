//! Cases of the kernels of DISTS, each with plain loops as its oracle.

use half::f16;
use lpips::eval::cuda::signature::Element::{self, F16, F64, U32};
use lpips::eval::cuda::signature::entry;

use super::case::{Case, Expected, Random, input, number, output, stored};
use super::cases::{FEATURES, Layout, Region};

/// Sums of a channel, then the features of both images at position 0.
const ROWS: usize = 7;

pub(crate) fn l2_pool() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        for (images, c, from) in
            [(2, 8, (6, 10)), (3, 24, (7, 9)), (1, 16, (1, 1)), (2, 64, (15, 2)), (1, 8, (2, 13))]
        {
            cases.push(l2_pool_case((suffix, layout, element), (images, c), from));
        }
    }
    cases
}

fn l2_pool_case(
    (suffix, layout, element): (&str, Layout, Element),
    (images, c): (usize, usize),
    (height, width): (usize, usize),
) -> Case {
    let mut random = Random::new((height * width) as u64);
    let src: Vec<f64> = (0..images * c * height * width).map(|_| random.unit() * 9.0).collect();
    let mut src = stored(element, &src);
    // Overflow must reach the end.
    src[layout.at((c, height * width), (0, 0, 0))] = f64::NAN;
    src[layout.at((c, height * width), (0, 1, 0))] = f64::INFINITY;
    let out = (height.div_ceil(2), width.div_ceil(2));
    let mut expected = vec![(0.0, 0.0); images * c * out.0 * out.1];
    for image in 0..images {
        for channel in 0..c {
            for position in 0..out.0 * out.1 {
                let (y, x) = (position / out.1, position % out.1);
                let mut sum = 1e-12;
                for (i, j) in (0..9).map(|index| (index / 3, index % 3)) {
                    let (sy, sx) = ((2 * y + i).wrapping_sub(1), (2 * x + j).wrapping_sub(1));
                    if sy < height && sx < width {
                        let at = (image, channel, sy * width + sx);
                        let value = src[layout.at((c, height * width), at)];
                        sum += [0.25, 0.5, 0.25][i] * [0.25, 0.5, 0.25][j] * value * value;
                    }
                }
                let value = sum.sqrt();
                let tolerance = match element {
                    F16 => value / 1000.0 + f16::MIN_POSITIVE_SUBNORMAL.to_f64(),
                    _ => 1e-6 * value,
                };
                let at = layout.at((c, out.0 * out.1), (image, channel, position));
                expected[at] = (value, tolerance);
            }
        }
    }
    let vector = if layout == Layout::Nchw { 1 } else { 16 / element.bytes() };
    let items = expected.len() / vector;
    let mut values = vec![output(element, expected.len()), input(element, &src)];
    values.extend([images, c, height, width].map(number));
    Case::new(
        &format!("l2_pool_{suffix}"),
        &format!("{images} images of {c} channels, {height}x{width}"),
        (1, items),
        values,
        vec![Expected::within(expected)],
    )
}

pub(crate) fn moments() -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        // The image (padded or not), a part of a block of channels, and several tiles.
        for (c, c_slot, positions) in
            [(3, 4, 70), (3, 8, 1), (64, 64, 33), (40, 40, 1030), (128, 128, 9), (3, 8, 3000)]
        {
            let what = (suffix, layout, element);
            cases.push(moments_case(what, (c, c_slot), Region::all(positions), 0));
        }
        for first_tile in [0, 2] {
            let band = Region::band(3100);
            cases.push(moments_case((suffix, layout, element), (40, 40), band, first_tile));
        }
    }
    cases
}

/// Tiles before `first_tile` were written by earlier launches, those behind the region's will be.
fn moments_case(
    (suffix, layout, element): (&str, Layout, Element),
    (c, c_slot): (usize, usize),
    region: Region,
    first_tile: usize,
) -> Case {
    let name = format!("moments_{suffix}");
    let entry = entry(&name).unwrap();
    let tile = entry.items_per_block as usize;
    let written = entry.tiles(region.count as u64) as usize;
    let tiles = written + 2 * first_tile;
    let positions = region.positions;
    let mut random = Random::new((c * positions) as u64);
    let features: Vec<f64> = (0..3 * c_slot * positions).map(|_| 30.0 + random.unit()).collect();
    let features = stored(element, &features);
    let pairs = [(0, 1), (2, 0), (1, 1)];
    let mut before = Vec::new();
    let mut expected = Vec::new();
    for &(a, b) in &pairs {
        let value = |image: usize, channel: usize, position: usize| {
            features[layout.at((c_slot, positions), (image, channel, position))]
        };
        // What is subtracted: of the first band its first features, else what tile 0 holds.
        let firsts: Vec<(f64, f64)> = (0..c)
            .map(|channel| match first_tile {
                0 => (value(a, channel, region.first), value(b, channel, region.first)),
                _ => (29.0 + random.unit(), 29.0 + random.unit()),
            })
            .collect();
        let of_firsts = firsts.iter().map(|first| first.0).chain(firsts.iter().map(|it| it.1));
        let of_firsts: Vec<f64> = of_firsts.collect();
        for index in 0..tiles {
            let unwritten = vec![f64::NAN; (ROWS - 2) * c];
            let rows = match index {
                0 => [unwritten, of_firsts.clone()].concat(),
                _ => vec![f64::NAN; ROWS * c],
            };
            before.extend(&rows);
            if !(first_tile..first_tile + written).contains(&index) {
                expected.extend(rows.into_iter().map(|value| (value, 0.0)));
                continue;
            }
            let start = region.first + (index - first_tile) * tile;
            let end = (start + tile).min(region.counted().end);
            let sum = |channel: usize, term: &dyn Fn(f64, f64) -> f64| {
                let at = |position| {
                    let (a, b) = (value(a, channel, position), value(b, channel, position));
                    term(a - firsts[channel].0, b - firsts[channel].1)
                };
                let terms: Vec<f64> = (start..end).map(at).collect();
                let loss: f64 = terms.iter().map(|term| term.abs()).sum();
                (terms.iter().sum::<f64>(), 1e-13 * loss)
            };
            let terms: [&dyn Fn(f64, f64) -> f64; 5] =
                [&|a, _| a, &|_, b| b, &|a, _| a * a, &|_, b| b * b, &|a, b| a * b];
            for term in terms {
                expected.extend((0..c).map(|channel| sum(channel, term)));
            }
            expected.extend(of_firsts.iter().map(|&first| (first, 0.0)));
        }
    }
    let indices: Vec<f64> = pairs.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
    let channels = if layout == Layout::Nchw { 8 } else { 32 };
    let mut values = vec![input(F64, &before), input(element, &features)];
    values.push(input(U32, &indices));
    values.extend([pairs.len(), c, c_slot, positions, region.first, region.count].map(number));
    values.extend([tiles, first_tile].map(number));
    Case::new(
        &name,
        &format!("{c} of {c_slot} channels, {} of {positions} positions", region.count),
        (pairs.len() * c.div_ceil(channels), region.count),
        values,
        vec![Expected::within(expected)],
    )
}

/// Also a pair of equal features, whose distance is exactly 0.
pub(crate) fn dists() -> Vec<Case> {
    [(1, 3, 1, 5), (2, 64, 3, 250), (3, 300, 2, 33)].map(dists_case).into()
}

fn dists_case((pairs, c, tiles, positions): (usize, usize, usize, usize)) -> Case {
    let (layers, layer) = (6, 2);
    let mut random = Random::new(c as u64);
    let weights: Vec<f64> = (0..c)
        .flat_map(|_| [random.unit(), random.unit(), 0.5 + random.unit(), random.signed()])
        .collect();
    let mut partial = vec![0.0; pairs * tiles * ROWS * c];
    let mut out = vec![(-1.0, 0.0); pairs * layers];
    for pair in 0..pairs {
        let mut distance = 0.0;
        for channel in 0..c {
            let first = [random.signed(), random.signed()];
            let values: Vec<[f64; 2]> = (0..positions)
                .map(|_| [random.unit(), random.unit()])
                .map(|[a, b]| if pair == 1 { [a, a] } else { [a, 0.6 * a + b] })
                .collect();
            let first = if pair == 1 { [first[0]; 2] } else { first };
            for (position, &[a, b]) in values.iter().enumerate() {
                let tile = position * tiles / positions;
                let at = |row: usize| ((pair * tiles + tile) * ROWS + row) * c + channel;
                for (row, term) in [a, b, a * a, b * b, a * b].into_iter().enumerate() {
                    partial[at(row)] += term;
                }
            }
            for tile in 0..tiles {
                for (row, first) in (5..).zip(first) {
                    partial[((pair * tiles + tile) * ROWS + row) * c + channel] = first;
                }
            }
            let [alpha, beta, gain, bias] = [0, 1, 2, 3].map(|at| weights[4 * channel + at]);
            let scaled: Vec<[f64; 2]> = values
                .iter()
                .map(|value| [0, 1].map(|of| gain * (value[of] + first[of]) + bias))
                .collect();
            let mean = |of: usize| scaled.iter().map(|it| it[of]).sum::<f64>() / positions as f64;
            let means = [mean(0), mean(1)];
            let product = |x: usize, y: usize| {
                let terms = scaled.iter().map(|it| (it[x] - means[x]) * (it[y] - means[y]));
                terms.sum::<f64>() / positions as f64
            };
            let [of_a, of_b, of_both] = [product(0, 0), product(1, 1), product(0, 1)];
            let s1 =
                (means[0] - means[1]).powi(2) / (means[0] * means[0] + means[1] * means[1] + 1e-6);
            let s2 = (of_a + of_b - 2.0 * of_both) / (of_a + of_b + 1e-6);
            distance += alpha * s1 + beta * s2;
        }
        out[pair * layers + layer] =
            if pair == 1 { (0.0, 0.0) } else { (distance, 1e-11 * distance) };
    }
    let before = vec![-1.0; out.len()];
    let mut values = vec![input(F64, &before), input(F64, &partial), input(F64, &weights)];
    values.extend([pairs, tiles, c, positions, layers, layer].map(number));
    Case::new(
        "dists",
        &format!("{pairs} pairs, {c} channels, {tiles} tiles"),
        (pairs, 1),
        values,
        vec![Expected::within(out)],
    )
}
