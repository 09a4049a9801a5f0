//! Winograd's transforms for tiles of 6x6 and 8x8.
//!
//! The points are 0, +-1, +-2, infinity, and for 8x8 also +-1/2. Points that differ in sign share
//! the sums over even and over odd elements, which is what the formulas below make use of.
#![expect(unsafe_code, reason = "vector operations are unsafe without their instruction set")]

use super::simd::Vector;

/// Side of the largest input tile.
pub(super) const INPUT_MAX: usize = 8;

type Tile<V> = [[V; INPUT_MAX]; INPUT_MAX];

/// Transforms all columns, then all rows. A macro, since a closure would not be compiled for the
/// instruction set of the function that calls it.
macro_rules! both {
    ($tile:expr, $line:ident) => {{
        let mut tile = $tile;
        for x in 0..INPUT_MAX {
            let column = $line([
                tile[0][x], tile[1][x], tile[2][x], tile[3][x], tile[4][x], tile[5][x], tile[6][x],
                tile[7][x],
            ]);
            for y in 0..INPUT_MAX {
                tile[y][x] = column[y];
            }
        }
        for y in 0..INPUT_MAX {
            tile[y] = $line(tile[y]);
        }
        tile
    }};
}

/// How a convolution is cut into tiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    /// F(4x4, 3x3): 6x6 in, 4x4 out.
    F4x3,
    /// F(6x6, 3x3): 8x8 in, 6x6 out.
    F6x3,
    /// F(4x4, 5x5): 8x8 in, 4x4 out.
    F4x5,
}

/// Points and the scales of their rows in the filter's matrix; infinity comes after them.
const POINTS_6: [(f64, f64); 5] = [
    (0.0, 1.0 / 4.0),
    (1.0, -1.0 / 6.0),
    (-1.0, -1.0 / 6.0),
    (2.0, 1.0 / 24.0),
    (-2.0, 1.0 / 24.0),
];
const POINTS_8: [(f64, f64); 7] = [
    (0.0, 1.0),
    (1.0, -2.0 / 9.0),
    (-1.0, -2.0 / 9.0),
    (2.0, 1.0 / 90.0),
    (-2.0, 1.0 / 90.0),
    (0.5, 32.0 / 45.0),
    (-0.5, 32.0 / 45.0),
];

impl Scheme {
    /// The scheme for a `kernel` at stride 1 and an output of `h` x `w`: the one with the fewer
    /// multiplications, which are tiles times positions; at equality the one with fewer positions,
    /// whose weights are smaller. `None` if there is no scheme for the kernel. The choice depends
    /// on the map alone, so that a pair's bits do not depend on its batch.
    pub(super) fn choose(kernel: usize, h: usize, w: usize) -> Option<Scheme> {
        let multiplications = |scheme: Scheme| {
            let output = scheme.output();
            h.div_ceil(output) * w.div_ceil(output) * scheme.input() * scheme.input()
        };
        match kernel {
            3 if multiplications(Scheme::F6x3) < multiplications(Scheme::F4x3) => {
                Some(Scheme::F6x3)
            }
            3 => Some(Scheme::F4x3),
            5 => Some(Scheme::F4x5),
            _ => None,
        }
    }

    /// Side of an input tile.
    #[inline(always)]
    pub(super) fn input(self) -> usize {
        match self {
            Scheme::F4x3 => 6,
            Scheme::F6x3 | Scheme::F4x5 => 8,
        }
    }

    /// Side of an output tile.
    #[inline(always)]
    pub(super) fn output(self) -> usize {
        match self {
            Scheme::F4x3 | Scheme::F4x5 => 4,
            Scheme::F6x3 => 6,
        }
    }

    /// The matrix G, (input side, kernel): row i evaluates a filter at point i.
    pub(super) fn filter_matrix(self, kernel: usize) -> Vec<f64> {
        let points: &[(f64, f64)] = match self {
            Scheme::F4x3 => &POINTS_6,
            Scheme::F6x3 | Scheme::F4x5 => &POINTS_8,
        };
        let powers = |&(point, scale): &(f64, f64)| {
            (0..kernel).map(move |power| scale * point.powi(power as i32))
        };
        let infinity = (0..kernel).map(|power| if power + 1 == kernel { 1.0 } else { 0.0 });
        points.iter().flat_map(powers).chain(infinity).collect()
    }

    /// G g G^T for one filter, in float64, rounded once; (row, column), dense.
    pub(super) fn transform_filter(
        self,
        matrix: &[f64],
        kernel: usize,
        filter: &[f32],
    ) -> [f32; INPUT_MAX * INPUT_MAX] {
        let input = self.input();
        let mut half = [[0.0f64; 5]; INPUT_MAX];
        for (row, half) in matrix.chunks_exact(kernel).zip(&mut half) {
            for (column, half) in half.iter_mut().enumerate().take(kernel) {
                let terms = row.iter().enumerate();
                *half = terms.map(|(k, g)| g * f64::from(filter[k * kernel + column])).sum();
            }
        }
        let mut transformed = [0.0; INPUT_MAX * INPUT_MAX];
        for (y, half) in half.iter().enumerate().take(input) {
            for (x, row) in matrix.chunks_exact(kernel).enumerate() {
                let sum: f64 = row.iter().zip(half).map(|(g, half)| g * half).sum();
                transformed[y * input + x] = sum as f32;
            }
        }
        transformed
    }

