//! One convolution of a trunk, by the algorithm that suits the size of its map.

use std::sync::OnceLock;

use super::direct::Direct;
use super::simd::Isa;
use super::tensor::{Layout, Tensor};
use super::transform::Scheme;
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

/// A convolution whose weights are transformed and packed when they are first needed, once for each
/// algorithm: sizes of images decide which, and most runs need one.
#[derive(Debug)]
pub(super) struct Conv {
    weights: weights::Conv,
    isa: Isa,
    direct: OnceLock<Direct>,
    f4x3: OnceLock<Winograd>,
    f6x3: OnceLock<Winograd>,
    f4x5: OnceLock<Winograd>,
}

impl Conv {
    pub(super) fn new(weights: weights::Conv, isa: Isa) -> Conv {
        Conv {
            weights,
            isa,
            direct: OnceLock::new(),
            f4x3: OnceLock::new(),
            f6x3: OnceLock::new(),
            f4x5: OnceLock::new(),
        }
    }

    /// Computes all images of `src` into `dst`, whose shape is set.
    pub(super) fn run(
        &self,
        src: &Tensor,
        dst: &mut Tensor,
        geometry: Geometry,
        scratch: &mut Scratch,
    ) {
        match self.scheme(geometry) {
            None => {
                let direct = self.direct.get_or_init(|| Direct::new(&self.weights, self.isa));
                direct.run(src, dst, geometry);
            }
            Some(scheme) => {
                let packed = match scheme {
                    Scheme::F4x3 => &self.f4x3,
                    Scheme::F6x3 => &self.f6x3,
                    Scheme::F4x5 => &self.f4x5,
                };
                let packed = packed.get_or_init(|| Winograd::new(&self.weights, scheme, self.isa));
                packed.run(src, dst, geometry, scratch);
            }
        }
    }

    fn scheme(&self, geometry: Geometry) -> Option<Scheme> {
        let spec = &self.weights.spec;
        let fits = geometry.stride == 1 && Winograd::fits(spec.c_in, spec.c_out, self.isa);
        let Layout { h, w, .. } = geometry.to;
        if fits { Scheme::choose(spec.kernel, h, w) } else { None }
    }
}
