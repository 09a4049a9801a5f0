//! Cases of the taps that are computed with the pooling behind them.

use lpips::eval::cuda::signature::Element::{F32, F64, U32};
use lpips::eval::cuda::signature::{ENTRIES, Entry, entry};

use super::case::{Case, Expected, input, number, output, stored};
use super::cases::Layout;
use super::taps::{IMAGES, PAIRS, Tap, features_of};
use crate::host_cuda::{Runner, Value};

/// Rows and columns.
type Extent = (usize, usize);

/// Maps and what they are pooled to, by the rules of both nets with windows of 3x3. Both sides even,
/// odd, and one of each; positions that no window covers, windows that extend over the edges; fewer
/// cells than a tile, a whole number of tiles, and several with the last one in part.
const SIDES_2: [(Extent, Extent); 6] = [
    ((2, 2), (1, 1)),
    ((5, 6), (2, 3)),
    ((8, 9), (4, 4)),
    ((7, 10), (3, 5)),
    ((15, 16), (7, 8)),
    ((13, 21), (6, 10)),
];
const SIDES_3: [(Extent, Extent); 6] = [
    ((2, 3), (1, 1)),
    ((7, 9), (3, 4)),
    ((8, 6), (3, 2)),
    ((8, 6), (4, 3)),
    ((16, 16), (8, 8)),
    ((13, 22), (6, 10)),
];

pub(crate) fn nchw() -> Vec<Case> {
    all(Layout::Nchw)
}

pub(crate) fn nhwc() -> Vec<Case> {
    all(Layout::Nhwc)
}

fn all(wanted: Layout) -> Vec<Case> {
    let mut cases = Vec::new();
    let entries = ENTRIES.iter().filter(|entry| entry.name.starts_with("tap_pool"));
    for entry in entries.filter(|entry| features_of(entry.name).1 == wanted) {
        let sides = if kernel_of(entry) == 2 { SIDES_2 } else { SIDES_3 };
        for (index, (from, to)) in sides.into_iter().enumerate() {
            // Host threads take their time for many channels, whose tiles are small.
            if features_of(entry.name).0 > 64 && !matches!(index, 2 | 3) {
                continue;
            }
            let maps = Maps::new(entry, from, to);
            // Nothing is pooled, with the other form of the norm and no map; images that no pair has.
            cases.push(match index {
                1 => maps.case(&PAIRS, &[], (1e-3, 0.0), false),
                2 => maps.case(&PAIRS[1..3], &[0, 2], (0.0, 1e-10), true),
                _ => maps.case(&PAIRS, &[0, 1, 2, 3, 4, 5], (0.0, 1e-10), true),
            });
        }
    }
    cases
}

fn kernel_of(entry: &Entry) -> usize {
    let digit = entry.name.strip_prefix("tap_pool").unwrap().split_once('_').unwrap().0;
    digit.parse().unwrap()
}

/// Features of all images, and what they are pooled to.
struct Maps {
    entry: &'static Entry,
    tap: Tap,
    from: Extent,
    to: Extent,
}

impl Maps {
    fn new(entry: &'static Entry, from: Extent, to: Extent) -> Maps {
        let (c, layout, element) = features_of(entry.name);
        let positions = from.0 * from.1;
        let mut tap = Tap::new(layout, c, positions, |values| stored(element, values));
        // Beside the infinity of this image: in the first and in a later element of windows.
        for (channel, position) in [(0, 0), (1, positions - 1)] {
            tap.features[layout.at((c, positions), (IMAGES - 1, channel, position))] = f64::NAN;
        }
        Maps { entry, tap, from, to }
    }

    fn cells(&self) -> Extent {
        (self.from.0.div_ceil(2), self.from.1.div_ceil(2))
    }