    /// B^T d B.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    #[inline(always)]
    pub(super) unsafe fn transform_input<V: Vector>(self, tile: Tile<V>) -> Tile<V> {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            match self {
                Scheme::F4x3 => both!(tile, input_6),
                Scheme::F6x3 | Scheme::F4x5 => both!(tile, input_8),
            }
        }
    }

    /// A^T m A; what is beyond the output's side has no meaning.
    ///
    /// # Safety
    /// The instruction set of `V` must be available.
    #[inline(always)]
    pub(super) unsafe fn transform_output<V: Vector>(self, tile: Tile<V>) -> Tile<V> {
        // SAFETY: the caller vouches for the instruction set.
        unsafe {
            match self {
                Scheme::F4x3 => both!(tile, output_6_to_4),
                Scheme::F6x3 => both!(tile, output_8_to_6),
                Scheme::F4x5 => both!(tile, output_8_to_4),
            }
        }
    }
}

/// `sum + factor * value`.
#[inline(always)]
unsafe fn plus<V: Vector>(sum: V, factor: f32, value: V) -> V {
    // SAFETY: the caller vouches for the instruction set.
    unsafe { V::splat(factor).mul_add(value, sum) }
}

#[inline(always)]
unsafe fn input_6<V: Vector>(d: [V; INPUT_MAX]) -> [V; INPUT_MAX] {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let (even_1, odd_1) = (plus(d[4], -4.0, d[2]), plus(d[3], -4.0, d[1]));
        let even_2 = d[4].sub(d[2]);
        let odd_2 = d[3].sub(d[1]);
        let odd_2 = odd_2.add(odd_2);
        [
            plus(plus(d[4], -5.0, d[2]), 4.0, d[0]),
            even_1.add(odd_1),
            even_1.sub(odd_1),
            even_2.add(odd_2),
            even_2.sub(odd_2),
            plus(plus(d[5], -5.0, d[3]), 4.0, d[1]),
            d[6],
            d[7],
        ]
    }
}

#[inline(always)]
unsafe fn input_8<V: Vector>(d: [V; INPUT_MAX]) -> [V; INPUT_MAX] {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let even_1 = plus(d[2].add(d[6]), -4.25, d[4]);
        let odd_1 = plus(d[1].add(d[5]), -4.25, d[3]);
        let even_2 = plus(plus(d[6], 0.25, d[2]), -1.25, d[4]);
        let odd_2 = plus(plus(d[5].add(d[5]), 0.5, d[1]), -2.5, d[3]);
        let even_half = plus(plus(d[6], 4.0, d[2]), -5.0, d[4]);
        let odd_half = plus(plus(d[1].add(d[1]), 0.5, d[5]), -2.5, d[3]);
        [
            plus(d[0].sub(d[6]), 5.25, d[4].sub(d[2])),
            even_1.add(odd_1),
            even_1.sub(odd_1),
            even_2.add(odd_2),
            even_2.sub(odd_2),
            even_half.add(odd_half),
            even_half.sub(odd_half),
            plus(d[7].sub(d[1]), 5.25, d[3].sub(d[5])),
        ]
    }
}

#[inline(always)]
unsafe fn output_6_to_4<V: Vector>(m: [V; INPUT_MAX]) -> [V; INPUT_MAX] {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let (sum_1, difference_1) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum_2, difference_2) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum_1).add(sum_2),
            plus(difference_1, 2.0, difference_2),
            plus(sum_1, 4.0, sum_2),
            plus(difference_1, 8.0, difference_2).add(m[5]),
            m[4],
            m[5],
            m[6],
            m[7],
        ]
    }
}

/// Sums and differences of the values at 1, 2 and 1/2 and their negatives.
#[inline(always)]
unsafe fn pairs_of_8<V: Vector>(m: &[V; INPUT_MAX]) -> ([V; 3], [V; 3]) {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        (
            [m[1].add(m[2]), m[3].add(m[4]), m[5].add(m[6])],
            [m[1].sub(m[2]), m[3].sub(m[4]), m[5].sub(m[6])],
        )
    }
}

#[inline(always)]
unsafe fn output_8_to_6<V: Vector>(m: [V; INPUT_MAX]) -> [V; INPUT_MAX] {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let (sum, difference) = pairs_of_8(&m);
        [
            m[0].add(sum[0]).add(sum[1].add(sum[2])),
            plus(plus(difference[0], 2.0, difference[1]), 0.5, difference[2]),
            plus(plus(sum[0], 4.0, sum[1]), 0.25, sum[2]),
            plus(plus(difference[0], 8.0, difference[1]), 0.125, difference[2]),
            plus(plus(sum[0], 16.0, sum[1]), 0.0625, sum[2]),
            plus(plus(difference[0], 32.0, difference[1]), 0.03125, difference[2]).add(m[7]),
            m[6],
            m[7],
        ]
    }
}

#[inline(always)]
unsafe fn output_8_to_4<V: Vector>(m: [V; INPUT_MAX]) -> [V; INPUT_MAX] {
    // SAFETY: the caller vouches for the instruction set.
    unsafe {
        let (sum, difference) = pairs_of_8(&m);
        [
            m[0].add(sum[0]).add(sum[1].add(sum[2])),
            plus(plus(difference[0], 2.0, difference[1]), 0.5, difference[2]),
            plus(plus(sum[0], 4.0, sum[1]), 0.25, sum[2]),
            plus(plus(difference[0], 8.0, difference[1]), 0.125, difference[2]).add(m[7]),
            m[4],
            m[5],
            m[6],
            m[7],
        ]
    }
}
