//! A plan as the CPU walks it. Steps that are computed together are one pass.

use super::conv::Algorithm;
use super::fold;
use super::stage::{POOL, band_bytes};
use super::tensor::{Geometry, Layout};
use super::winograd::Winograd;
use crate::isa::Isa;
use crate::net::plan::{BUFFERS, ConvStep, Plan, Slot, Step, View};
use crate::net::{ConvSpec, NetSpec};

/// The algorithm that computes a step.
fn algorithm(step: &ConvStep, convs: &[ConvSpec], isa: Isa) -> Algorithm {
    Algorithm::choose(&convs[step.weight], Geometry::of(step), isa)
}

/// Steps that are computed together: a single step, or those of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pass<'p> {
    Conv(&'p ConvStep),
    Pool { kernel: usize, stride: usize, src: View, dst: View },
    L2Pool { src: View, dst: View },
    Tap { layer: usize, src: View },
    Stage { first: Option<&'p ConvStep>, conv: &'p ConvStep, layer: usize, pooled: View },
}

impl<'p> Pass<'p> {
    /// The first pass of some steps, and the steps after it.
    fn first(steps: &'p [Step], convs: &[ConvSpec], isa: Isa) -> Option<(Pass<'p>, &'p [Step])> {
        let (step, rest) = steps.split_first()?;
        let pass = match step {
            Step::Conv(conv) => {
                let reads_image = conv.src.slot == Slot::Input;
                let is_first = reads_image && algorithm(conv, convs, isa) == Algorithm::Direct;
                let stage = is_first.then(|| Pass::stage(Some(conv), rest, convs, isa)).flatten();
                let stage = stage.or_else(|| Pass::stage(None, steps, convs, isa));
                return Some(stage.unwrap_or((Pass::Conv(conv), rest)));
            }
            &Step::MaxPool { kernel, stride, src, dst } => Pass::Pool { kernel, stride, src, dst },
            &Step::L2Pool { src, dst } => Pass::L2Pool { src, dst },
            &Step::Tap { layer, src } => Pass::Tap { layer, src },
        };
        Some((pass, rest))
    }

    /// A stage, if `first` and the steps form one and threads need not share its convolution's
    /// weights.
    fn stage(
        first: Option<&'p ConvStep>,
        steps: &'p [Step],
        convs: &[ConvSpec],
        isa: Isa,
    ) -> Option<(Pass<'p>, &'p [Step])> {
        let [Step::Conv(conv), Step::Tap { layer, .. }, pool, rest @ ..] = steps else {
            return None;
        };
        let Step::MaxPool { kernel: POOL, stride: POOL, dst: pooled, .. } = *pool else {
            return None;
        };
        match algorithm(conv, convs, isa) {
            Algorithm::Winograd(scheme) if !Winograd::is_shared(&convs[conv.weight], scheme) => {
                Some((Pass::Stage { first, conv, layer: *layer, pooled }, rest))
            }
            _ => None,
        }
    }

    /// The passes of a plan.
    pub(super) fn all(plan: &'p Plan, spec: &NetSpec, isa: Isa) -> Vec<Pass<'p>> {
        let (mut steps, convs) = (plan.steps.as_slice(), spec.convs());
        let next = || {
            let (pass, rest) = Pass::first(steps, &convs, isa)?;
            steps = rest;
            Some(pass)
        };
        std::iter::from_fn(next).collect()
    }

    /// The buffer in which the pass leaves a map, and its shape.
    fn output(&self) -> Option<(Slot, Layout)> {
        match *self {
            Pass::Conv(&ConvStep { dst, .. })
            | Pass::Pool { dst, .. }
            | Pass::L2Pool { dst, .. } => Some((dst.slot, Layout::of(dst))),
            Pass::Stage { conv, pooled, .. } => Some((conv.dst.slot, Layout::of(pooled))),
            Pass::Tap { .. } => None,
        }
    }
}

/// Bytes of the weights that are packed for the steps of a plan.
pub(super) fn packed_weight_bytes(plan: &Plan, spec: &NetSpec, isa: Isa) -> usize {
    let convs = spec.convs();
    let len = |step: &Step| match step {
        Step::Conv(step) => {
            let spec = &convs[step.weight];
            algorithm(step, &convs, isa).weight_len(spec, Geometry::of(step).stride)
        }
        _ => 0,
    };
    size_of::<f32>() * plan.steps.iter().map(len).sum::<usize>()
}

/// Bytes of the activations of one image, with those that threads compute in passing.
pub(super) fn image_bytes(plan: &Plan, spec: &NetSpec, isa: Isa, threads: usize) -> usize {
    let (passes, convs) = (Pass::all(plan, spec, isa), spec.convs());
    let folded = passes.iter().filter_map(|pass| match pass {
        Pass::Conv(step) if matches!(algorithm(step, &convs, isa), Algorithm::Folded(_)) => {
            Some(fold::layout(Geometry::of(step)).image_len())
        }
        _ => None,
    });
    let bands = passes.iter().filter_map(|pass| match pass {
        Pass::Stage { conv, .. } => Some(threads * band_bytes(Layout::of(conv.dst))),
        _ => None,
    });
    let (folded, bands) = (folded.max().unwrap_or(0), bands.max().unwrap_or(0));
    let input = Layout { c: plan.input.c, h: plan.input.h, w: plan.input.w };
    let largest = |buffer: usize| {
        let outputs = passes.iter().filter_map(Pass::output);
        let of_buffer = outputs.filter(|&(slot, _)| slot == Slot::Buffer(buffer));
        of_buffer.map(|(_, layout)| layout.image_len()).max().unwrap_or(0)
    };
    let buffers = (0..BUFFERS).map(largest).sum::<usize>();
    size_of::<f32>() * (input.image_len() + buffers + folded) + bands
}
