//! One convolution of a trunk, computed by the algorithm that is fastest for the size of its map.

use std::sync::{Arc, OnceLock};

use super::direct::Direct;
use super::fold;
use super::scratch::Scratch;
use super::team::Team;
use super::tensor::{Geometry, Layout, Target, Tensor};
use super::winograd::{Scheme, Winograd};
use crate::isa::Isa;
use crate::net::{ConvSpec, weights};

/// Least number of input channels for minimal filtering. SqueezeNet's first fire modules have 16
/// and 32: with sums so short, the products gain little over the cost of the transforms, and the
/// transforms' rounding error grows through the five taps behind (layers of a 48x40 pair were off
/// by 4e-5 of their value).
const FILTERED_C_IN_MIN: usize = 48;

/// How a convolution is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Direct,
    Winograd(Scheme),
    /// Minimal filtering after blocks of `stride` x `stride` pixels were folded into channels.
    Folded {
        scheme: Scheme,
        stride: usize,
    },
}

impl Algorithm {
    /// Chooses by the shape of the convolution and the size of the map alone.
    pub(super) fn choose(spec: &ConvSpec, geometry: Geometry, isa: Isa) -> Algorithm {
        let Geometry { to: Layout { h, w, .. }, stride, .. } = geometry;
        let fits = |c_in: usize| Winograd::fits(c_in, spec.c_out, isa);
        match Scheme::choose(spec.kernel.div_ceil(stride), h, w) {
            Some(scheme) if stride == 1 && spec.c_in >= FILTERED_C_IN_MIN && fits(spec.c_in) => {
                Algorithm::Winograd(scheme)
            }
            Some(scheme) if stride > 1 && fits(spec.c_in * stride * stride) => {
                Algorithm::Folded { scheme, stride }
            }
            _ => Algorithm::Direct,
        }
    }
}

impl Algorithm {
    /// The tiles of minimal filtering.
    pub(super) fn scheme(self) -> Option<Scheme> {
        match self {
            Algorithm::Direct => None,
            Algorithm::Winograd(scheme) | Algorithm::Folded { scheme, .. } => Some(scheme),
        }
    }

    /// Values of the weights that are packed for a convolution.
    pub(super) fn weight_len(self, spec: &ConvSpec) -> usize {
        let channels = spec.c_in * spec.c_out;
        match self {
            Algorithm::Direct => channels * spec.kernel * spec.kernel,
            Algorithm::Winograd(scheme) => channels * scheme.side() * scheme.side(),
            Algorithm::Folded { scheme, stride } => {
                channels * stride * stride * scheme.side() * scheme.side()
            }
        }
    }
}

/// A convolution. Its weights are transformed and packed when they are first needed, once for each
/// algorithm: the sizes of the images decide which algorithms run, and most runs need one.
#[derive(Debug)]
pub(super) struct Conv {
    weights: Arc<weights::Conv>,
    isa: Isa,
    direct: OnceLock<Direct>,
    /// One for each [`Scheme`].
    winograd: [OnceLock<Winograd>; 3],
}

impl Conv {
    pub(super) fn new(weights: Arc<weights::Conv>, isa: Isa) -> Conv {
        Conv { weights, isa, direct: OnceLock::new(), winograd: Default::default() }
    }

    /// The algorithm for maps of these extents.
    pub(super) fn algorithm(&self, geometry: Geometry) -> Algorithm {
        Algorithm::choose(&self.weights.spec, geometry, self.isa)
    }

    /// Computes some rows of all images by an algorithm. The source of a folded convolution is
    /// folded already; if tiles are computed, the rows are whole tiles.
    pub(super) fn run(
        &self,
        algorithm: Algorithm,
        src: &Tensor,
        dst: Target<'_>,
        geometry: Geometry,
        scratch: &mut Scratch,
        team: &Team,
    ) {
        match algorithm {
            Algorithm::Direct => self.direct(team).run(src, dst, geometry, team),
            Algorithm::Winograd(scheme) => {
                self.winograd(scheme, 1, team).run(src, dst, geometry, scratch, team);
            }
            Algorithm::Folded { scheme, stride } => {
                self.winograd(scheme, stride, team).run(src, dst, geometry, scratch, team);
            }
        }
    }

    /// The convolution with weights packed for the direct algorithm.
    pub(super) fn direct(&self, team: &Team) -> &Direct {
        self.direct.get_or_init(|| Direct::new(&self.weights, self.isa, team))
    }

    /// The convolution with weights transformed for minimal filtering, after they were folded by
    /// the stride if that is not 1. A convolution has one stride.
    pub(super) fn winograd(&self, scheme: Scheme, stride: usize, team: &Team) -> &Winograd {
        self.winograd[scheme as usize].get_or_init(|| match stride {
            1 => Winograd::new(&self.weights, scheme, self.isa, team),
            _ => Winograd::new(&fold::weights(&self.weights, stride), scheme, self.isa, team),
        })
    }
}
