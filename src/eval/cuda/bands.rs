//! Which rows of an image go through a trunk at once.
//!
//! The maps of a large image exceed the memory of a GPU. Such an image is walked in bands: a band
//! of rows goes through the trunk like an image of its own. Near the edges at which it was cut, its
//! maps differ from those of the image, because the convolutions read zeros there. Only the other
//! rows are used, so neighbouring bands overlap, and the rows of the overlap are computed twice. To
//! keep the overlap small, a trunk may be divided after one pooling into two sections: the last map
//! of the first section is kept whole, and the second section reads it in bands of its own.
//!
//! Everything here is pure. It follows from the net, the size of the images and the format of
//! activations, never from the memory of a GPU. All bands of a section have the same height, so
//! there is one plan, and each convolution has one geometry.

use std::ops::Range;

use crate::image::Size;
use crate::net::plan::{BUFFERS, ConvStep, Plan, Shape, Slot, Step, TooSmall, View};
use crate::net::{Layer, NetSpec};

/// How much memory an activation takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    /// Bytes of an element in all images of a micro-batch.
    pub(super) element: usize,
    /// Channels of the trunk's input in memory, padding included.
    pub(super) input_channels: usize,
    /// Bytes that activations should take at most.
    pub(super) limit: usize,
}

/// Rows of a map of a band that are used, and their place in the map of the whole image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    pub(super) first: usize,
    pub(super) whole_first: usize,
    pub(super) count: usize,
}

/// Some rows of a section's input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Band {
    /// The first of the rows. There are as many as the plan's input has.
    pub(super) first: usize,
    /// The rows of each tap that are used, in the order of the plan's taps.
    pub(super) taps: Vec<Rows>,
    /// The rows of the last map that are kept for the next section.
    pub(super) kept: Rows,
}

/// Consecutive layers of a trunk.
#[derive(Debug)]
pub(super) struct Section {
    /// Whether its input is the image, and no kept map.
    pub(super) reads_image: bool,
    /// The plan of a band.
    pub(super) plan: Plan,
    pub(super) bands: Vec<Band>,
    /// The plan of the whole image.
    pub(super) whole: Plan,
}

/// How a trunk is walked for images of one size: one section, or two with a kept map between them.
#[derive(Debug)]
pub(super) struct Bands {
    pub(super) sections: Vec<Section>,
}

impl Bands {
    /// For images of `size`: in one band, if its activations keep to the limit. Otherwise with the
    /// least work among all ways that keep to it, or with the least memory if none does.
    ///
    /// # Errors
    /// When the images are too small.
    pub(super) fn new(spec: &NetSpec, size: Size, footprint: Footprint) -> Result<Bands, TooSmall> {
        let plan = Plan::new(spec, size.height, size.width)?;
        let image = plan.input;
        let one_band = Bands { sections: vec![Section::in_one_band(plan, true)] };
        let Footprint { limit, .. } = footprint;
        if one_band.bytes(footprint) <= limit {
            return Ok(one_band);
        }
        let end = spec.layers.len();
        let one_section = || {
            let section = Section::new(spec, 0..end, image, footprint)?;
            Some(Bands { sections: vec![section] })
        };
        let two_sections = |cut: usize| {
            let kept = Plan::part(spec, 0..cut, image)?.steps.last()?.dst().shape;
            let limit = limit.saturating_sub(footprint.element * kept.len());
            let footprint = Footprint { limit, ..footprint };
            let first = Section::new(spec, 0..cut, image, footprint)?;
            let second = Section::new(spec, cut..end, kept, footprint)?;
            Some(Bands { sections: vec![first, second] })
        };
        let is_pooling = |layer: &Layer| matches!(layer, Layer::MaxPool { .. } | Layer::L2Pool);
        let cuts = (1..end).filter(|&cut| is_pooling(&spec.layers[cut - 1]));
        let ways = one_section().into_iter().chain(cuts.filter_map(two_sections));
        let best = ways.min_by_key(|way| (way.bytes(footprint).max(limit), way.flops()));
        Ok(best.unwrap_or(one_band))
    }

    /// Bytes of the activations: the kept map, and the maps of the section that needs more.
    pub(super) fn bytes(&self, footprint: Footprint) -> usize {
        let sections = self.sections.iter().map(|section| section.bytes(footprint));
        self.kept_len() * footprint.element + sections.max().unwrap_or(0)
    }

    /// Elements of the kept map of one image.
    pub(super) fn kept_len(&self) -> usize {
        let kept = &self.sections[..self.sections.len() - 1];
        kept.iter().map(|section| section.output().len()).sum()
    }

    /// Shapes of the taps of whole images, in layer order.
    pub(super) fn taps(&self) -> Vec<Shape> {
        self.sections.iter().flat_map(|section| section.whole.taps.iter().copied()).collect()
    }

    /// Multiplications and additions for one image, with the rows that are computed twice.
    pub(super) fn flops(&self) -> u64 {
        self.sections.iter().map(Section::flops).sum()
    }
}

impl Section {
    /// All rows in one band.
    fn in_one_band(plan: Plan, reads_image: bool) -> Section {
        let rows = |shape: Shape| Rows { first: 0, whole_first: 0, count: shape.h };
        let taps = plan.taps.iter().copied().map(rows).collect();
        let band = Band { first: 0, taps, kept: rows(output_of(&plan)) };
        Section { reads_image, whole: plan.clone(), plan, bands: vec![band] }
    }

