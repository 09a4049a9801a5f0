//! A trunk resolved for one image size: steps, buffer slots and tap shapes.
//!
//! Planning is pure, and fails only for an image that is too small. A plan describes one image; the
//! batch is the outermost dimension of every buffer, and belongs to the evaluator.

use std::ops::Range;

use super::{INPUT_CHANNELS, Layer, NetSpec, Round};

/// Extents of one image's activation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.c * self.h * self.w
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where an activation is stored: the input image, or one of the three buffers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    /// The normalised input image.
    Input,
    /// Buffer 0, 1 or 2.
    Buffer(usize),
}

/// Channels `c_first .. c_first + shape.c` of an activation that holds `c_slot` channels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct View {
    /// The buffer.
    pub slot: Slot,
    /// Extents of the viewed part.
    pub shape: Shape,
    /// First channel of the viewed part.
    pub c_first: usize,
    /// Channels of the whole activation in this buffer.
    pub c_slot: usize,
}

impl View {
    /// A whole activation.
    pub(crate) fn whole(slot: Slot, shape: Shape) -> View {
        View { slot, shape, c_first: 0, c_slot: shape.c }
    }
}

/// What an evaluator executes. A fire module becomes three convolutions, two of which write to one
/// buffer. No step reads the buffer that it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Convolution, bias, ReLU.
    Conv(ConvStep),
    /// Max-pooling without padding. A window may extend over the far edges (PyTorch's ceil mode),
    /// where only the elements inside count.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Step between windows.
        stride: usize,
        /// What is read.
        src: View,
        /// What is written.
        dst: View,
    },
    /// L2 pooling; see [`Layer::L2Pool`].
    L2Pool {
        /// What is read.
        src: View,
        /// What is written.
        dst: View,
    },
    /// Compares the activations of the two images of each pair.
    Tap {
        /// Layer of the metric, from 0.
        layer: usize,
        /// The activation.
        src: View,
    },
}

impl Step {
    /// What it writes; of a tap, what it reads.
    #[must_use]
    pub fn dst(&self) -> View {
        match *self {
            Step::Conv(ConvStep { dst, .. })
            | Step::MaxPool { dst, .. }
            | Step::L2Pool { dst, .. }
            | Step::Tap { src: dst, .. } => dst,
        }
    }
}

/// A square convolution with zero padding, then bias and ReLU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvStep {
    /// Index into [`NetSpec::convs`].
    pub weight: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Zeros on each side.
    pub pad: usize,
    /// What is read.
    pub src: View,
    /// What is written.
    pub dst: View,
}

/// Number of activation buffers that any of the trunks needs.
pub const BUFFERS: usize = 3;

/// A trunk resolved for one image size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The normalised image that the first step reads.
    pub input: Shape,
    /// The steps in execution order.
    pub steps: Vec<Step>,
    /// Elements that each buffer must hold for one image (dense, without any backend's padding).
    pub buffer_len: [usize; BUFFERS],
    /// Shape of each tap, in layer order.
    pub taps: Vec<Shape>,
}

/// The image is smaller than the trunk accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{width}x{height} is too small: {net} needs at least {min_side} pixels a side")]
pub struct TooSmall {
    /// Name of the net.
    pub net: &'static str,
    /// Smallest accepted side.
    pub min_side: usize,
    /// Width of the image.
    pub width: usize,
    /// Height of the image.
    pub height: usize,
}

/// Output length of a convolution or a floor-mode pooling, if there is any output.
fn floor_len(len: usize, kernel: usize, stride: usize, pad: usize) -> Option<usize> {
    Some((len + 2 * pad).checked_sub(kernel)? / stride + 1)
}

/// PyTorch's `ceil_mode` without padding: the last window must start inside the input.
fn ceil_len(len: usize, kernel: usize, stride: usize) -> Option<usize> {
    let out = (len + stride - 1).checked_sub(kernel)? / stride + 1;
    let starts_outside = (out - 1) * stride >= len;
    Some(if starts_outside { out - 1 } else { out }).filter(|&out| out > 0)
}

impl Plan {
    /// Resolves `spec` for images of `height` x `width` pixels.
    ///
    /// # Errors
    /// When a side is below [`NetSpec::min_side`].
    pub fn new(spec: &NetSpec, height: usize, width: usize) -> Result<Plan, TooSmall> {
        let too_small = TooSmall { net: spec.name, min_side: spec.min_side, width, height };
        if height.min(width) < spec.min_side {
            return Err(too_small);
        }
        let input = Shape { c: INPUT_CHANNELS, h: height, w: width };
        Plan::part(spec, 0..spec.layers.len(), input).ok_or(too_small)
    }

