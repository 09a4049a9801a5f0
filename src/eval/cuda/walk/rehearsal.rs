//! Finds convolutions that cannot be used as the library offers them, before any pair is scored:
//! those that treat images by their place in the micro-batch, and those that lose NaN.
//!
//! A pair must get the same bits whatever else is in the batch. A library may promise to be
//! deterministic and still cut the sums of one tile, and not those of another, to employ all
//! processors: of equal images in one batch some then get other bits. So a micro-batch of one
//! image, repeated, goes through the trunk once for every size of images; where a convolution's
//! outputs differ, it turns to another algorithm, and is tried again.
//!
//! In half precision an overflow must reach a tap, as an infinity or as NaN. Our own kernels keep
//! both. A library may promise to keep NaN and lose it in the ReLU of some algorithm, so a
//! convolution whose biases are NaN must give NaN.
#![expect(unsafe_code, reason = "copies within the device")]

use half::f16;

use super::section::PreparedSection;
use super::{Prepared, Resources};
use crate::eval::Precision;
use crate::eval::cuda::conv::{Conv, FilterPtr, to_bytes};
use crate::eval::cuda::driver::{Fault, FaultKind};
use crate::eval::cuda::kernels::Window;
use crate::eval::cuda::parameters::{Parameters, resident};
use crate::net::plan::{ConvStep, Slot, Step, View};

impl Prepared {
    /// Rehearses with these buffers, and waits.
    ///
    /// # Errors
    /// [`FaultKind::Unsupported`] when a convolution has no algorithm that treats all images alike.
    pub(in crate::eval::cuda) fn rehearse(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        self.sections.iter().try_for_each(|section| section.rehearse(parameters, resources))
    }
}

impl PreparedSection {
    /// Rehearses one band, which may be any.
    fn rehearse(&self, parameters: &Parameters, resources: Resources<'_>) -> Result<(), Fault> {
        if self.images < 2 {
            return Ok(());
        }
        self.repeat_an_image(parameters, resources)?;
        let mut convs = self.convs.iter();
        for step in &self.section.plan.steps {
            match *step {
                Step::Conv(ConvStep { weight, src, dst, .. }) => {
                    let conv = &**convs.next().expect("a convolution for each of the plan's");
                    let place = parameters.conv_name(weight);
                    let flaw = || self.flaw(conv, parameters, weight, resources, (src, dst));
                    while let Some(reason) = flaw().map_err(|fault| fault.at(&place))? {
                        if !conv.switch_to_next()? {
                            return Err(Fault::new(place, reason, FaultKind::Unsupported));
                        }
                    }
                }
                Step::MaxPool { kernel, stride, src, dst } => {
                    let window = Window { kernel, stride, pad: 0 };
                    self.max_pool(parameters.format, resources, (src, dst), window)?;
                }
                Step::L2Pool { src, dst } => {
                    self.l2_pool(parameters.format, resources, (src, dst))?;
                }
                Step::Tap { .. } => {}
            }
        }
        Ok(())
    }

    /// Fills the section's input with one image of noise, in the range of normalised pixels.
    fn repeat_an_image(
        &self,
        parameters: &Parameters,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        let Resources { stream, activations, .. } = resources;
        let input = View::whole(Slot::Input, self.section.plan.input);
        let count = parameters.channels(input) * input.shape.h * input.shape.w;
        let mut state = 1u32;
        let noise: Vec<f32> = (0..count)
            .map(|_| {
                // Numerical Recipes' linear congruential generator.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as f32 / 16384.0 - 2.0
            })
            .collect();
        let image = to_bytes(&noise, parameters.format.element());
        let input = self.address(activations, input);
        // SAFETY: the buffer holds all images of a micro-batch; the source outlives the copy, which
        // is waited for.
        unsafe { stream.upload(input, &image) }.and(stream.synchronize())?;
        let mut done = 1;
        while done < self.images {
            let count = done.min(self.images - done);
            let bytes = count * image.len();
            // SAFETY: as above; what is read was written before on this stream.
            unsafe {
                let target = input.offset(done * image.len());
                stream.copy_rows((target, bytes), (input, bytes), bytes, 1)?;
            }
            done += count;
        }
        Ok(())
    }

