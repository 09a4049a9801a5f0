//! The division of a map into tiles for Winograd's minimal filtering, and the choice of the
//! algorithm for a map.
//!
//! Everything here depends on the size of the map alone, so that the bits of a pair do not depend
//! on its batch.

use std::ops::Range;

/// Output side of a small tile.
const SMALL: usize = 4;
/// Points of a small tile along a line.
const SMALL_POINTS: usize = 6;
/// Cost of reading one transformed weight from memory, in multiplications. A weight is used once
/// for each tile of the images that are walked together. In the late layers, the tiles of two
/// images (a single pair) are too few to hide the read. Those of a batch of small images would:
/// with a cost of 3, 16 pairs of 64x64 took 0.73 of the time with alex and 0.85 with vgg, but the
/// layers of alex were off by 3.6e-5 of their value for 48x40, and the promise is 3e-5.
const WEIGHT_COST: usize = 16;

/// An algorithm of minimal filtering, named after the number of outputs and the kernel of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cpu) enum Scheme {
    /// 4x4 tiles, kernel 3, filters at six points.
    F4x3,
    /// 6x6 tiles, kernel 3, filters at eight points. At the far edges, tiles of 4x4, 4x6 and 6x4
    /// where these cover the rest of the map with fewer multiplications.
    F6x3,
    /// 4x4 tiles, kernel 5, filters at eight points.
    F4x5,
}

impl Scheme {
    /// The cheapest algorithm for a `kernel` at stride 1 and an output of `h` x `w`, or `None` for
    /// the direct one. The cost is multiplications for two images plus reads of weights, per pair
    /// of channels.
    pub(in crate::eval::cpu) fn choose(kernel: usize, h: usize, w: usize) -> Option<Scheme> {
        let schemes: &[Scheme] = match kernel {
            3 => &[Scheme::F4x3, Scheme::F6x3],
            5 => &[Scheme::F4x5],
            _ => &[],
        };
        let cost =
            |multiplications: usize, weights: usize| 2 * multiplications + WEIGHT_COST * weights;
        let of_scheme = |scheme: Scheme| {
            let multiplications = scheme.cut(h).points() * scheme.cut(w).points();
            (cost(multiplications, scheme.side() * scheme.side()), Some(scheme))
        };
        let direct = (cost(kernel * kernel * h * w, kernel * kernel), None);
        let costs = std::iter::once(direct).chain(schemes.iter().map(|&scheme| of_scheme(scheme)));
        costs.min_by_key(|&(cost, _)| cost).and_then(|(_, scheme)| scheme)
    }

    /// Points at which filters are evaluated along a line.
    pub(in crate::eval::cpu) fn side(self) -> usize {
        match self {
            Scheme::F4x3 => SMALL_POINTS,
            Scheme::F6x3 | Scheme::F4x5 => 8,
        }
    }

    /// Side of a large tile, or of all tiles if they are small.
    pub(in crate::eval::cpu) fn tile(self) -> usize {
        match self {
            Scheme::F6x3 => 6,
            Scheme::F4x3 | Scheme::F4x5 => SMALL,
        }
    }

    /// Divides a line of `len` outputs into the tiles with the fewest points in total.
    pub(in crate::eval::cpu) fn cut(self, len: usize) -> Cut {
        let large_out = match self {
            Scheme::F4x3 => return Cut { large: 0, large_out: 0, small: len.div_ceil(SMALL) },
            Scheme::F4x5 => {
                return Cut { large: len.div_ceil(SMALL), large_out: SMALL, small: 0 };
            }
            Scheme::F6x3 => 6,
        };
        let with = |large: usize| {
            let small = len.saturating_sub(large * large_out).div_ceil(SMALL);
            Cut { large, large_out, small }
        };
        let cuts = (0..=len.div_ceil(large_out)).rev().map(with);
        cuts.min_by_key(Cut::points).unwrap_or_else(|| with(0))
    }
}

/// A line divided into large tiles, then small ones. The last may extend at most `SMALL - 1`
/// elements over the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::eval::cpu) struct Cut {
    large: usize,
    large_out: usize,
    small: usize,
}

impl Cut {
    pub(in crate::eval::cpu) fn count(&self) -> usize {
        self.large + self.small
    }

    pub(in crate::eval::cpu) fn is_large(&self, tile: usize) -> bool {
        tile < self.large
    }

    /// The first output of a tile.
    pub(in crate::eval::cpu) fn start(&self, tile: usize) -> usize {
        let large = tile.min(self.large);
        large * self.large_out + (tile - large) * SMALL
    }

    /// How many tiles end by element `end`.
    pub(in crate::eval::cpu) fn before(&self, end: usize) -> usize {
        let of_large = self.large * self.large_out;
        let tiles = match end < of_large {
            true => end / self.large_out,
            false => self.large + (end - of_large) / SMALL,
        };
        tiles.min(self.count())
    }

    /// The first tile that begins at element `start` or after it, or the number of tiles.
    pub(in crate::eval::cpu) fn from(&self, start: usize) -> usize {
        let tiles = self.before(start);
        if self.start(tiles) < start { (tiles + 1).min(self.count()) } else { tiles }
    }

    /// The tiles of some elements, which begin and end with a tile.
    pub(in crate::eval::cpu) fn of(&self, elements: &Range<usize>) -> Range<usize> {
        self.from(elements.start)..self.from(elements.end)
    }

