//! The convolutions and poolings of one section, on all images of a micro-batch.
#![expect(unsafe_code, reason = "copies within the device")]

use std::rc::Rc;

use super::tap_step::TapStep;
use super::{MicroBatch, Resources};
use crate::eval::cuda::bands::{Band, Section};
use crate::eval::cuda::conv::{Call, Conv, Engine, FilterPtr, SharedConv, SharedConvs};
use crate::eval::cuda::driver::{DevicePtr, Fault};
use crate::eval::cuda::kernels::{Extents, Format, Window};
use crate::eval::cuda::memory::{Activations, Needs};
use crate::eval::cuda::parameters::Parameters;
use crate::net::INPUT_CHANNELS;
use crate::net::plan::{ConvStep, Shape, Slot, Step, View};

/// A section with its convolutions and its taps.
pub(super) struct PreparedSection {
    pub(super) section: Section,
    /// In the order of the plan's convolutions.
    pub(super) convs: Vec<Rc<SharedConv>>,
    pub(super) taps: Vec<TapStep>,
    /// Images of a micro-batch.
    pub(super) images: usize,
}

impl PreparedSection {
    /// Prepares a convolution for each of the plan's.
    pub(super) fn new(
        parameters: &Parameters,
        (engine, shared): (&dyn Engine, &mut SharedConvs),
        section: Section,
        images: usize,
    ) -> Result<PreparedSection, Fault> {
        let mut convs = Vec::new();
        for step in &section.plan.steps {
            if let Step::Conv(ConvStep { kernel, stride, pad, src, dst, .. }) = *step {
                let window = Window { kernel, stride, pad };
                let geometry = parameters.geometry(images, src, dst, window);
                convs.push(shared.get(engine, geometry, parameters.precision)?);
            }
        }
        let taps = TapStep::all(parameters, &section);
        Ok(PreparedSection { section, convs, taps, images })
    }

    /// Memory for a band.
    pub(super) fn needs(&self, parameters: &Parameters) -> Needs {
        let element = self.images * parameters.format.element().bytes();
        let convs = self.convs.iter().map(|shared| shared.conv.workspace_bytes());
        let convs = convs.max().unwrap_or(0);
        Needs {
            input: element * self.section.input_len(parameters.input_channels),
            buffers: self.section.plan.buffer_len.map(|len| element * len),
            workspace: convs.max(self.band_pixel_bytes(size_of::<f32>())),
            ..Needs::default()
        }
    }

    /// Bytes of a band's pixels of all images, with samples of this size; of a whole image none,
    /// because it is read where it is.
    fn band_pixel_bytes(&self, sample_bytes: usize) -> usize {
        let Shape { c, h, w } = self.section.plan.input;
        let is_copied = self.section.reads_image && !self.section.is_whole();
        if is_copied { self.images * c * h * w * sample_bytes } else { 0 }
    }

    /// Queues the band's input from the samples of all images.
    pub(super) fn normalise(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
        micro: MicroBatch,
        band: &Band,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let Shape { h, w, .. } = self.section.plan.input;
        let mut pixels = micro.pixels;
        if !self.section.is_whole() {
            // The kernel reads images that follow each other. No convolution is running, so the
            // workspace is free.
            pixels = activations.workspace.ptr();
            let row_bytes = INPUT_CHANNELS * w * micro.depth.bytes();
            for image in 0..self.images {
                let first = image * self.section.whole.input.h + band.first;
                let (target, source) =
                    (pixels.offset(image * h * row_bytes), micro.pixels.offset(first * row_bytes));
                let bytes = h * row_bytes;
                // SAFETY: the workspace has room for a band of all images, and the slot holds
                // whole images.
                unsafe { stream.copy_rows((target, bytes), (source, bytes), bytes, 1)? };
            }
        }
        let input = Extents { images: self.images, c: parameters.input_channels, h, w };
        let formats = (micro.depth, parameters.format);
        let target = activations.input.ptr();
        kernels.normalise(stream, formats, target, pixels, input, parameters.scaling)
    }

