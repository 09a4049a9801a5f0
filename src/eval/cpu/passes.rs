//! A plan as the CPU computes it: passes over maps. Steps that are computed together are one pass,
//! and a pass can compute some rows of its map at a time.

use super::conv::Algorithm;
use super::fold;
use super::stage::{self, POOL};
use super::statistics::BLOCK_ROWS;
use super::tensor::{Geometry, Layout};
use super::winograd::{Cut, Scheme, Winograd};
use crate::isa::Isa;
use crate::net::plan::{BUFFERS, ConvStep, Plan, Slot, Step, View};
use crate::net::{ConvSpec, NetSpec};

/// A convolution with its algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConvPass {
    /// Index into [`NetSpec::convs`].
    pub(super) weight: usize,
    pub(super) algorithm: Algorithm,
    pub(super) geometry: Geometry,
}

impl ConvPass {
    /// The tiles of a convolution that is computed by minimal filtering.
    pub(super) fn scheme(&self) -> Scheme {
        let scheme = self.algorithm.scheme();
        scheme.unwrap_or_else(|| unreachable!("minimal filtering where it was not chosen"))
    }
}

/// What a pass computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// The trunk's input from samples.
    Normalise,
    /// Blocks of pixels become channels.
    Fold(Geometry),
    Conv(ConvPass),
    Pool {
        kernel: usize,
        stride: usize,
    },
    L2Pool,
    Tap {
        layer: usize,
    },
    /// See [`super::stage`].
    Stage {
        first: Option<ConvPass>,
        conv: ConvPass,
        layer: usize,
        /// Columns of tiles of a block.
        tiles: usize,
    },
}

/// One operation on whole maps, of which some rows can be computed at a time.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) op: Op,
    /// The map that it reads.
    pub(super) src: usize,
    /// The map that it writes; of a tap, the one that it reads.
    pub(super) dst: usize,
    /// Rows that it computes in all.
    pub(super) height: usize,
    /// Rows that it computes for each row that it writes.
    pub(super) rows_per_dst: usize,
    /// The source rows of row y begin with `y * stride - pad`, and are `kernel` rows.
    stride: usize,
    pad: usize,
    kernel: usize,
    ends: Ends,
}

/// The rows before which a band may end, apart from the height.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// Multiples of this number.
    Multiples(usize),
    /// Where a tile ends.
    Tiles(Cut),
}

impl Pass {
    /// Whether the rows of a band are computed as soon as there are any. Other passes wait for a
    /// band of some size, since they read weights for each.
    pub(super) fn takes_any(&self) -> bool {
        matches!(self.op, Op::Fold(_) | Op::Pool { .. } | Op::L2Pool | Op::Tap { .. })
    }

    pub(super) fn is_tap(&self) -> bool {
        matches!(self.op, Op::Tap { .. })
    }

    /// Rows of a band that reads or writes about `bytes`, such that threads share what they read of
    /// the weights.
    pub(super) fn band_rows(&self, src: Layout, dst: Layout, bytes: usize) -> usize {
        let of_src = match self.op {
            Op::Conv(_) => src.row_len() * self.stride,
            _ => 0,
        };
        let row_bytes = size_of::<f32>() * dst.row_len().max(of_src);
        let rows = (bytes / row_bytes).max(1) * self.rows_per_dst;
        match self.op {
            Op::Conv(ConvPass { algorithm, geometry, .. }) => match algorithm.scheme() {
                Some(scheme) => rows.next_multiple_of(Winograd::group_rows(scheme, geometry.to)),
                None => rows,
            },
            Op::Stage { .. } => rows.max(stage::SHARED_ROWS),
            _ => rows,
        }
    }

    /// The end of the band of about `rows` rows that begins at row `start`.
    pub(super) fn band_end(&self, start: usize, rows: usize) -> usize {
        let wanted = start.saturating_add(rows);
        if wanted.saturating_add(rows / 2) >= self.height {
            return self.height;
        }
        let end = match self.ends {
            Ends::Multiples(of) => wanted.next_multiple_of(of),
            Ends::Tiles(cut) => cut.start(cut.from(wanted)),
        };
        end.min(self.height)
    }