    /// The positions of a cell that are inside the map.
    fn cell(&self, index: usize) -> impl Iterator<Item = usize> {
        let ((height, width), (_, columns)) = (self.from, self.cells());
        let (y, x) = (index / columns * 2, index % columns * 2);
        let places = [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)];
        let inside = places.into_iter().filter(move |&(y, x)| y < height && x < width);
        inside.map(move |(y, x)| y * width + x)
    }

    /// The largest feature of a window; a NaN wins.
    fn pooled(&self, image: usize, channel: usize, (y, x): Extent) -> f64 {
        let kernel = kernel_of(self.entry);
        let rows = 2 * y..(2 * y + kernel).min(self.from.0);
        let columns = 2 * x..(2 * x + kernel).min(self.from.1);
        let places = rows.flat_map(|y| columns.clone().map(move |x| (y, x)));
        let values = places.map(|(y, x)| self.tap.feature(image, channel, y * self.from.1 + x));
        values.fold(f64::NEG_INFINITY, |most, value| {
            if most.is_nan() || value.is_nan() { f64::NAN } else { most.max(value) }
        })
    }

    /// Of the images of pairs, the first of each one that is pooled.
    fn pools(pairs: &[(usize, usize)], pooled: &[usize]) -> Vec<f64> {
        let mut left = pooled.to_vec();
        let images = pairs.iter().flat_map(|&(a, b)| [a, b]);
        let is_first = images.map(|image| {
            let before = left.len();
            left.retain(|&other| other != image);
            if left.len() < before { 1.0 } else { 0.0 }
        });
        is_first.collect()
    }

    fn values(
        &self,
        pairs: &[(usize, usize)],
        pooled: &[usize],
        eps: (f64, f64),
        map: bool,
    ) -> Vec<Value> {
        let (c, _, element) = features_of(self.entry.name);
        let (cells, positions) = (self.cells(), self.from.0 * self.from.1);
        let tiles = self.entry.tiles((cells.0 * cells.1) as u64) as usize;
        let indices: Vec<f64> = pairs.iter().flat_map(|&(a, b)| [a as f64, b as f64]).collect();
        let mut values = vec![
            output(F64, pairs.len() * tiles),
            if map { output(F32, pairs.len() * positions) } else { Value::Null },
            output(element, IMAGES * c * self.to.0 * self.to.1),
            input(element, &self.tap.features),
            input(U32, &indices),
            input(U32, &Maps::pools(pairs, pooled)),
            input(F32, &self.tap.lin),
        ];
        values.extend([pairs.len(), self.from.0, self.from.1, self.to.0, self.to.1].map(number));
        values.extend([eps.0, eps.1].map(|eps| Value::F32(eps as f32)));
        values
    }

    fn case(&self, pairs: &[(usize, usize)], pooled: &[usize], eps: (f64, f64), map: bool) -> Case {
        let (c, layout, _) = features_of(self.entry.name);
        let (count, positions) = (self.cells().0 * self.cells().1, self.from.0 * self.from.1);
        let tile = self.entry.items_per_block as usize;
        let (mut maps, mut partials) = (Vec::new(), Vec::new());
        for &pair in pairs {
            let own: Vec<(f64, f64)> =
                (0..positions).map(|position| self.tap.distance(pair, position, eps)).collect();
            for first in (0..count).step_by(tile) {
                let cells = first..(first + tile).min(count);
                let of_tile = cells.flat_map(|cell| self.cell(cell)).map(|position| own[position]);
                partials.push(of_tile.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1)));
            }
            maps.extend(own);
        }
        let positions_out = self.to.0 * self.to.1;
        let mut expected_pooled = vec![f64::NAN; IMAGES * c * positions_out];
        for &image in pooled {
            for channel in 0..c {
                for position in 0..positions_out {
                    let place = (position / self.to.1, position % self.to.1);
                    let at = layout.at((c, positions_out), (image, channel, position));
                    expected_pooled[at] = self.pooled(image, channel, place);
                }
            }
        }
        let mut expected = vec![Expected::within(partials)];
        if map {
            expected.push(Expected::within(maps));
        }
        expected.push(Expected::exactly(expected_pooled));
        Case::new(
            self.entry.name,
            &format!("{:?} to {:?}, images {pooled:?}, eps {eps:?}", self.from, self.to),
            (pairs.len(), count),
            self.values(pairs, pooled, eps, map),
            expected,
        )
    }

    /// Launches, and returns the partial sums, the map and what was pooled.
    fn launch(&self, pairs: &[(usize, usize)], runner: &mut Runner) -> Vec<Vec<u8>> {
        let work = (pairs.len(), self.cells().0 * self.cells().1);
        let values = self.values(pairs, &[0, 1, 2, 3, 4, 5], (0.0, 1e-10), true);
        let mut buffers = runner.launch(self.entry, work, &values, 0).unwrap();
        buffers.truncate(3);
        buffers
    }
}

/// The map must have the bits of the tap alone.
pub(crate) fn check_map(entry_of_pool: &'static Entry, runner: &mut Runner) {
    let maps = Maps::new(entry_of_pool, (7, 9), (3, 4));
    let name = format!("tap{}", &entry_of_pool.name["tap_pool2".len()..]);
    let values = maps.tap.values(&name, &PAIRS, (0.0, 1e-10), true);
    let alone = runner.launch(entry(&name).unwrap(), (PAIRS.len(), 63), &values, 0).unwrap();
    assert_eq!(alone[1], maps.launch(&PAIRS, runner)[1], "{name}");
}

/// One pair alone, and among others in another place, must give the same bits.
pub(crate) fn check_company(name: &str, runner: &mut Runner) {
    let maps = Maps::new(entry(name).unwrap(), (13, 22), (6, 10));
    let together = maps.launch(&PAIRS, runner);
    let image_len = together[2].len() / IMAGES;
    for (index, &pair) in PAIRS.iter().enumerate() {
        let alone = maps.launch(&[pair], runner);
        for (alone, together) in alone[..2].iter().zip(&together) {
            let len = alone.len();
            assert_eq!(alone[..], together[index * len..][..len], "{name}, pair {pair:?}");
        }
        for image in [pair.0, pair.1] {
            let of_image = |buffer: &[u8]| buffer[image * image_len..][..image_len].to_vec();
            assert_eq!(of_image(&alone[2]), of_image(&together[2]), "{name}, image {image}");
        }
    }
}
