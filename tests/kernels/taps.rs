//! Cases of the taps: the shapes of every tap of every net at small odd sizes.

use std::collections::BTreeSet;

use lpips::eval::cuda::signature::Element::{self, F32, F64, U32};
use lpips::eval::cuda::signature::entry;
use lpips::net::Net;
use lpips::net::plan::Plan;

use super::case::{Case, Expected, Random, input, number, output, stored};
use super::cases::{FEATURES, Layout, Region};
use crate::host_cuda::{Runner, Value};

/// Images: 0 to 2 differ much, 3 is a copy of 1, 4 is almost 0, 5 overflows at one position.
pub(crate) const IMAGES: usize = 6;
/// Far, shared reference, the same image, a copy of it, almost identical, overflow.
pub(crate) const PAIRS: [(usize, usize); 6] = [(0, 1), (0, 2), (2, 2), (1, 3), (0, 4), (5, 0)];
/// The pair in which an image overflows, and where.
const OVERFLOW: (usize, usize) = (5, 0);

/// Channels and positions of all taps at sizes near the smallest, where positions are few and odd;
/// and for every number of channels more positions than a tile, the last one in part.
fn shapes() -> BTreeSet<(usize, usize)> {
    let sizes = [(Net::Alex, 31, 35), (Net::Squeeze, 17, 21), (Net::Vgg, 16, 19)];
    let taps = sizes
        .into_iter()
        .flat_map(|(net, height, width)| Plan::new(net.spec(), height, width).unwrap().taps);
    let taps: Vec<(usize, usize)> = taps.map(|tap| (tap.c, tap.h * tap.w)).collect();
    let tile = |c| entry(&format!("tap_nhwc_f32_c{c}")).unwrap().items_per_block as usize;
    let several = taps.iter().map(|&(c, _)| (c, 2 * tile(c) + 5));
    taps.iter().copied().chain(several).collect()
}

pub(crate) fn nchw() -> Vec<Case> {
    all(Layout::Nchw)
}

pub(crate) fn nhwc() -> Vec<Case> {
    all(Layout::Nhwc)
}

fn all(wanted: Layout) -> Vec<Case> {
    let mut cases = Vec::new();
    for (suffix, layout, element) in FEATURES {
        if layout != wanted {
            continue;
        }
        for &(c, positions) in &shapes() {
            let tap = Tap::new(layout, c, positions, |values| stored(element, values));
            for (eps, map) in [((0.0, 1e-10), true), ((1e-3, 0.0), false)] {
                // The second form (other norm, no map) once per channel count is enough.
                if !map && shapes().iter().find(|shape| shape.0 == c) != Some(&(c, positions)) {
                    continue;
                }
                cases.push(tap.case(&format!("tap_{suffix}_c{c}"), &PAIRS, eps, map));
            }
        }
        for c in [64, 192, 512] {
            let tap = Tap::new(layout, c, 331, |values| stored(element, values)).of_band();
            cases.push(tap.case(&format!("tap_{suffix}_c{c}"), &PAIRS, (0.0, 1e-10), true));
        }
    }
    cases
}

pub(crate) struct Tap {
    layout: Layout,
    c: usize,
    positions: usize,
    region: Region,
    /// Partial sums of a pair, and the first that is written.
    tiles: (usize, usize),
    pub(crate) features: Vec<f64>,
    pub(crate) lin: Vec<f64>,
}

impl Tap {
    pub(crate) fn new(
        layout: Layout,
        c: usize,
        positions: usize,
        stored_features: impl Fn(&[f64]) -> Vec<f64>,
    ) -> Tap {
        let mut random = Random::new((c * positions) as u64);
        let mut features = vec![0.0; IMAGES * c * positions];
        let at = |image, channel, position| layout.at((c, positions), (image, channel, position));
        for position in 0..positions {
            for channel in 0..c {
                // As after a ReLU: half of them zero, and some positions wholly so.
                let mut draw = || (random.signed() * 4.0).max(0.0) * f64::from(position % 7 != 3);
                let values = [draw(), draw(), draw()];
                for (image, value) in values.into_iter().enumerate() {
                    features[at(image, channel, position)] = value;
                }
                features[at(3, channel, position)] = values[1];
                let near = values[0] * (1.0 + 0.01 * random.signed());
                features[at(4, channel, position)] = near;
                features[at(5, channel, position)] = random.unit();
            }
        }
        features[at(5, c - 1, OVERFLOW.1)] = f64::INFINITY;
        let lin: Vec<f64> = (0..c).map(|_| random.unit()).collect();
        let (features, lin) = (stored_features(&features), stored(F32, &lin));
        let tile = entry(&format!("tap_nhwc_f32_c{c}")).unwrap().items_per_block as usize;
        let (region, tiles) = (Region::all(positions), (positions.div_ceil(tile), 0));
        Tap { layout, c, positions, region, tiles, features, lin }
    }