    /// The elements of some tiles of a line of `len` elements.
    pub(in crate::eval::cpu) fn columns(&self, tiles: &Range<usize>, len: usize) -> Range<usize> {
        self.start(tiles.start)..self.start(tiles.end).min(len)
    }

    /// Splits a range of tiles into the large and the small ones.
    pub(in crate::eval::cpu) fn split(&self, tiles: &Range<usize>) -> [Range<usize>; 2] {
        let middle = self.large.clamp(tiles.start, tiles.end);
        [tiles.start..middle, middle..tiles.end]
    }

    /// Points of all tiles: the multiplications along the line. (Large tiles have eight points.)
    fn points(&self) -> usize {
        8 * self.large + SMALL_POINTS * self.small
    }
}

/// Whether a point of the eight is one that small tiles have, too.
fn is_common(point: usize) -> bool {
    point < SMALL_POINTS
}

/// The order of the tiles of some rows in memory. The tiles that have a position are always
/// neighbours: first the small tiles of large rows, then the large tiles of large rows, the large
/// tiles of small rows, and the small tiles of small rows.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// Where the four kinds begin, and the end.
    bounds: [usize; 5],
    /// The large and the small tiles of each row.
    rows: Vec<[Range<usize>; 2]>,
}

impl Slots {
    /// The order for rows that are large or small, each with this many large and small tiles.
    pub(super) fn new(are_large: &[bool], [large, small]: [usize; 2]) -> Slots {
        let large_rows = are_large.iter().filter(|&&is_large| is_large).count();
        let small_rows = are_large.len() - large_rows;
        let mut bounds = [0; 5];
        let counts =
            [large_rows * small, large_rows * large, small_rows * large, small_rows * small];
        for (kind, count) in counts.into_iter().enumerate() {
            bounds[kind + 1] = bounds[kind] + count;
        }
        let mut free = bounds;
        let mut take = |kind: usize, count: usize| {
            free[kind] += count;
            free[kind] - count..free[kind]
        };
        let row = |&is_large: &bool| match is_large {
            true => [take(1, large), take(0, small)],
            false => [take(2, large), take(3, small)],
        };
        Slots { bounds, rows: are_large.iter().map(row).collect() }
    }

    pub(super) fn count(&self) -> usize {
        self.bounds[4]
    }

    /// The large and the small tiles of each row.
    pub(super) fn rows(&self) -> &[[Range<usize>; 2]] {
        &self.rows
    }

    /// The tiles that have the position of point `y` down and point `x` across.
    pub(super) fn at(&self, y: usize, x: usize) -> Range<usize> {
        let first = if is_common(x) { 0 } else { 1 };
        let end = match (is_common(y), is_common(x)) {
            (false, _) => 2,
            (true, false) => 3,
            (true, true) => 4,
        };
        self.bounds[first]..self.bounds[end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::cpu::tensor::AFTER;

    #[test]
    fn tiles_cover_every_length_and_stay_within_the_border() {
        for scheme in [Scheme::F4x3, Scheme::F6x3, Scheme::F4x5] {
            for len in 1..700 {
                let cut = scheme.cut(len);
                for at in 0..len {
                    let tiles = 0..cut.count();
                    let ended = tiles.clone().filter(|&tile| cut.start(tile + 1) <= at).count();
                    assert_eq!(cut.before(at), ended);
                    let later = tiles.clone().find(|&tile| cut.start(tile) >= at);
                    assert_eq!(cut.from(at), later.unwrap_or(tiles.end));
                }
                let covered = cut.start(cut.count());
                assert!((len..len + SMALL).contains(&covered), "{scheme:?} {len}: {cut:?}");
                let kernel = if scheme == Scheme::F4x5 { 5 } else { 3 };
                assert!(covered - len + kernel / 2 <= AFTER);
            }
        }
    }

    #[test]
    fn maps_of_vgg_and_alex_get_the_expected_tiles() {
        let cut = |large, small| Cut { large, large_out: 6, small };
        assert_eq!(Scheme::F6x3.cut(32), cut(4, 2));
        assert_eq!(Scheme::F6x3.cut(63), cut(10, 1));
        assert_eq!(Scheme::choose(3, 32, 32), Some(Scheme::F6x3));
        assert_eq!(Scheme::choose(3, 16, 16), Some(Scheme::F4x3));
        assert_eq!(Scheme::choose(3, 4, 4), None);
        assert_eq!(Scheme::choose(5, 31, 31), Some(Scheme::F4x5));
        assert_eq!(Scheme::choose(1, 31, 31), None);
    }

    #[test]
    fn the_tiles_of_a_position_are_neighbours() {
        let are_large = [true, false, true, false, false];
        let columns = [3, 2];
        let slots = Slots::new(&are_large, columns);
        assert_eq!(slots.count(), 25);
        for (y, x) in [(0, 0), (0, 7), (7, 0), (7, 7)] {
            let mut expected = Vec::new();
            for (of_row, is_large) in slots.rows().iter().zip(are_large) {
                for (kind, of_kind) in of_row.iter().enumerate() {
                    assert_eq!(of_kind.len(), columns[kind]);
                    if (y == 0 || is_large) && (x == 0 || kind == 0) {
                        expected.extend(of_kind.clone());
                    }
                }
            }
            expected.sort_unstable();
            assert_eq!(slots.at(y, x).collect::<Vec<_>>(), expected, "{y} {x}");
        }
    }
}