    /// The end of the rows that can be computed from the first `available` rows of a source.
    pub(super) fn reach(&self, available: usize, source: Layout) -> usize {
        let Pass { height, stride, pad, kernel, .. } = *self;
        if available >= source.h {
            return height;
        }
        let rows = match (available + pad).checked_sub(kernel) {
            Some(last) => last / stride + 1,
            None => 0,
        };
        let end = match self.ends {
            Ends::Multiples(of) => rows / of * of,
            Ends::Tiles(cut) => cut.start(cut.before(rows)),
        };
        end.min(height)
    }

    /// The first source row that rows from `start` on need.
    pub(super) fn first_needed(&self, start: usize, source: Layout) -> isize {
        match start < self.height {
            true => (start * self.stride) as isize - self.pad as isize,
            false => source.with_border(source.h),
        }
    }
}

/// The passes of a plan, and the maps that they write.
#[derive(Debug)]
pub(super) struct Passes {
    pub(super) all: Vec<Pass>,
    pub(super) maps: Vec<Layout>,
}

impl Passes {
    /// Stages have blocks of `stage_tiles` columns of tiles; with 0 there are none.
    pub(super) fn new(plan: &Plan, spec: &NetSpec, isa: Isa, stage_tiles: usize) -> Passes {
        let input = Layout { c: plan.input.c, h: plan.input.h, w: plan.input.w };
        let mut builder = Builder {
            convs: spec.convs(),
            isa,
            stage_tiles,
            passes: Passes { all: Vec::new(), maps: Vec::new() },
            buffers: [0; BUFFERS],
        };
        builder.maps().push(input);
        builder.add(Op::Normalise, 0, 0, [1, 1, 0], Ends::Multiples(1));
        let mut steps = plan.steps.as_slice();
        while !steps.is_empty() {
            steps = builder.push(steps);
        }
        builder.passes
    }
}

struct Builder {
    convs: Vec<ConvSpec>,
    isa: Isa,
    stage_tiles: usize,
    passes: Passes,
    /// The map that each buffer of the plan holds.
    buffers: [usize; BUFFERS],
}

impl Builder {
    fn maps(&mut self) -> &mut Vec<Layout> {
        &mut self.passes.maps
    }

