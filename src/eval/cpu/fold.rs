//! Space to depth: a convolution of stride s over c channels equals one of stride 1 over s*s*c
//! channels, which are the pixels of a block of s x s. A kernel of 11 at stride 4 becomes one of 3,
//! for which minimal filtering works.

use super::ops::for_each_row;
use super::team::Team;
use super::tensor::{Geometry, Layout, Target, Tensor};
use crate::net::ConvSpec;
use crate::net::weights::Conv;

/// The folded filters. Elements of a block that lie outside the kernel are zero.
pub(super) fn weights(conv: &Conv, stride: usize) -> Conv {
    let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
    let folded = kernel.div_ceil(stride);
    let channels = stride * stride * c_in;
    let spec = ConvSpec { c_in: channels, kernel: folded, ..conv.spec.clone() };
    let mut weight = vec![0.0; c_out * channels * folded * folded];
    for (index, &value) in conv.weight.iter().enumerate() {
        let (x, y) = (index % kernel, index / kernel % kernel);
        let (i, o) = (index / (kernel * kernel) % c_in, index / (kernel * kernel * c_in));
        let channel = (y % stride * stride + x % stride) * c_in + i;
        let block = y / stride * folded + x / stride;
        weight[(o * channels + channel) * folded * folded + block] = value;
    }
    Conv { spec, weight, bias: conv.bias.clone() }
}

/// The extents of the folded source of a convolution.
pub(super) fn layout(Geometry { from, to, stride, .. }: Geometry) -> Layout {
    // The kernel has three blocks: two more than there are outputs.
    Layout { c: stride * stride * from.c, h: to.h + 2, w: to.w + 2 }
}

/// Folds some rows of all images of `src`, the source of a convolution, with its padding.
pub(super) fn input(src: &Tensor, folded: Target<'_>, geometry: Geometry, team: &Team) {
    let Geometry { from, stride, pad, .. } = geometry;
    let run = stride * from.c;
    for_each_row(src, folded, team, |src, block_y, blocks| {
        let c = stride * run;
        for y in 0..stride {
            let start = src.at((block_y * stride + y) as isize - pad as isize, -(pad as isize));
            let pixels = src.data[start..][..blocks.len() / stride].chunks_exact(run);
            for (block, pixels) in blocks.chunks_exact_mut(c).zip(pixels) {
                block[y * run..][..run].copy_from_slice(pixels);
            }
        }
    });
}
