//! This program's kernels on one GPU. A module is loaded when one of its kernels is first needed:
//! no net needs all. Each kernel is launched by a method that checks its arguments.
//!
//! [`super::signature`] is the table of entries; `kernels/README.md` states what each computes. A
//! launch compares its arguments with the table one by one, and computes its grid from the table.

mod cubins;
mod dists;
mod launch;
mod taps;

use std::cell::RefCell;

pub use self::cubins::architectures;
pub(super) use self::dists::MOMENTS;
use self::launch::{Kernel, Name, Value, extent, internal};
pub(super) use self::taps::{PairFeatures, Pooling, Region, Tiles, pools_with_tap};
use super::driver::{DevicePtr, Fault, Module, Stream};
use super::signature::Element;
use crate::image::Depth;

/// PTX of every module, as `scripts/build_kernels` made it.
const PTX: [(&str, &str); 14] = [
    ("normalise", include_str!("../../../kernels/normalise.ptx")),
    ("bias_relu", include_str!("../../../kernels/bias_relu.ptx")),
    ("max_pool", include_str!("../../../kernels/max_pool.ptx")),
    ("l2_pool", include_str!("../../../kernels/l2_pool.ptx")),
    ("im2col", include_str!("../../../kernels/im2col.ptx")),
    ("tap_nchw", include_str!("../../../kernels/tap_nchw.ptx")),
    ("tap_nhwc", include_str!("../../../kernels/tap_nhwc.ptx")),
    ("tap_pool_nchw", include_str!("../../../kernels/tap_pool_nchw.ptx")),
    ("tap_pool_nhwc", include_str!("../../../kernels/tap_pool_nhwc.ptx")),
    ("channel_sum", include_str!("../../../kernels/channel_sum.ptx")),
    ("moments", include_str!("../../../kernels/moments.ptx")),
    ("dists", include_str!("../../../kernels/dists.ptx")),
    ("finish", include_str!("../../../kernels/finish.ptx")),
    ("differ", include_str!("../../../kernels/differ.ptx")),
];

/// The layout and the element type of activations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Format {
    /// (image, channel, row, column), float32.
    NchwF32,
    /// (image, row, column, channel), float32.
    NhwcF32,
    /// (image, row, column, channel), half.
    NhwcF16,
}

impl Format {
    /// The type of an element.
    pub(super) fn element(self) -> Element {
        match self {
            Format::NchwF32 | Format::NhwcF32 => Element::F32,
            Format::NhwcF16 => Element::F16,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Format::NchwF32 => "nchw_f32",
            Format::NhwcF32 => "nhwc_f32",
            Format::NhwcF16 => "nhwc_f16",
        }
    }
}

/// The trunk's input for a sample x: `((gain * x + bias) - shift) / scale`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Scaling {
    pub(super) gain: f32,
    pub(super) bias: f32,
    pub(super) shift: [f32; 3],
    pub(super) scale: [f32; 3],
}

/// Extents of some images of an activation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Extents {
    pub(super) images: usize,
    pub(super) c: usize,
    pub(super) h: usize,
    pub(super) w: usize,
}

impl Extents {
    fn positions(self) -> usize {
        self.h * self.w
    }
}

/// Channels `c_first .. c_first + c` of `c_slot`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Channels {
    pub(super) c: usize,
    pub(super) c_slot: usize,
    pub(super) c_first: usize,
}

/// A square window over an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Window {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) pad: usize,
}

/// The rows of the patch matrix that one launch of im2col writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rows {
    pub(super) first: usize,
    pub(super) count: usize,
}

/// Kernels on the GPU of the current context.
#[derive(Debug)]
pub(super) struct Kernels {
    /// Of the GPU.
    capability: (i32, i32),
    /// Those that were used. They are few: comparing their names takes less than hashing one.
    found: RefCell<Vec<(Name, Kernel)>>,
    /// The modules that were loaded, unloaded last because kernels point into them.
    modules: RefCell<Vec<(&'static str, Module)>>,
}

impl Kernels {
    /// Loads the module that every net begins with, on a GPU of this compute capability.
    pub(super) fn new(capability: (i32, i32)) -> Result<Kernels, Fault> {
        let (found, modules) = Default::default();
        let kernels = Kernels { capability, found, modules };
        kernels.load("normalise")?;
        Ok(kernels)
    }

    /// Loads a module: its cubin if there is one for this GPU, or else its PTX, which the driver
    /// compiles. (The driver caches the result on disk.)
    fn load(&self, name: &str) -> Result<(), Fault> {
        let known = PTX.into_iter().find(|(module, _)| *module == name);
        let (name, ptx) =
            known.ok_or_else(|| internal(format!("module `{name}`"), "is unknown"))?;
        let assembled = cubins::cubin(name, self.capability);
        let module = match assembled.map(|image| Module::load(name, image)) {
            Some(Ok(module)) => module,
            // A driver refuses cubins that are newer than itself, and all of them under
            // CUDA_FORCE_PTX_JIT=1.
            Some(Err(_)) | None => Module::load(name, ptx.as_bytes())?,
        };
        self.modules.borrow_mut().push((name, module));
        Ok(())
    }

