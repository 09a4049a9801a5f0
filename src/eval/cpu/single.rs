//! A single operation, for benchmarks (`cargo bench --bench ops`) only.
#![expect(unsafe_code, reason = "a vector is stored by pointer")]

use std::sync::Arc;

use super::conv::{Algorithm, Conv};
use super::fold;
use super::scratch::Scratch;
use super::simd::{Kernel, Simd, Vector as _, dispatch};
use super::team::Team;
use super::tensor::{Geometry, Layout, Tensor};
use crate::isa::Isa;
use crate::net::{ConvSpec, weights};

/// The shape of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub pad: usize,
    /// Side of the square source.
    pub side: usize,
}

impl Shape {
    fn side_out(self) -> usize {
        (self.side + 2 * self.pad - self.kernel) / self.stride + 1
    }

    /// Multiplications and additions of the direct algorithm, for one image.
    #[must_use]
    pub fn flops(self) -> usize {
        2 * self.c_in * self.c_out * self.kernel.pow(2) * self.side_out().pow(2)
    }
}

/// A convolution with its source and target.
#[derive(Debug)]
pub struct Single {
    conv: Conv,
    geometry: Geometry,
    src: Tensor,
    folded: Tensor,
    dst: Tensor,
    scratch: Scratch,
    team: Team,
}

impl Single {
    /// With weights and images from a formula, for the threads of the current rayon pool. The first
    /// run transforms the weights.
    #[must_use]
    pub fn new(shape: Shape, image_count: usize, isa: Isa) -> Single {
        let Shape { c_in, c_out, kernel, stride, pad, side } = shape;
        let spec = ConvSpec { name: "single".to_owned(), c_in, c_out, kernel };
        let count = spec.weight_shape().iter().product();
        let weight = (0..count).map(|index: usize| (index * 7919 % 1013) as f32 * 1e-4).collect();
        let conv = weights::Conv { spec, weight, bias: vec![0.1; c_out] };
        let from = Layout { c: c_in, h: side, w: side };
        let to = Layout { c: c_out, h: shape.side_out(), w: shape.side_out() };
        let (mut src, mut dst) = (Tensor::default(), Tensor::default());
        let team = Team::new();
        src.begin_whole(image_count, from, &team);
        dst.begin_whole(image_count, to, &team);
        for image in src.whole().images() {
            for row in image.chunks_exact_mut(from.row_len()) {
                from.pixels_mut(row).fill(0.5);
            }
        }
        Single {
            conv: Conv::new(Arc::new(conv), isa),
            geometry: Geometry { from, to, stride, pad, c_first: 0 },
            src,
            folded: Tensor::default(),
            dst,
            scratch: Scratch::new(),
            team,
        }
    }

    /// Convolves all images once.
    pub fn run(&mut self) {
        let Single { conv, geometry, src, folded, dst, scratch, team } = self;
        team.lead(|| run_whole(conv, src, folded, dst, *geometry, scratch, team));
    }
}

/// Computes whole maps; `folded` is memory for a source whose blocks of pixels become channels.
pub(super) fn run_whole(
    conv: &Conv,
    src: &Tensor,
    folded: &mut Tensor,
    dst: &mut Tensor,
    geometry: Geometry,
    scratch: &mut Scratch,
    team: &Team,
) {
    let algorithm = conv.algorithm(geometry);
    match algorithm {
        Algorithm::Folded { .. } => {
            let from = fold::layout(geometry);
            folded.begin_whole(src.image_count(), from, team);
            fold::input(src, folded.whole(), geometry, team);
            let geometry = Geometry { from, stride: 1, pad: 0, ..geometry };
            conv.run(algorithm, folded, dst.whole(), geometry, scratch, team);
        }
        _ => conv.run(algorithm, src, dst.whole(), geometry, scratch, team),
    }
}

/// Independent sums: enough to hide the latency of an addition.
const SUMS: usize = 12;

/// Multiplies and adds in registers, `rounds` times, and returns the number of both operations. The
/// rate that a core reaches here is the upper bound for every convolution.
#[must_use]
pub fn multiply_add(isa: Isa, rounds: usize) -> usize {
    let mut total = 0.0;
    let mut lanes = 0;
    dispatch(isa, MultiplyAdd { rounds, total: &mut total, lanes: &mut lanes });
    std::hint::black_box(total);
    2 * SUMS * lanes * rounds
}

struct MultiplyAdd<'a> {
    rounds: usize,
    total: &'a mut f32,
    lanes: &'a mut usize,
}

impl Kernel for MultiplyAdd<'_> {
    #[inline(always)]
    fn run<S: Simd, const TILE: usize>(self, simd: S) {
        *self.lanes = S::LEN;
        let mut lanes = [0.0; 16];
        let (factor, summand) = (simd.splat(0.999), simd.splat(0.001));
        // The first value is opaque to the compiler, which would otherwise compute equal sums once,
        // or all of them before the clock starts.
        let mut sums = [simd.splat(0.0); SUMS];
        for (index, sum) in sums.iter_mut().enumerate() {
            *sum = simd.splat(std::hint::black_box(index as f32));
        }
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, summand);
            }
        }
        for sum in sums {
            // SAFETY: `lanes` holds the longest vector.
            unsafe { sum.store(lanes.as_mut_ptr()) };
            *self.total += lanes[0];
        }
    }
}