    /// The same, of which a band counts.
    fn of_band(self) -> Tap {
        let region = Region::band(self.positions);
        let tile = entry(&format!("tap_nhwc_f32_c{}", self.c)).unwrap().items_per_block as usize;
        Tap { region, tiles: (region.count.div_ceil(tile) + 3, 2), ..self }
    }

    pub(crate) fn feature(&self, image: usize, channel: usize, position: usize) -> f64 {
        self.features[self.layout.at((self.c, self.positions), (image, channel, position))]
    }

    /// D of one position in float64, and what f32 may lose: a part of D itself, and of every
    /// normalised feature that a difference was taken of. NaN where a feature overflows.
    pub(crate) fn distance(
        &self,
        (a, b): (usize, usize),
        position: usize,
        eps: (f64, f64),
    ) -> (f64, f64) {
        let norm = |image| {
            let squares = (0..self.c).map(|channel| self.feature(image, channel, position).powi(2));
            (squares.sum::<f64>() + eps.0).sqrt() + eps.1
        };
        let (norm_a, norm_b) = (norm(a), norm(b));
        let (mut sum, mut loss) = (0.0, 0.0);
        for channel in 0..self.c {
            let value_a = self.feature(a, channel, position) / norm_a;
            let value_b = self.feature(b, channel, position) / norm_b;
            let difference = value_a - value_b;
            sum += self.lin[channel] * difference * difference;
            loss += self.lin[channel] * difference.abs() * (value_a.abs() + value_b.abs());
        }
        (sum, 1e-6 * sum + 3e-7 * loss)
    }

    pub(crate) fn values(
        &self,
        name: &str,
        pairs: &[(usize, usize)],
        eps: (f64, f64),
        map: bool,
    ) -> Vec<Value> {
        let entry = entry(name).unwrap();
        let indices: Vec<f64> = pairs.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
        let element = entry.args[2].1.element().unwrap();
        let mut values = vec![
            output(F64, pairs.len() * self.tiles.0),
            if map { output(F32, pairs.len() * self.region.whole) } else { Value::Null },
            input(element, &self.features),
            input(U32, &indices),
            input(F32, &self.lin),
            number(pairs.len()),
        ];
        values.extend(self.region.values());
        values.extend([self.tiles.0, self.tiles.1].map(number));
        values.extend([eps.0, eps.1].map(|eps| Value::F32(eps as f32)));
        values
    }

    fn case(&self, name: &str, pairs: &[(usize, usize)], eps: (f64, f64), map: bool) -> Case {
        let tile = entry(name).unwrap().items_per_block as usize;
        let (mut maps, mut partials) = (Vec::new(), Vec::new());
        for &(a, b) in pairs {
            let own: Vec<(f64, f64)> = self
                .region
                .counted()
                .map(|position| self.distance((a, b), position, eps))
                .collect();
            let add = |sums: (f64, f64), one: &(f64, f64)| (sums.0 + one.0, sums.1 + one.1);
            let sums = own.chunks(tile).map(|tile| tile.iter().fold((0.0, 0.0), add));
            let mut of_pair = vec![(f64::NAN, 0.0); self.tiles.0];
            of_pair[self.tiles.1..].iter_mut().zip(sums).for_each(|(to, sum)| *to = sum);
            partials.extend(of_pair);
            maps.extend(self.region.placed(own));
        }
        let mut expected = vec![Expected::within(partials)];
        if map {
            expected.push(Expected::within(maps));
        }
        Case::new(
            name,
            &format!(
                "{} of {} positions, eps {eps:?}, map {map}",
                self.region.count, self.positions
            ),
            (pairs.len(), self.region.count),
            self.values(name, pairs, eps, map),
            expected,
        )
    }
}

/// Channels, layout and element of an entry's features.
pub(crate) fn features_of(name: &str) -> (usize, Layout, Element) {
    let c: usize = name.rsplit_once("_c").unwrap().1.parse().unwrap();
    let (_, layout, element) = FEATURES.into_iter().find(|f| name.contains(f.0)).unwrap();
    (c, layout, element)
}

/// One pair alone, and among others in another place, must give the same bits.
pub(crate) fn check_company(name: &str, runner: &mut Runner) {
    let entry = entry(name).unwrap();
    let (c, layout, element) = features_of(name);
    let positions = 77;
    let tap = Tap::new(layout, c, positions, |values| stored(element, values));
    let mut launch = |pairs: &[(usize, usize)]| {
        let values = tap.values(name, pairs, (0.0, 1e-10), true);
        let mut buffers = runner.launch(entry, (pairs.len(), positions), &values, 0).unwrap();
        buffers.truncate(2);
        buffers
    };
    let together = launch(&PAIRS);
    for (index, &pair) in PAIRS.iter().enumerate() {
        for (alone, together) in launch(&[pair]).iter().zip(&together) {
            let len = alone.len();
            assert_eq!(alone[..], together[index * len..][..len], "{name}, pair {pair:?}");
        }
    }
}