    /// Resolves the layers `layers` alone. `input` is the image, or what the layer before them
    /// gives. Weights and taps have the indices that they have in the whole trunk; `taps` holds
    /// those of the part. `None` when a layer has no output.
    #[must_use]
    pub fn part(spec: &NetSpec, layers: Range<usize>, input: Shape) -> Option<Plan> {
        let mut builder = Builder::new(input);
        for layer in &spec.layers[..layers.start] {
            match layer {
                Layer::Conv { .. } => builder.convs += 1,
                Layer::Fire { .. } => builder.convs += FIRE_CONVS,
                Layer::Tap => builder.first_tap += 1,
                Layer::MaxPool { .. } | Layer::L2Pool => {}
            }
        }
        for layer in &spec.layers[layers] {
            builder.push(*layer)?;
        }
        let Builder { steps, buffer_len, taps, .. } = builder;
        Some(Plan { input, steps, buffer_len, taps })
    }

    /// Multiplications and additions of all convolutions, for one image (2 per product).
    #[must_use]
    pub fn flops(&self) -> u64 {
        let conv_flops = |step: &Step| match step {
            Step::Conv(ConvStep { kernel, src, dst, .. }) => {
                2 * (dst.shape.len() * src.shape.c * kernel * kernel) as u64
            }
            Step::MaxPool { .. } | Step::L2Pool { .. } | Step::Tap { .. } => 0,
        };
        self.steps.iter().map(conv_flops).sum()
    }
}

/// Convolutions of a fire module.
const FIRE_CONVS: usize = 3;

/// Walks the table with the current activation in hand.
struct Builder {
    steps: Vec<Step>,
    buffer_len: [usize; BUFFERS],
    taps: Vec<Shape>,
    current: View,
    /// Convolutions so far, and taps before the first layer.
    convs: usize,
    first_tap: usize,
}

impl Builder {
    fn new(input: Shape) -> Builder {
        Builder {
            steps: Vec::new(),
            buffer_len: [0; BUFFERS],
            taps: Vec::new(),
            current: View::whole(Slot::Input, input),
            convs: 0,
            first_tap: 0,
        }
    }

    /// The `nth` buffer that does not hold the current activation, made large enough for `shape`.
    fn free(&mut self, nth: usize, shape: Shape) -> View {
        let is_free = |&index: &usize| self.current.slot != Slot::Buffer(index);
        let index = (0..BUFFERS).filter(is_free).nth(nth).expect("two of three buffers are free");
        self.buffer_len[index] = self.buffer_len[index].max(shape.len());
        View::whole(Slot::Buffer(index), shape)
    }

    fn conv(&mut self, kernel: usize, stride: usize, pad: usize, src: View, dst: View) {
        debug_assert_ne!(src.slot, dst.slot, "a step must not read the buffer that it writes");
        let weight = self.convs;
        self.steps.push(Step::Conv(ConvStep { weight, kernel, stride, pad, src, dst }));
        self.convs += 1;
    }

