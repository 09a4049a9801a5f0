//! Bilinear interpolation as PyTorch does it with `align_corners=False` and without antialiasing,
//! in float64.

use crate::eval::Map;

/// Where one output position reads: two neighbours, and the share of the second.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Read {
    first: usize,
    second: usize,
    share: f64,
}

/// A map that is read at another size, row by row.
#[derive(Debug)]
pub(super) struct Resize<'a> {
    map: &'a Map,
    rows: Vec<Read>,
    columns: Vec<Read>,
}

impl<'a> Resize<'a> {
    pub(super) fn new(map: &'a Map, height: usize, width: usize) -> Resize<'a> {
        let (rows, columns) = (reads(map.height, height), reads(map.width, width));
        Resize { map, rows, columns }
    }

    /// Adds output row `y` to `row`.
    pub(super) fn add_row(&self, y: usize, row: &mut [f64]) {
        let source = |y: usize| &self.map.values[y * self.map.width..][..self.map.width];
        let Read { first, second, share } = self.rows[y];
        let (upper, lower) = (source(first), source(second));
        for (value, read) in row.iter_mut().zip(&self.columns) {
            let across = |row: &[f32]| {
                let (a, b) = (f64::from(row[read.first]), f64::from(row[read.second]));
                (1.0 - read.share) * a + read.share * b
            };
            *value += (1.0 - share) * across(upper) + share * across(lower);
        }
    }
}

/// Where `to` positions read among `from`. The centre of position i is at (i + 1/2) from / to of
/// the input; what lies outside the outermost centres repeats them.
fn reads(from: usize, to: usize) -> Vec<Read> {
    let scale = from as f64 / to as f64;
    let read = |index: usize| {
        let at = ((index as f64 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        Read { first, second: (first + 1).min(from - 1), share: at - first as f64 }
    };
    (0..to).map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(map: &Map, height: usize, width: usize) -> Vec<f64> {
        let resize = Resize::new(map, height, width);
        let mut out = vec![0.0; height * width];
        out.chunks_exact_mut(width).enumerate().for_each(|(y, row)| resize.add_row(y, row));
        out
    }

    /// `torch.nn.functional.interpolate(x, size, mode='bilinear')` of [[0, 1, 2], [3, 4, 5]].
    #[test]
    fn values_are_pytorchs() {
        let map = Map { height: 2, width: 3, values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        assert_eq!(resized(&map, 2, 3), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(resized(&map, 1, 1), [2.5]);
        let found = resized(&map, 4, 4);
        let expected = [
            0.0, 0.625, 1.375, 2.0, 0.75, 1.375, 2.125, 2.75, 2.25, 2.875, 3.625, 4.25, 3.0, 3.625,
            4.375, 5.0,
        ];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }
}
