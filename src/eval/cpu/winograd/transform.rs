//! Winograd's transforms along one line of a tile.
//!
//! The points are 0, +-1, +-2, infinity and +-1/2, in this order. Lines of six elements use the
//! first six. Every point has the same scale in the filter's matrix for both lengths, so that
//! filters transformed at eight points also serve lines of six. Points that differ in sign share
//! the sums over even and over odd elements, and the formulas below use that.

use crate::eval::cpu::simd::{Simd as _, Vector};

/// Side of the largest input tile.
pub(super) const INPUT_MAX: usize = 8;
/// Side of the largest kernel.
pub(super) const KERNEL_MAX: usize = 5;

/// A point, and the scale of its row in the filter's matrix. At infinity the row picks the last
/// element.
const POINTS: [(f64, f64); INPUT_MAX] = [
    (0.0, 1.0),
    (1.0, -2.0 / 9.0),
    (-1.0, -2.0 / 9.0),
    (2.0, 1.0 / 90.0),
    (-2.0, 1.0 / 90.0),
    (f64::INFINITY, 1.0),
    (0.5, 32.0 / 45.0),
    (-0.5, 32.0 / 45.0),
];

/// The matrix G: row i evaluates a line of a filter of `kernel` elements at point i; elements
/// beyond `kernel` are zero.
fn filter_matrix(kernel: usize) -> [[f64; KERNEL_MAX]; INPUT_MAX] {
    POINTS.map(|(point, scale)| {
        std::array::from_fn(|power| match power {
            _ if power >= kernel => 0.0,
            _ if point.is_finite() => scale * point.powi(power as i32),
            _ => f64::from(u8::from(power + 1 == kernel)),
        })
    })
}

/// Transforms `LANES` filters at once to G g G^T, in float64, rounded once.
pub(super) struct FilterTransform {
    matrix: [[f64; KERNEL_MAX]; INPUT_MAX],
    kernel: usize,
    side: usize,
}

impl FilterTransform {
    /// For square filters of `kernel` elements a side, at `side` points a side.
    pub(super) fn new(kernel: usize, side: usize) -> FilterTransform {
        assert!(kernel <= KERNEL_MAX && side <= INPUT_MAX);
        FilterTransform { matrix: filter_matrix(kernel), kernel, side }
    }

    /// `filters` is (row, column) of vectors; `write` takes (position, vector).
    #[inline(always)]
    pub(super) fn run<const LANES: usize>(
        &self,
        filters: &[[f64; LANES]],
        mut write: impl FnMut(usize, &[f32; LANES]),
    ) {
        let &FilterTransform { ref matrix, kernel, side } = self;
        for y in 0..side {
            let mut half = [[0.0; LANES]; KERNEL_MAX];
            for (column, half) in half.iter_mut().enumerate().take(kernel) {
                for row in 0..kernel {
                    add_scaled(half, matrix[y][row], &filters[row * kernel + column]);
                }
            }
            for (x, row) in matrix.iter().enumerate().take(side) {
                let mut sum = [0.0; LANES];
                for (half, &factor) in half.iter().zip(row).take(kernel) {
                    add_scaled(&mut sum, factor, half);
                }
                write(y * side + x, &sum.map(|value| value as f32));
            }
        }
    }
}

#[inline(always)]
fn add_scaled<const LANES: usize>(sum: &mut [f64; LANES], factor: f64, values: &[f64; LANES]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// Filtering along one line: `IN` elements in, `OUT` elements out.
pub(super) trait Line<const IN: usize, const OUT: usize> {
    /// B^T d: the input at each point.
    fn input<V: Vector>(d: [V; IN]) -> [V; IN];
    /// A^T m: the output from the products at each point.
    fn output<V: Vector>(m: [V; IN]) -> [V; OUT];
}

/// F(6, 3) on eight points.
pub(super) struct F6x3;
/// F(4, 3) on six points.
pub(super) struct F4x3;
/// F(4, 5) on eight points.
pub(super) struct F4x5;

/// `sum + factor * value`.
#[inline(always)]
fn plus<V: Vector>(sum: V, factor: f32, value: V) -> V {
    sum.simd().splat(factor).mul_add(value, sum)
}

/// `factor * value`.
#[inline(always)]
fn times<V: Vector>(factor: f32, value: V) -> V {
    value.simd().splat(factor).mul(value)
}

impl Line<6, 4> for F4x3 {
    #[inline(always)]
    fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        let even_1 = plus(times(0.75, d[4]), -3.0, d[2]);
        let odd_1 = plus(times(0.75, d[3]), -3.0, d[1]);
        let even_2 = times(3.75, d[4].sub(d[2]));
        let odd_2 = d[3].sub(d[1]);
        [
            plus(plus(d[0], -1.25, d[2]), 0.25, d[4]),
            even_1.add(odd_1),
            even_1.sub(odd_1),
            plus(even_2, 7.5, odd_2),
            plus(even_2, -7.5, odd_2),
            plus(plus(d[5], -5.0, d[3]), 4.0, d[1]),
        ]
    }

    #[inline(always)]
    fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        let (sum_1, difference_1) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (sum_2, difference_2) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(sum_1).add(sum_2),
            plus(difference_1, 2.0, difference_2),
            plus(sum_1, 4.0, sum_2),
            plus(difference_1, 8.0, difference_2).add(m[5]),
        ]
    }
}

/// The input at eight points, for any kernel.
#[inline(always)]
fn input_8<V: Vector>(d: [V; 8]) -> [V; 8] {
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
        plus(d[7].sub(d[1]), 5.25, d[3].sub(d[5])),
        even_half.add(odd_half),
        even_half.sub(odd_half),
    ]
}

/// Sums and differences of the products at 1, 2 and 1/2 and their negatives.
#[inline(always)]
fn opposites<V: Vector>(m: &[V; 8]) -> ([V; 3], [V; 3]) {
    (
        [m[1].add(m[2]), m[3].add(m[4]), m[6].add(m[7])],
        [m[1].sub(m[2]), m[3].sub(m[4]), m[6].sub(m[7])],
    )
}

impl Line<8, 6> for F6x3 {
    #[inline(always)]
    fn input<V: Vector>(d: [V; 8]) -> [V; 8] {
        input_8(d)
    }

    #[inline(always)]
    fn output<V: Vector>(m: [V; 8]) -> [V; 6] {
        let (sum, difference) = opposites(&m);
        [
            m[0].add(sum[0]).add(sum[1].add(sum[2])),
            plus(plus(difference[0], 2.0, difference[1]), 0.5, difference[2]),
            plus(plus(sum[0], 4.0, sum[1]), 0.25, sum[2]),
            plus(plus(difference[0], 8.0, difference[1]), 0.125, difference[2]),
            plus(plus(sum[0], 16.0, sum[1]), 0.0625, sum[2]),
            plus(plus(difference[0], 32.0, difference[1]), 0.03125, difference[2]).add(m[5]),
        ]
    }
}

impl Line<8, 4> for F4x5 {
    #[inline(always)]
    fn input<V: Vector>(d: [V; 8]) -> [V; 8] {
        input_8(d)
    }

    #[inline(always)]
    fn output<V: Vector>(m: [V; 8]) -> [V; 4] {
        let (sum, difference) = opposites(&m);
        [
            m[0].add(sum[0]).add(sum[1].add(sum[2])),
            plus(plus(difference[0], 2.0, difference[1]), 0.5, difference[2]),
            plus(plus(sum[0], 4.0, sum[1]), 0.25, sum[2]),
            plus(plus(difference[0], 8.0, difference[1]), 0.125, difference[2]).add(m[5]),
        ]
    }
}