    /// Bands of the height that takes the least work, among those that keep to the limit; or the
    /// least memory. `None` if the layers have no output.
    fn new(
        spec: &NetSpec,
        layers: Range<usize>,
        input: Shape,
        footprint: Footprint,
    ) -> Option<Section> {
        let reads_image = layers.start == 0;
        let whole = Plan::part(spec, layers.clone(), input)?;
        // Bands begin at multiples of the section's stride, so that strides and poolings fall on
        // the same rows as in the whole image. The last one ends with the image.
        let unit = outputs(&whole).last()?.stride;
        let heights = (1..input.h).rev().filter(|height| (input.h - height).is_multiple_of(unit));
        let section = |height: usize| {
            let plan = Plan::part(spec, layers.clone(), Shape { h: height, ..input })?;
            let bands = bands(&outputs(&plan), height, input.h, unit)?;
            Some(Section { reads_image, plan, bands, whole: whole.clone() })
        };
        let one_band = std::iter::once(Section::in_one_band(whole.clone(), reads_image));
        let ways = one_band.chain(heights.filter_map(section));
        ways.min_by_key(|way| (way.bytes(footprint).max(footprint.limit), way.flops()))
    }

    /// Whether the only band is the whole image.
    pub(super) fn is_whole(&self) -> bool {
        self.bands.len() == 1
    }

    /// The last map of the whole image.
    pub(super) fn output(&self) -> Shape {
        output_of(&self.whole)
    }

    /// Elements of the input of one image in a buffer of its own. A whole kept map needs none.
    pub(super) fn input_len(&self, input_channels: usize) -> usize {
        let Shape { c, h, w } = self.plan.input;
        match (self.reads_image, self.is_whole()) {
            (true, _) => input_channels * h * w,
            (false, true) => 0,
            (false, false) => c * h * w,
        }
    }

    fn bytes(&self, footprint: Footprint) -> usize {
        let buffers: usize = self.plan.buffer_len.iter().sum();
        footprint.element * (self.input_len(footprint.input_channels) + buffers)
    }

    fn flops(&self) -> u64 {
        self.bands.len() as u64 * self.plan.flops()
    }
}

/// The last map of a plan.
fn output_of(plan: &Plan) -> Shape {
    plan.steps.last().map_or(plan.input, |step| step.dst().shape)
}

/// A tap of a band, or its last map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Output {
    /// Rows of the section's input for each row.
    stride: usize,
    height: usize,
    /// The first row that does not depend on what is above the band.
    start: usize,
    /// The end of the rows that do not depend on what is below it.
    end: usize,
}

/// The taps of a plan, and last its last map.
fn outputs(plan: &Plan) -> Vec<Output> {
    let input = Output { stride: 1, height: plan.input.h, start: 0, end: plan.input.h };
    let mut buffers = [input; BUFFERS];
    let of = |buffers: &[Output; BUFFERS], view: View| match view.slot {
        Slot::Input => input,
        Slot::Buffer(index) => buffers[index],
    };
    let mut outputs = Vec::new();
    for step in &plan.steps {
        let (src, [kernel, stride, pad]) = match *step {
            Step::Conv(ConvStep { kernel, stride, pad, src, .. }) => (src, [kernel, stride, pad]),
            Step::MaxPool { kernel, stride, src, .. } => (src, [kernel, stride, 0]),
            Step::L2Pool { src, .. } => (src, [3, 2, 1]),
            Step::Tap { src, .. } => {
                outputs.push(of(&buffers, src));
                continue;
            }
        };
        let from = of(&buffers, src);
        // Row y reads `kernel` rows from `y * stride - pad` on.
        let mut start = (from.start + pad).div_ceil(stride);
        let mut end = (from.end + pad).checked_sub(kernel).map_or(0, |last| last / stride + 1);
        let dst = step.dst();
        let Slot::Buffer(index) = dst.slot else { continue };
        if dst.c_first > 0 {
            // Another part of the channels was written before.
            start = start.max(buffers[index].start);
            end = end.min(buffers[index].end);
        }
        let stride = from.stride * stride;
        buffers[index] = Output { stride, height: dst.shape.h, start, end };
    }
    outputs.extend(plan.steps.last().map(|step| of(&buffers, step.dst())));
    outputs
}

/// Bands of `height` rows of an input of `whole` rows, each as far below the one before as the
/// outputs allow; they begin at multiples of `unit`. `None` if the overlap is the whole band.
fn bands(outputs: &[Output], height: usize, whole: usize, unit: usize) -> Option<Vec<Band>> {
    let mut bands = Vec::new();
    // Rows of each output that some band has.
    let mut done = vec![0; outputs.len()];
    let mut first = 0;
    loop {
        let is_last = first + height == whole;
        let rows = outputs.iter().zip(&mut done).map(|(output, done)| {
            let whole_start = first / output.stride;
            let end = whole_start + if is_last { output.height } else { output.end };
            let whole_first = *done;
            *done = end.max(whole_first);
            Rows { first: whole_first - whole_start, whole_first, count: *done - whole_first }
        });
        let mut taps: Vec<Rows> = rows.collect();
        let kept = taps.pop()?;
        bands.push(Band { first, taps, kept });
        if is_last {
            return Some(bands);
        }
        // The lowest place at which every output continues where this band ends.
        let places = outputs.iter().zip(&done);
        let places = places.map(|(output, done)| done.saturating_sub(output.start) * output.stride);
        let next = (places.min()? / unit * unit).min(whole - height);
        if next <= first {
            return None;
        }
        first = next;
    }
}

#[cfg(test)]
mod tests;