    /// The buffer that a view is in. A whole kept map is read where it is.
    pub(super) fn address(&self, activations: &Activations, view: View) -> DevicePtr {
        match view.slot {
            Slot::Input if !self.section.reads_image && self.section.is_whole() => {
                activations.kept.ptr()
            }
            Slot::Input => activations.input.ptr(),
            Slot::Buffer(index) => activations.buffers[index].ptr(),
        }
    }

    /// Queues a convolution.
    pub(super) fn convolve(
        &self,
        conv: &dyn Conv,
        filter: FilterPtr,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        conv.run(Call {
            stream,
            kernels,
            filter,
            src: self.address(activations, src),
            dst: self.address(activations, dst),
            workspace: activations.workspace.ptr(),
        })
    }

    /// Queues max-pooling.
    pub(super) fn max_pool(
        &self,
        format: Format,
        resources: Resources<'_>,
        (src, dst): (View, View),
        window: Window,
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let out = (dst.shape.h, dst.shape.w);
        let (target, source) = (self.address(activations, dst), self.address(activations, src));
        kernels.max_pool(stream, format, target, source, self.extents(src.shape), out, window)
    }

    /// Queues L2 pooling.
    pub(super) fn l2_pool(
        &self,
        format: Format,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<(), Fault> {
        let Resources { stream, kernels, activations } = resources;
        let (target, source) = (self.address(activations, dst), self.address(activations, src));
        kernels.l2_pool(stream, format, target, source, self.extents(src.shape))
    }

    fn extents(&self, Shape { c, h, w }: Shape) -> Extents {
        Extents { images: self.images, c, h, w }
    }

    /// Queues the copy of a band's rows of the kept map to the section's input.
    pub(super) fn read_kept(
        &self,
        format: Format,
        resources: Resources<'_>,
        band: &Band,
    ) -> Result<(), Fault> {
        if self.section.is_whole() {
            return Ok(());
        }
        let (from, to) = (self.section.whole.input, self.section.plan.input);
        let kept = (resources.activations.kept.ptr(), from, band.first);
        let input = (resources.activations.input.ptr(), to, 0);
        self.copy_map_rows(format, resources, input, kept, to.h)
    }

    /// Queues the copy of a band's last map to the kept map, which is this section's output.
    pub(super) fn write_kept(
        &self,
        format: Format,
        resources: Resources<'_>,
        band: &Band,
    ) -> Result<(), Fault> {
        let Some(last) = self.section.plan.steps.last() else { return Ok(()) };
        let (dst, rows) = (last.dst(), band.kept);
        let kept = (resources.activations.kept.ptr(), self.section.output(), rows.whole_first);
        let source = (self.address(resources.activations, dst), dst.shape, rows.first);
        self.copy_map_rows(format, resources, kept, source, rows.count)
    }

    /// Queues the copy of `count` rows between two maps of all images, each with its shape and the
    /// first of the rows.
    fn copy_map_rows(
        &self,
        format: Format,
        Resources { stream, .. }: Resources<'_>,
        (target, to, to_first): (DevicePtr, Shape, usize),
        (source, from, from_first): (DevicePtr, Shape, usize),
        count: usize,
    ) -> Result<(), Fault> {
        // Bytes of a row that lies in one piece, and the number of such pieces of a whole row.
        let (row_bytes, pieces) = match format {
            Format::NchwF32 => (format.element().bytes() * to.w, to.c),
            Format::NhwcF32 | Format::NhwcF16 => (format.element().bytes() * to.w * to.c, 1),
        };
        if count == 0 {
            return Ok(());
        }
        for image in 0..self.images {
            let at = |map: DevicePtr, shape: Shape, first: usize| {
                map.offset((image * pieces * shape.h + first) * row_bytes)
            };
            let target = (at(target, to, to_first), to.h * row_bytes);
            let source = (at(source, from, from_first), from.h * row_bytes);
            // SAFETY: both maps hold all images of a micro-batch with these shapes.
            unsafe { stream.copy_rows(target, source, count * row_bytes, pieces)? };
        }
        Ok(())
    }
}