    /// `src` (image, row, column, RGB) becomes the trunk's input `dst` of `format`.
    pub(super) fn normalise(
        &self,
        stream: &Stream,
        (depth, format): (Depth, Format),
        dst: DevicePtr,
        src: DevicePtr,
        extents: Extents,
        scaling: Scaling,
    ) -> Result<(), Fault> {
        let stem = match depth {
            Depth::U8 => "normalise_u8",
            Depth::F32 => "normalise_f32",
        };
        let Scaling { gain, bias, shift, scale } = scaling;
        let mut args = vec![
            Value::Ptr(dst),
            Value::Ptr(src),
            extent(extents.images)?,
            extent(extents.positions())?,
            extent(extents.c)?,
            Value::F32(gain),
            Value::F32(bias),
        ];
        args.extend(shift.into_iter().chain(scale).map(Value::F32));
        let pixels = extents.images * extents.positions();
        self.launch(stream, Name::of(stem, format), 1, pixels, &args)
    }

    /// Adds the bias (f32, one per channel) and applies the ReLU, in place.
    pub(super) fn bias_relu(
        &self,
        stream: &Stream,
        format: Format,
        data: DevicePtr,
        bias: DevicePtr,
        (images, positions): (usize, usize),
        channels: Channels,
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(data),
            Value::Ptr(bias),
            extent(images)?,
            extent(positions)?,
            extent(channels.c)?,
            extent(channels.c_slot)?,
            extent(channels.c_first)?,
        ];
        let items = images * positions * channels.c / vector(format);
        self.launch(stream, Name::of("bias_relu", format), 1, items, &args)
    }

    /// Max-pooling from `from` to `h_out` x `w_out`.
    #[expect(clippy::too_many_arguments, reason = "the kernel has as many arguments")]
    pub(super) fn max_pool(
        &self,
        stream: &Stream,
        format: Format,
        dst: DevicePtr,
        src: DevicePtr,
        from: Extents,
        (h_out, w_out): (usize, usize),
        window: Window,
    ) -> Result<(), Fault> {
        let args = [
            Value::Ptr(dst),
            Value::Ptr(src),
            extent(from.images)?,
            extent(from.c)?,
            extent(from.h)?,
            extent(from.w)?,
            extent(h_out)?,
            extent(w_out)?,
            extent(window.kernel)?,
            extent(window.stride)?,
        ];
        let items = from.images * from.c * h_out * w_out / vector(format);
        self.launch(stream, Name::of("max_pool", format), 1, items, &args)
    }

    /// Writes rows of the patch matrix, each `k_dst` elements long.
    #[expect(clippy::too_many_arguments, reason = "the kernel has as many arguments")]
    pub(super) fn im2col(
        &self,
        stream: &Stream,
        format: Format,
        dst: DevicePtr,
        src: DevicePtr,
        from: Extents,
        (h_out, w_out): (usize, usize),
        window: Window,
        rows: Rows,
        k_dst: usize,
    ) -> Result<(), Fault> {
        let name = match format {
            Format::NchwF32 => return Err(internal("im2col".to_owned(), "needs NHWC")),
            Format::NhwcF32 => "im2col_f32",
            Format::NhwcF16 => "im2col_f16",
        };
        let args = [
            Value::Ptr(dst),
            Value::Ptr(src),
            extent(from.c)?,
            extent(from.h)?,
            extent(from.w)?,
            extent(h_out)?,
            extent(w_out)?,
            extent(window.kernel)?,
            extent(window.stride)?,
            extent(window.pad)?,
            extent(rows.first)?,
            extent(rows.count)?,
            extent(k_dst)?,
        ];
        self.launch(stream, Name::plain(name), 1, rows.count, &args)
    }

    /// Sets `flag` (u32) to 1 if any image of `data` has other bits than the first; otherwise
    /// `flag` is unchanged. An image has `words` words of 32 bits.
    pub(super) fn differ(
        &self,
        stream: &Stream,
        flag: DevicePtr,
        data: DevicePtr,
        images: usize,
        words: usize,
    ) -> Result<(), Fault> {
        const WORDS: usize = 4;
        if images < 2 {
            return Ok(());
        }
        if !words.is_multiple_of(WORDS) {
            return Err(internal(format!("differ of {words} words"), "not whole vectors"));
        }
        let args = [Value::Ptr(flag), Value::Ptr(data), extent(images)?, extent(words)?];
        self.launch(stream, Name::plain("differ"), images - 1, words / WORDS, &args)
    }
}

/// Channels that a thread computes together.
fn vector(format: Format) -> usize {
    match format {
        Format::NchwF32 => 1,
        Format::NhwcF32 => 4,
        Format::NhwcF16 => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::super::signature::MODULES;
    use super::*;

    #[test]
    fn every_module_is_embedded() {
        assert_eq!(PTX.map(|(name, _)| name), MODULES);
    }
}