    /// `None` when the layer has no output.
    fn push(&mut self, layer: Layer) -> Option<()> {
        let src = self.current;
        let Shape { c, h, w } = src.shape;
        match layer {
            Layer::Conv { c_out, kernel, stride, pad, .. } => {
                let h = floor_len(h, kernel, stride, pad)?;
                let w = floor_len(w, kernel, stride, pad)?;
                let dst = self.free(0, Shape { c: c_out, h, w });
                self.conv(kernel, stride, pad, src, dst);
                self.current = dst;
            }
            Layer::MaxPool { kernel, stride, round } => {
                let pooled = |len| match round {
                    Round::Floor => floor_len(len, kernel, stride, 0),
                    Round::Ceil => ceil_len(len, kernel, stride),
                };
                let dst = self.free(0, Shape { c, h: pooled(h)?, w: pooled(w)? });
                self.steps.push(Step::MaxPool { kernel, stride, src, dst });
                self.current = dst;
            }
            Layer::L2Pool => {
                let dst = self.free(0, Shape { c, h: h.div_ceil(2), w: w.div_ceil(2) });
                self.steps.push(Step::L2Pool { src, dst });
                self.current = dst;
            }
            Layer::Fire { squeeze, expand, .. } => {
                let squeezed = self.free(0, Shape { c: squeeze, h, w });
                let whole = self.free(1, Shape { c: 2 * expand, h, w });
                let half = Shape { c: expand, h, w };
                let expand1 = View { shape: half, ..whole };
                let expand3 = View { shape: half, c_first: expand, ..whole };
                self.conv(1, 1, 0, src, squeezed);
                self.conv(1, 1, 0, squeezed, expand1);
                self.conv(3, 1, 1, squeezed, expand3);
                self.current = whole;
            }
            Layer::Tap => {
                self.steps.push(Step::Tap { layer: self.first_tap + self.taps.len(), src });
                self.taps.push(src.shape);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{DISTS, Net};

    fn tap_sides(net: Net, side: usize) -> Vec<usize> {
        Plan::new(net.spec(), side, side).unwrap().taps.iter().map(|tap| tap.h).collect()
    }

    #[test]
    fn taps_have_the_sizes_of_torchvision_at_224() {
        assert_eq!(tap_sides(Net::Alex, 224), [55, 27, 13, 13, 13]);
        assert_eq!(tap_sides(Net::Vgg, 224), [224, 112, 56, 28, 14]);
        assert_eq!(tap_sides(Net::Squeeze, 224), [111, 55, 27, 13, 13, 13, 13]);
    }

    #[test]
    fn l2_pooling_halves_a_side_and_rounds_up() {
        let plan = Plan::new(&DISTS, 67, 16).unwrap();
        let sides: Vec<_> = plan.taps.iter().map(|tap| (tap.h, tap.w)).collect();
        assert_eq!(sides, [(67, 16), (67, 16), (34, 8), (17, 4), (9, 2), (5, 1)]);
        assert_eq!(plan.flops(), Plan::new(&DISTS, 16, 67).unwrap().flops());
        let error = Plan::new(&DISTS, 15, 64).unwrap_err();
        assert_eq!(error.to_string(), "64x15 is too small: dists needs at least 16 pixels a side");
    }

    #[test]
    fn ceil_pooling_matches_pytorch() {
        // torch.nn.MaxPool2d(3, 2, ceil_mode=True) on lengths 1 to 9; 0 stands for its error.
        let expected = [0, 1, 1, 2, 2, 3, 3, 4, 4];
        for (len, expected) in (1..).zip(expected) {
            assert_eq!(ceil_len(len, 3, 2).unwrap_or(0), expected, "length {len}");
        }
    }

    #[test]
    fn the_minimum_side_is_the_smallest_that_every_layer_accepts() {
        for net in Net::ALL {
            let spec = net.spec();
            let accepts = |side: usize| {
                let mut builder = Builder::new(Shape { c: INPUT_CHANNELS, h: side, w: side });
                spec.layers.iter().all(|&layer| builder.push(layer).is_some())
            };
            let smallest = (1..64).find(|&side| accepts(side));
            assert_eq!(smallest, Some(spec.min_side), "{net}");
            let error = Plan::new(spec, spec.min_side, spec.min_side - 1).unwrap_err();
            assert_eq!(error.min_side, spec.min_side);
        }
    }

    #[test]
    fn no_step_reads_the_buffer_that_it_writes_and_all_fit() {
        for spec in Net::ALL.map(Net::spec).into_iter().chain([&DISTS]) {
            for side in [31, 64, 67, 256] {
                let plan = Plan::new(spec, side, side + 3).unwrap();
                for step in &plan.steps {
                    let (src, dst) = match *step {
                        Step::Conv(ConvStep { src, dst, .. })
                        | Step::MaxPool { src, dst, .. }
                        | Step::L2Pool { src, dst } => (src, dst),
                        Step::Tap { .. } => continue,
                    };
                    assert_ne!(src.slot, dst.slot);
                    let Slot::Buffer(index) = dst.slot else { panic!("a step writes the input") };
                    let whole = dst.c_slot * dst.shape.h * dst.shape.w;
                    assert!(whole <= plan.buffer_len[index]);
                    assert!(dst.c_first + dst.shape.c <= dst.c_slot);
                }
            }
        }
    }

    #[test]
    fn two_parts_are_the_steps_of_the_whole() {
        for spec in Net::ALL.map(Net::spec).into_iter().chain([&DISTS]) {
            let whole = Plan::new(spec, 67, 64).unwrap();
            let layers = spec.layers.len();
            let is_pooling = |layer| matches!(layer, Layer::MaxPool { .. } | Layer::L2Pool);
            for cut in (1..layers).filter(|cut| is_pooling(spec.layers[cut - 1])) {
                let first = Plan::part(spec, 0..cut, whole.input).unwrap();
                let between = first.steps.last().unwrap().dst().shape;
                let second = Plan::part(spec, cut..layers, between).unwrap();
                assert_eq!([first.taps, second.taps].concat(), whole.taps);
                assert_eq!(first.steps, whole.steps[..first.steps.len()]);
                for (step, expected) in second.steps.iter().zip(&whole.steps[first.steps.len()..]) {
                    assert_eq!(step.dst().shape, expected.dst().shape);
                    let index = |step: &Step| match *step {
                        Step::Conv(ConvStep { weight: index, .. })
                        | Step::Tap { layer: index, .. } => Some(index),
                        Step::MaxPool { .. } | Step::L2Pool { .. } => None,
                    };
                    assert_eq!(index(step), index(expected));
                }
            }
        }
    }

    #[test]
    fn flops_are_the_published_ones() {
        // 40.1 GFLOP for VGG16's convolutions at 256x256.
        let plan = Plan::new(Net::Vgg.spec(), 256, 256).unwrap();
        assert!((plan.flops() as f64 / 1e9 - 40.1).abs() < 0.1, "{}", plan.flops());
    }
}
