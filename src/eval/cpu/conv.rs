//! One convolution of a trunk, by the algorithm that suits the size of its map.

use std::sync::OnceLock;

use super::direct::Direct;
use super::fold;
use super::simd::Isa;
use super::tensor::{Layout, Tensor};
use super::tiles::Scheme;
use super::winograd::{Scratch, Winograd};
use crate::net::weights;

/// What a convolution does to a map.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Extents of the source.
    pub(super) from: Layout,
    /// Extents of the target.
    pub(super) to: Layout,
    /// Step between windows.
    pub(super) stride: usize,
    /// Zeros on each side.
    pub(super) pad: usize,
    /// First channel of the target that is written.
    pub(super) c_first: usize,
}

/// How a convolution is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Algorithm {
    Direct,
    Winograd(Scheme),
    /// Minimal filtering of the map whose blocks of `stride` x `stride` pixels became channels.
    Folded(Scheme),
}

/// A convolution whose weights are transformed and packed when they are first needed, once for each
/// algorithm: sizes of images decide which, and most runs need one.
#[derive(Debug)]
pub(super) struct Conv {
    weights: weights::Conv,
    isa: Isa,
    direct: OnceLock<Direct>,
    /// One for each [`Scheme`].
    winograd: [OnceLock<Winograd>; 3],
}

impl Conv {
    pub(super) fn new(weights: weights::Conv, isa: Isa) -> Conv {
        Conv { weights, isa, direct: OnceLock::new(), winograd: Default::default() }
    }

    /// Computes all images of `src` into `dst`, whose shape is set.
    pub(super) fn run(
        &self,
        src: &Tensor,
        dst: &mut Tensor,
        geometry: Geometry,
        scratch: &mut Scratch,
    ) {
        match self.algorithm(geometry) {
            Algorithm::Direct => {
                let direct = self.direct.get_or_init(|| Direct::new(&self.weights, self.isa));
                direct.run(src, dst, geometry);
            }
            Algorithm::Winograd(scheme) => {
                let packed = self.winograd[scheme as usize]
                    .get_or_init(|| Winograd::new(&self.weights, scheme, self.isa));
                packed.run(src, dst, geometry, scratch);
            }
            Algorithm::Folded(scheme) => {
                let packed = self.winograd[scheme as usize].get_or_init(|| {
                    Winograd::new(&fold::weights(&self.weights, geometry.stride), scheme, self.isa)
                });
                let mut folded = std::mem::take(&mut scratch.folded);
                fold::input(src, &mut folded, geometry);
                let from = folded.layout();
                let geometry = Geometry { from, stride: 1, pad: 0, ..geometry };
                packed.run(&folded, dst, geometry, scratch);
                scratch.folded = folded;
            }
        }
    }

    fn algorithm(&self, geometry: Geometry) -> Algorithm {
        let spec = &self.weights.spec;
        let Geometry { to: Layout { h, w, .. }, stride, .. } = geometry;
        let fits = |c_in: usize| Winograd::fits(c_in, spec.c_out, self.isa);
        let kernel = spec.kernel.div_ceil(stride);
        match Scheme::choose(kernel, h, w) {
            Some(scheme) if stride == 1 && fits(spec.c_in) => Algorithm::Winograd(scheme),
            Some(scheme) if stride > 1 && fits(spec.c_in * stride * stride) => {
                Algorithm::Folded(scheme)
            }
            _ => Algorithm::Direct,
        }
    }
}
