//! The taps of a section, with the poolings that are computed together with them.
//!
//! A tap and the max-pooling behind it read the same features, so one kernel computes both and
//! reads them once. In bands they are computed apart: a tap counts some rows of a band, and a
//! pooling all.

use crate::eval::cuda::bands::{Rows, Section};
use crate::eval::cuda::driver::Fault;
use crate::eval::cuda::kernels::{Kernels, Pooling, Window, pools_with_tap};
use crate::eval::cuda::parameters::{Parameters, Taps};
use crate::net::plan::{Shape, Step, View};

/// A tap of a section.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapStep {
    pub(super) layer: usize,
    pub(super) src: View,
    /// The pooling that is computed with it, and what that writes: the next step.
    pub(super) pooling: Option<(Pooling, View)>,
}

impl TapStep {
    /// The taps of a section, in the order of its plan.
    pub(super) fn all(parameters: &Parameters, section: &Section) -> Vec<TapStep> {
        let steps = &section.plan.steps;
        let next = steps.iter().skip(1).map(Some).chain([None]);
        let taps = steps.iter().zip(next).filter_map(|(step, next)| match *step {
            Step::Tap { layer, src } => {
                let next = next.filter(|_| section.is_whole());
                let pooling = next.and_then(|next| pooling(parameters, src, next));
                Some(TapStep { layer, src, pooling })
            }
            _ => None,
        });
        taps.collect()
    }

    /// Partial sums of one pair, of some rows.
    pub(super) fn tiles(
        &self,
        parameters: &Parameters,
        kernels: &Kernels,
        rows: Rows,
    ) -> Result<usize, Fault> {
        let Shape { c, w, .. } = self.src.shape;
        let positions = rows.count * w;
        match (&parameters.taps, self.pooling) {
            (Taps::Channels(_), _) => kernels.moments_tiles(parameters.format, positions),
            (Taps::Features { .. }, None) => kernels.tap_tiles(parameters.format, c, positions),
            (Taps::Features { .. }, Some((pooling, _))) => {
                kernels.tap_pool_tiles(parameters.format, c, pooling)
            }
        }
    }
}

/// The pooling of the features `tapped`, if `step` is one that is computed with their tap.
fn pooling(parameters: &Parameters, tapped: View, step: &Step) -> Option<(Pooling, View)> {
    let Step::MaxPool { kernel, stride, src, dst } = *step else { return None };
    let (from, to) = (src.shape, dst.shape);
    let is_joined = matches!(parameters.taps, Taps::Features { .. })
        && src == tapped
        && pools_with_tap(parameters.format, from.c, Window { kernel, stride, pad: 0 });
    is_joined.then_some((Pooling { kernel, from: (from.h, from.w), to: (to.h, to.w) }, dst))
}
