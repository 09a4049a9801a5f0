//! A plan as the CPU walks it: steps that are done at once are one pass.

use super::conv::{Algorithm, Geometry};
use super::simd::Isa;
use super::stage::POOL;
use super::tensor::Layout;
use super::winograd::is_shared;
use crate::net::plan::{BUFFERS, Plan, Slot, Step, View};
use crate::net::{ConvSpec, NetSpec};

/// A convolution as a plan states it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvStep {
    pub(super) weight: usize,
    pub(super) stride: usize,
    pub(super) pad: usize,
    pub(super) src: View,
    pub(super) dst: View,
}

impl ConvStep {
    fn of(step: &Step) -> Option<ConvStep> {
        match *step {
            Step::Conv { weight, stride, pad, src, dst, .. } => {
                Some(ConvStep { weight, stride, pad, src, dst })
            }
            Step::MaxPool { .. } | Step::Tap { .. } => None,
        }
    }

    pub(super) fn geometry(self) -> Geometry {
        let (from, to) = (Layout::of(self.src), Layout::of(self.dst));
        let (stride, pad, c_first) = (self.stride, self.pad, self.dst.c_first);
        Geometry { from, from_top: 0, to, stride, pad, c_first }
    }

    fn algorithm(self, convs: &[ConvSpec], isa: Isa) -> Algorithm {
        Algorithm::choose(&convs[self.weight], self.geometry(), isa)
    }
}

/// What is done at once: a step, or the steps of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pass {
    Conv(ConvStep),
    Pool { kernel: usize, stride: usize, src: View, dst: View },
    Tap { layer: usize, src: View },
    Stage { first: Option<ConvStep>, conv: ConvStep, layer: usize, pooled: View },
}

impl Pass {
    /// The first pass of some steps, and the steps after it.
    fn first<'s>(steps: &'s [Step], convs: &[ConvSpec], isa: Isa) -> Option<(Pass, &'s [Step])> {
        let (step, rest) = steps.split_first()?;
        let of_image = |conv: &ConvStep| {
            conv.src.slot == Slot::Input && conv.algorithm(convs, isa) == Algorithm::Direct
        };
        let first = ConvStep::of(step).filter(of_image);
        let stage = first.and_then(|first| Pass::stage(Some(first), rest, convs, isa));
        let stage = stage.or_else(|| Pass::stage(None, steps, convs, isa));
        stage.or_else(|| {
            let pass = match *step {
                Step::Conv { weight, stride, pad, src, dst, .. } => {
                    Pass::Conv(ConvStep { weight, stride, pad, src, dst })
                }
                Step::MaxPool { kernel, stride, src, dst } => {
                    Pass::Pool { kernel, stride, src, dst }
                }
                Step::Tap { layer, src } => Pass::Tap { layer, src },
            };
            Some((pass, rest))
        })
    }

    /// A stage, if the steps begin with one and its convolution works on its own in each thread.
    fn stage<'s>(
        first: Option<ConvStep>,
        steps: &'s [Step],
        convs: &[ConvSpec],
        isa: Isa,
    ) -> Option<(Pass, &'s [Step])> {
        let [conv, Step::Tap { layer, .. }, pool, rest @ ..] = steps else { return None };
        let Step::MaxPool { kernel: POOL, stride: POOL, dst: pooled, .. } = *pool else {
            return None;
        };
        let conv = ConvStep::of(conv).filter(|conv| {
            let algorithm = conv.algorithm(convs, isa);
            matches!(algorithm, Algorithm::Winograd(scheme)
                if !is_shared(&convs[conv.weight], scheme))
        })?;
        Some((Pass::Stage { first, conv, layer: *layer, pooled }, rest))
    }

    /// A plan as the CPU walks it.
    pub(super) fn all(plan: &Plan, spec: &NetSpec, isa: Isa) -> Vec<Pass> {
        let (mut steps, convs) = (plan.steps.as_slice(), spec.convs());
        let next = || {
            let (pass, rest) = Pass::first(steps, &convs, isa)?;
            steps = rest;
            Some(pass)
        };
        std::iter::from_fn(next).collect()
    }

    /// Where the pass leaves a map, and its shape.
    fn output(&self) -> Option<(Slot, Layout)> {
        match *self {
            Pass::Conv(ConvStep { dst, .. }) | Pass::Pool { dst, .. } => {
                Some((dst.slot, Layout::of(dst)))
            }
            Pass::Stage { conv, pooled, .. } => Some((conv.dst.slot, Layout::of(pooled))),
            Pass::Tap { .. } => None,
        }
    }
}

/// Bytes of the activations of one image.
pub(super) fn image_bytes(plan: &Plan, passes: &[Pass]) -> usize {
    let input = Layout { c: plan.input.c, h: plan.input.h, w: plan.input.w };
    let largest = |buffer: usize| {
        let outputs = passes.iter().filter_map(Pass::output);
        let of_buffer = outputs.filter(|&(slot, _)| slot == Slot::Buffer(buffer));
        of_buffer.map(|(_, layout)| layout.image_len()).max().unwrap_or(0)
    };
    size_of::<f32>() * (input.image_len() + (0..BUFFERS).map(largest).sum::<usize>())
}
