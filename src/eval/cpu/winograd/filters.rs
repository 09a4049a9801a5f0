//! Filters transformed for minimal filtering, packed in the order in which they are read.

use super::tiles::Scheme;
use super::transform::{FilterTransform, KERNEL_MAX};
use crate::eval::cpu::floats::Floats;
use crate::eval::cpu::product::block_of;
use crate::eval::cpu::team::Team;
use crate::isa::{Isa, Plain, dispatch_plain};
use crate::net::weights::Conv;

/// Transformed weights of more bytes than this are read once per group, by all threads together.
const SHARED_WEIGHT_BYTES: usize = 6 << 20;

/// Transformed and packed weights: (block, position, input channel, channel within the block).
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) scheme: Scheme,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    /// Output channels of a block.
    pub(super) block: usize,
    pub(super) weights: Floats,
    pub(super) bias: Vec<f32>,
}

/// Whether so many transformed weights are read by all threads together.
pub(super) fn is_shared(weight_len: usize) -> bool {
    weight_len * size_of::<f32>() > SHARED_WEIGHT_BYTES
}

impl Filters {
    /// Transforms the weights with all threads.
    pub(super) fn new(conv: &Conv, scheme: Scheme, isa: Isa, team: &Team) -> Filters {
        let block = block_of(isa);
        let [c_out, c_in, kernel, _] = conv.spec.weight_shape();
        let side = scheme.side();
        let transform = FilterTransform::new(kernel, side);
        let block_len = side * side * c_in * block;
        let mut weights = Floats::zeros(c_out / block * block_len);
        team.for_each(weights.chunks_exact_mut(block_len).enumerate(), |(index, packed)| {
            let first = index * block;
            dispatch_plain(isa, Block { conv, transform: &transform, first, block, packed });
        });
        Filters { scheme, c_in, c_out, block, weights, bias: conv.bias.clone() }
    }

    /// Blocks of output channels.
    pub(super) fn blocks(&self) -> usize {
        self.c_out / self.block
    }

    /// The weights of a position and a block; empty beyond the last block.
    pub(super) fn plane(&self, position: usize, block: usize) -> &[f32] {
        let len = self.c_in * self.block;
        let plane = block * self.scheme.side() * self.scheme.side() + position;
        self.weights.get(plane * len..(plane + 1) * len).unwrap_or_default()
    }
}

/// The filters of one block of output channels, from channel `first` on.
struct Block<'a> {
    conv: &'a Conv,
    transform: &'a FilterTransform,
    first: usize,
    block: usize,
    packed: &'a mut [f32],
}

impl Plain for Block<'_> {
    #[inline(always)]
    fn run(self) {
        match self.block {
            8 => self.transform::<8>(),
            _ => self.transform::<16>(),
        }
    }
}

impl Block<'_> {
    /// Transforms and packs them, `LANES` at once: as many as fill a cache line, because the next
    /// position is written far away.
    #[inline(always)]
    fn transform<const LANES: usize>(self) {
        let Block { conv, transform, first, block, packed } = self;
        let [_, c_in, kernel, _] = conv.spec.weight_shape();
        let taps = kernel * kernel;
        for i in 0..c_in {
            for lane in (0..block).step_by(LANES) {
                let mut filters = [[0.0; LANES]; KERNEL_MAX * KERNEL_MAX];
                for offset in 0..LANES {
                    let filter = &conv.weight[((first + lane + offset) * c_in + i) * taps..];
                    for (values, &weight) in filters.iter_mut().zip(&filter[..taps]) {
                        values[offset] = f64::from(weight);
                    }
                }
                transform.run(&filters[..taps], |position, values| {
                    let at = (position * c_in + i) * block + lane;
                    packed[at..][..LANES].copy_from_slice(values);
                });
            }
        }
    }
}