    /// Adds the passes of the first steps, and returns the other steps.
    fn push<'s>(&mut self, steps: &'s [Step]) -> &'s [Step] {
        let Some((step, rest)) = steps.split_first() else { return &[] };
        match *step {
            Step::Conv(ref conv) => {
                if let Some(rest) = self.stage(steps) {
                    return rest;
                }
                self.conv(conv);
            }
            Step::MaxPool { kernel, stride, src, dst } => {
                let (src, dst) = (self.source(src), self.target(dst));
                self.add(Op::Pool { kernel, stride }, src, dst, [kernel, stride, 0], ANY);
            }
            Step::L2Pool { src, dst } => {
                let (src, dst) = (self.source(src), self.target(dst));
                self.add(Op::L2Pool, src, dst, [3, 2, 1], ANY);
            }
            Step::Tap { layer, src } => {
                let src = self.source(src);
                self.add(Op::Tap { layer }, src, src, [1, 1, 0], Ends::Multiples(BLOCK_ROWS));
            }
        }
        rest
    }

    fn conv_pass(&self, step: &ConvStep) -> ConvPass {
        let geometry = Geometry::of(step);
        let algorithm = Algorithm::choose(&self.convs[step.weight], geometry, self.isa);
        ConvPass { weight: step.weight, algorithm, geometry }
    }

    fn conv(&mut self, step: &ConvStep) {
        let ConvPass { weight, algorithm, mut geometry } = self.conv_pass(step);
        let mut src = self.source(step.src);
        if let Algorithm::Folded { .. } = algorithm {
            let Geometry { stride, pad, .. } = geometry;
            let folded = fold::layout(geometry);
            self.maps().push(folded);
            let dst = self.passes.maps.len() - 1;
            self.add(Op::Fold(geometry), src, dst, [stride, stride, pad], ANY);
            geometry = Geometry { from: folded, stride: 1, pad: 0, ..geometry };
            src = dst;
        }
        let dst = self.target(step.dst);
        let kernel = step.kernel.div_ceil(step.stride / geometry.stride);
        let ends = match algorithm.scheme() {
            Some(scheme) => Ends::Tiles(scheme.cut(geometry.to.h)),
            None => ANY,
        };
        let op = Op::Conv(ConvPass { weight, algorithm, geometry });
        self.add(op, src, dst, [kernel, geometry.stride, geometry.pad], ends);
    }

    /// Adds the stage that the steps begin with, if they do.
    fn stage<'s>(&mut self, steps: &'s [Step]) -> Option<&'s [Step]> {
        let Step::Conv(step) = steps.first()? else { return None };
        let first = self.conv_pass(step);
        let is_first = step.src.slot == Slot::Input && first.algorithm == Algorithm::Direct;
        let (first, after) = if is_first { (Some(first), &steps[1..]) } else { (None, steps) };
        let [Step::Conv(conv), Step::Tap { layer, .. }, pool, rest @ ..] = after else {
            return None;
        };
        let Step::MaxPool { kernel: POOL, stride: POOL, dst: pooled, .. } = *pool else {
            return None;
        };
        let conv = self.conv_pass(conv);
        let Algorithm::Winograd(scheme) = conv.algorithm else { return None };
        let map = conv.geometry.to;
        if Winograd::is_shared(&self.convs[conv.weight], scheme)
            || !self.is_narrow(first, scheme, map)
        {
            return None;
        }
        let reach = first.map_or(0, |first| first.geometry.pad) + conv.geometry.pad;
        let (src, dst) = (self.source(step.src), self.target(pooled));
        let op = Op::Stage { first, conv, layer: *layer, tiles: self.stage_tiles };
        let ends = Ends::Tiles(scheme.cut(map.h));
        self.add(op, src, dst, [2 * reach + 1, 1, reach], ends);
        if let Some(pass) = self.passes.all.last_mut() {
            (pass.height, pass.rows_per_dst) = (map.h, POOL);
        }
        Some(rest)
    }

    /// Whether a stage is better than its passes. Its source must have the rows of many bands at
    /// once, so that all threads have some; only the image is small enough for any width.
    fn is_narrow(&self, first: Option<ConvPass>, scheme: Scheme, map: Layout) -> bool {
        let is_one_block = scheme.cut(map.w).count() <= self.stage_tiles;
        is_one_block || first.is_some() && self.stage_tiles > 0
    }

    fn add(&mut self, op: Op, src: usize, dst: usize, window: [usize; 3], ends: Ends) {
        let [kernel, stride, pad] = window;
        let height = self.passes.maps[dst].h;
        let pass = Pass { op, src, dst, height, rows_per_dst: 1, stride, pad, kernel, ends };
        self.passes.all.push(pass);
    }

    fn source(&self, view: View) -> usize {
        match view.slot {
            Slot::Input => 0,
            Slot::Buffer(index) => self.buffers[index],
        }
    }

    /// A new map in the buffer of the view, unless the view is a later part of the map there.
    fn target(&mut self, view: View) -> usize {
        let Slot::Buffer(index) = view.slot else { unreachable!("a plan that writes its input") };
        if view.c_first == 0 {
            self.maps().push(Layout::of(view));
            self.buffers[index] = self.passes.maps.len() - 1;
        }
        self.buffers[index]
    }
}

/// A band may end before any row.
const ANY: Ends = Ends::Multiples(1);

/// Bytes of the weights that are packed for some passes.
pub(super) fn packed_weight_bytes(passes: &[Pass], spec: &NetSpec) -> usize {
    let convs = spec.convs();
    let of_pass = |pass: &Pass| match pass.op {
        Op::Conv(conv) => [None, Some(conv)],
        Op::Stage { first, conv, .. } => [first, Some(conv)],
        _ => [None; 2],
    };
    let all = passes.iter().flat_map(of_pass).flatten();
    let len = |conv: ConvPass| conv.algorithm.weight_len(&convs[conv.weight]);
    size_of::<f32>() * all.map(len).sum::<usize>()
}