    /// Why a convolution cannot be used as it is now. If it can, its outputs are there.
    fn flaw(
        &self,
        conv: &dyn Conv,
        parameters: &Parameters,
        weight: usize,
        resources: Resources<'_>,
        views: (View, View),
    ) -> Result<Option<&'static str>, Fault> {
        let is_half = parameters.precision == Precision::Fp16;
        if is_half && !self.keeps_nan(conv, parameters, weight, resources, views)? {
            return Ok(Some("its ReLU loses NaN, and so an overflow would pass unnoticed"));
        }
        let is_alike = self.treats_alike(conv, parameters, weight, resources, views)?;
        Ok((!is_alike).then_some("equal images of a batch get different bits"))
    }

    /// Whether NaN before the ReLU is NaN behind it. Sums of infinities of both signs are NaN: a
    /// feature that overflows in half precision leads to them in the next convolution, and to
    /// plausible numbers if they are lost. The NaN comes from the biases here.
    fn keeps_nan(
        &self,
        conv: &dyn Conv,
        parameters: &Parameters,
        weight: usize,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<bool, Fault> {
        let Resources { stream, activations, .. } = resources;
        // NaN in single and in half precision, whichever the engine reads.
        let biases = resident(&vec![u8::MAX; size_of::<f32>() * dst.shape.c], stream)?;
        let filter = FilterPtr { bias: biases.ptr(), ..parameters.convs[weight].ptr() };
        let element = size_of::<f16>();
        let position_bytes = element * dst.c_slot;
        let last = self.images * dst.shape.h * dst.shape.w - 1;
        let mut found = vec![0u16; 2 * dst.shape.c];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut found);
        let (first_bytes, last_bytes) = bytes.split_at_mut(element * dst.shape.c);
        let target = self.address(activations, dst).offset(element * dst.c_first);
        let ran = self.convolve(conv, filter, resources, (src, dst));
        // SAFETY: the buffer holds all images of a micro-batch; the copies are waited for, even if
        // queueing failed.
        let queued = ran.and_then(|()| unsafe {
            stream.download(first_bytes, target)?;
            stream.download(last_bytes, target.offset(last * position_bytes))
        });
        queued.and(stream.synchronize())?;
        Ok(found.into_iter().all(|bits| f16::from_bits(bits).is_nan()))
    }

    /// Whether a convolution of equal images gives equal outputs, bit by bit.
    fn treats_alike(
        &self,
        conv: &dyn Conv,
        parameters: &Parameters,
        weight: usize,
        resources: Resources<'_>,
        (src, dst): (View, View),
    ) -> Result<bool, Fault> {
        let Resources { stream, kernels, activations } = resources;
        let image_bytes =
            parameters.format.element().bytes() * dst.c_slot * dst.shape.h * dst.shape.w;
        let target = self.address(activations, dst);
        if dst.c_first == 0 && dst.shape.c != dst.c_slot {
            // Later steps fill the other parts of the buffer; until then they must not differ.
            // SAFETY: the buffer holds all images of a micro-batch.
            unsafe { stream.zero(target, self.images * image_bytes)? };
        }
        let filter = parameters.convs[weight].ptr();
        self.convolve(conv, filter, resources, (src, dst))?;
        // The buffer for the sums of taps is not in use yet.
        let flag = activations.partial.ptr();
        let words = image_bytes / size_of::<u32>();
        let mut found = [0; size_of::<u32>()];
        // SAFETY: the buffer holds at least one number of 64 bits, and is kept until the device was
        // synchronised; the copy is waited for, even if queueing failed.
        let queued = unsafe {
            stream
                .zero(flag, found.len())
                .and_then(|()| kernels.differ(stream, flag, target, self.images, words))
                .and_then(|()| stream.download(&mut found, flag))
        };
        queued.and(stream.synchronize())?;
        Ok(u32::from_ne_bytes(found) == 0)
    }
}
