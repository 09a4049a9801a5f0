//! Finds convolutions that cannot be used as the library offers them, before any pair is scored:
//! those that treat images by their place in the micro-batch, and those that lose NaN.
//!
//! A pair must get the same bits whatever else is in the batch. A library may promise to be
//! deterministic and still cut the sums of one tile, and not those of another, to employ all
//! processors: of equal images in one batch some then get other bits. So every convolution computes
//! a micro-batch of one image of noise, repeated, before it is used. Where the outputs differ, it
//! switches to its next algorithm, and is tried again. The verdict holds for the geometry of the
//! convolution, so layers, nets and sizes of images share it.
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
use crate::eval::cuda::driver::{DeviceBuffer, Fault, FaultKind, Stream};
use crate::eval::cuda::parameters::{Parameters, resident};
use crate::eval::cuda::signature::Element;
use crate::net::plan::{ConvStep, Step, View};

/// Numbers of the noise; an image that needs more repeats them.
const NOISE_LEN: usize = 1 << 16;

/// What convolutions are rehearsed with, on a device.
pub(in crate::eval::cuda) struct TestData {
    /// Random numbers in the range of normalised pixels, of the type of activations.
    noise: DeviceBuffer,
    /// Biases for the widest convolution, NaN in single and in half precision.
    nan: DeviceBuffer,
}

impl TestData {
    /// For nets in one precision.
    pub(in crate::eval::cuda) fn new(
        nets: &[Parameters],
        stream: &Stream,
    ) -> Result<TestData, Fault> {
        let element = nets.first().map_or(Element::F32, |first| first.format.element());
        let mut state = 1u32;
        let noise: Vec<f32> = (0..NOISE_LEN)
            .map(|_| {
                // Numerical Recipes' linear congruential generator.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as f32 / 16384.0 - 2.0
            })
            .collect();
        let convs = nets.iter().flat_map(|parameters| parameters.net.convs());
        let widest = convs.map(|conv| conv.c_out).max().unwrap_or(0);
        let nan = vec![u8::MAX; size_of::<f32>() * widest];
        let noise = resident(&to_bytes(&noise, element), stream)?;
        Ok(TestData { noise, nan: resident(&nan, stream)? })
    }
}

impl Prepared {
    /// Rehearses the convolutions that were not rehearsed yet, with these buffers, and waits.
    ///
    /// # Errors
    /// [`FaultKind::Unsupported`] when a convolution has no algorithm that can be used.
    pub(in crate::eval::cuda) fn rehearse(
        &self,
        parameters: &Parameters,
        data: &TestData,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        self.sections.iter().try_for_each(|section| section.rehearse(parameters, data, resources))
    }
}

impl PreparedSection {
    fn rehearse(
        &self,
        parameters: &Parameters,
        data: &TestData,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        let mut convs = self.convs.iter();
        for step in &self.section.plan.steps {
            let Step::Conv(ConvStep { weight, src, dst, .. }) = *step else { continue };
            let shared = convs.next().expect("a convolution for each of the plan's");
            if shared.is_rehearsed.get() {
                continue;
            }
            let place = parameters.conv_name(weight);
            self.repeat_an_image(parameters, data, resources, src)?;
            let test = Test { conv: &*shared.conv, parameters, weight, views: (src, dst) };
            let flaw = || self.flaw(test, data, resources).map_err(|fault| fault.at(&place));
            while let Some(reason) = flaw()? {
                if !shared.conv.switch_to_next()? {
                    return Err(Fault::new(place, reason, FaultKind::Unsupported));
                }
            }
            shared.is_rehearsed.set(true);
        }
        Ok(())
    }

    /// Fills an activation with one image of noise, repeated.
    fn repeat_an_image(
        &self,
        parameters: &Parameters,
        data: &TestData,
        Resources { stream, activations, .. }: Resources<'_>,
        view: View,
    ) -> Result<(), Fault> {
        let elements = parameters.channels(view) * view.shape.h * view.shape.w;
        let image = elements * parameters.format.element().bytes();
        let (target, noise) = (self.address(activations, view), &data.noise);
        let bytes = noise.len_bytes().min(image);
        // SAFETY: the buffer holds all images of a micro-batch.
        unsafe {
            stream.copy_rows((target, bytes), (noise.ptr(), bytes), bytes, 1)?;
            stream.repeat(target, bytes, image)?;
            stream.repeat(target, image, self.images * image)
        }
    }

    /// Why a convolution cannot be used as it is now. What the library refuses once it always
    /// refuses, so the choice is deterministic.
    fn flaw(
        &self,
        test: Test<'_>,
        data: &TestData,
        resources: Resources<'_>,
    ) -> Result<Option<String>, Fault> {
        match self.wrong_results(test, data, resources) {
            Err(fault) if fault.kind == FaultKind::Unsupported => Ok(Some(fault.to_string())),
            found => Ok(found?.map(str::to_owned)),
        }
    }

    /// What is wrong with its results.
    fn wrong_results(
        &self,
        test: Test<'_>,
        data: &TestData,
        resources: Resources<'_>,
    ) -> Result<Option<&'static str>, Fault> {
        let is_half = test.parameters.precision == Precision::Fp16;
        if is_half && !self.keeps_nan(test, data, resources)? {
            return Ok(Some("its ReLU loses NaN, and so an overflow would pass unnoticed"));
        }
        let is_alike = self.treats_alike(test, resources)?;
        Ok((!is_alike).then_some("equal images of a batch get different bits"))
    }

    /// Whether NaN before the ReLU is NaN behind it. Sums of infinities of both signs are NaN: a
    /// feature that overflows in half precision leads to them in the next convolution, and to
    /// plausible numbers if they are lost. The NaN comes from the biases here.
    fn keeps_nan(
        &self,
        Test { conv, parameters, weight, views: (src, dst) }: Test<'_>,
        data: &TestData,
        resources: Resources<'_>,
    ) -> Result<bool, Fault> {
        let Resources { stream, activations, .. } = resources;
        let filter = FilterPtr { bias: data.nan.ptr(), ..parameters.convs[weight].ptr() };
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
        Test { conv, parameters, weight, views: (src, dst) }: Test<'_>,
        resources: Resources<'_>,
    ) -> Result<bool, Fault> {
        let Resources { stream, kernels, activations } = resources;
        let image_bytes =
            parameters.format.element().bytes() * dst.c_slot * dst.shape.h * dst.shape.w;
        let target = self.address(activations, dst);
        if dst.shape.c != dst.c_slot {
            // The other parts of the buffer must not differ.
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

/// A convolution under test: as layer `weight` of a net, with its input and output.
#[derive(Clone, Copy)]
struct Test<'a> {
    conv: &'a dyn Conv,
    parameters: &'a Parameters,
    weight: usize,
    views: (View, View),
}
