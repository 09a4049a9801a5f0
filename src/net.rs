//! The trunks as data: which convolutions, poolings and taps, in which order.
//!
//! This module holds the architectures of LPIPS and DISTS. It does not depend on images, devices or
//! files (only [`weights`] reads files). A [`plan::Plan`] resolves a [`NetSpec`] for one input
//! size, and the evaluators walk that plan.

pub mod plan;
pub mod weights;

use serde::{Deserialize, Serialize};

/// A trunk that LPIPS can be computed with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// AlexNet, five taps; the usual choice for reporting.
    Alex,
    /// VGG16, five taps.
    Vgg,
    /// SqueezeNet 1.1, seven taps.
    Squeeze,
}

impl Net {
    /// Every net, in the order in which they are listed.
    pub const ALL: [Net; 3] = [Net::Alex, Net::Vgg, Net::Squeeze];

    /// The name used on the command line, in columns and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Bytes of the trunk's parameters in float32.
    #[doc(hidden)]
    #[must_use]
    pub fn weight_bytes(self) -> usize {
        let convs = self.spec().convs();
        let elements = |conv: &ConvSpec| conv.weight_shape().iter().product::<usize>() + conv.c_out;
        size_of::<f32>() * convs.iter().map(elements).sum::<usize>()
    }

    /// The architecture of LPIPS with this trunk.
    #[doc(hidden)]
    #[must_use]
    pub fn spec(self) -> &'static NetSpec {
        match self {
            Net::Alex => &ALEX,
            Net::Vgg => &VGG,
            Net::Squeeze => &SQUEEZE,
        }
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How a pooling rounds its output size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Round {
    /// `(len - kernel) / stride + 1`: windows that do not fit are dropped.
    Floor,
    /// PyTorch's `ceil_mode`: a last partial window is kept if it starts inside the input.
    Ceil,
}

/// One line of a trunk. A bias and a ReLU follow every convolution of all trunks, so `Conv` stands
/// for all three.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// Square convolution with zero padding, bias, ReLU.
    Conv {
        /// torchvision's tensor prefix.
        name: &'static str,
        /// Output channels.
        c_out: usize,
        /// Side of the kernel.
        kernel: usize,
        /// Step between windows.
        stride: usize,
        /// Zeros on each side.
        pad: usize,
    },
    /// Max-pooling without padding.
    MaxPool {
        /// Side of the window.
        kernel: usize,
        /// Step between windows.
        stride: usize,
        /// Whether a partial last window is kept.
        round: Round,
    },
    /// L2 pooling by DISTS: `sqrt(sum of g x^2 + 1e-12)` over windows of 3x3 at stride 2, with zero
    /// padding of 1, so that a side of n becomes ceil(n/2). g is the outer product of the Hanning
    /// window (1/2, 1, 1/2) with itself, divided by its sum; the padding does not change it.
    L2Pool,
    /// `squeeze` 1x1 channels, then `expand` 1x1 and `expand` 3x3 ones, concatenated in that order.
    Fire {
        /// torchvision's tensor prefix.
        name: &'static str,
        /// Channels of the squeeze convolution.
        squeeze: usize,
        /// Channels of each expand convolution.
        expand: usize,
    },
    /// The activation here is compared between the two images of a pair.
    Tap,
}

/// A trunk as a table.
#[derive(Debug)]
pub struct NetSpec {
    /// Whose convolutions these are.
    pub net: Net,
    /// The name used on the command line and in columns.
    pub name: &'static str,
    /// The smallest side of an image, in pixels.
    pub min_side: usize,
    /// The trunk from the image to the last tap.
    pub layers: &'static [Layer],
}

/// One convolution of a trunk with the shape of its weights, as [`NetSpec::convs`] lists them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConvSpec {
    /// torchvision's tensor prefix: `{name}.weight` and `{name}.bias`.
    pub name: String,
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Side of the square kernel.
    pub kernel: usize,
}

impl ConvSpec {
    /// Shape of the weight tensor, OIHW.
    #[must_use]
    pub fn weight_shape(&self) -> [usize; 4] {
        [self.c_out, self.c_in, self.kernel, self.kernel]
    }
}

impl NetSpec {
    /// The convolutions in the order of torchvision's parameters; a fire module is three of them.
    /// The position in this list is the `weight` index of a [`plan::ConvStep`].
    #[must_use]
    pub fn convs(&self) -> Vec<ConvSpec> {
        let mut convs = Vec::new();
        let mut c_in = INPUT_CHANNELS;
        for layer in self.layers {
            match *layer {
                Layer::Conv { name, c_out, kernel, .. } => {
                    convs.push(ConvSpec { name: name.to_owned(), c_in, c_out, kernel });
                    c_in = c_out;
                }
                Layer::Fire { name, squeeze, expand } => {
                    let part = |suffix: &str, c_in, c_out, kernel| ConvSpec {
                        name: format!("{name}.{suffix}"),
                        c_in,
                        c_out,
                        kernel,
                    };
                    convs.push(part("squeeze", c_in, squeeze, 1));
                    convs.push(part("expand1x1", squeeze, expand, 1));
                    convs.push(part("expand3x3", squeeze, expand, 3));
                    c_in = 2 * expand;
                }
                Layer::MaxPool { .. } | Layer::L2Pool | Layer::Tap => {}
            }
        }
        convs
    }

    /// Channels of each tap, in order; the length is the number of layers of the metric.
    #[must_use]
    pub fn tap_channels(&self) -> Vec<usize> {
        let mut channels = INPUT_CHANNELS;
        let mut taps = Vec::new();
        for layer in self.layers {
            match *layer {
                Layer::Conv { c_out, .. } => channels = c_out,
                Layer::Fire { expand, .. } => channels = 2 * expand,
                Layer::MaxPool { .. } | Layer::L2Pool => {}
                Layer::Tap => taps.push(channels),
            }
        }
        taps
    }
}

/// Channels of an input image: R, G, B.
pub const INPUT_CHANNELS: usize = 3;

const fn conv(name: &'static str, c_out: usize, kernel: usize, stride: usize, pad: usize) -> Layer {
    Layer::Conv { name, c_out, kernel, stride, pad }
}

const fn conv3(name: &'static str, c_out: usize) -> Layer {
    conv(name, c_out, 3, 1, 1)
}

const fn pool(kernel: usize, round: Round) -> Layer {
    Layer::MaxPool { kernel, stride: 2, round }
}

const fn fire(name: &'static str, squeeze: usize, expand: usize) -> Layer {
    Layer::Fire { name, squeeze, expand }
}

use Layer::{L2Pool, Tap};
use Round::{Ceil, Floor};

static ALEX: NetSpec = NetSpec {
    net: Net::Alex,
    name: "alex",
    min_side: 31,
    layers: &[
        conv("features.0", 64, 11, 4, 2),
        Tap,
        pool(3, Floor),
        conv("features.3", 192, 5, 1, 2),
        Tap,
        pool(3, Floor),
        conv3("features.6", 384),
        Tap,
        conv3("features.8", 256),
        Tap,
        conv3("features.10", 256),
        Tap,
    ],
};

static VGG: NetSpec = NetSpec {
    net: Net::Vgg,
    name: "vgg",
    min_side: 16,
    layers: &[
        conv3("features.0", 64),
        conv3("features.2", 64),
        Tap,
        pool(2, Floor),
        conv3("features.5", 128),
        conv3("features.7", 128),
        Tap,
        pool(2, Floor),
        conv3("features.10", 256),
        conv3("features.12", 256),
        conv3("features.14", 256),
        Tap,
        pool(2, Floor),
        conv3("features.17", 512),
        conv3("features.19", 512),
        conv3("features.21", 512),
        Tap,
        pool(2, Floor),
        conv3("features.24", 512),
        conv3("features.26", 512),
        conv3("features.28", 512),
        Tap,
    ],
};

/// DISTS: VGG16's convolutions, with L2 pooling, compared at the image itself and at five taps.
/// (`DISTS_pt.py` of the published code.)
pub static DISTS: NetSpec = NetSpec {
    net: Net::Vgg,
    name: "dists",
    min_side: 16,
    layers: &[
        Tap,
        conv3("features.0", 64),
        conv3("features.2", 64),
        Tap,
        L2Pool,
        conv3("features.5", 128),
        conv3("features.7", 128),
        Tap,
        L2Pool,
        conv3("features.10", 256),
        conv3("features.12", 256),
        conv3("features.14", 256),
        Tap,
        L2Pool,
        conv3("features.17", 512),
        conv3("features.19", 512),
        conv3("features.21", 512),
        Tap,
        L2Pool,
        conv3("features.24", 512),
        conv3("features.26", 512),
        conv3("features.28", 512),
        Tap,
    ],
};

static SQUEEZE: NetSpec = NetSpec {
    net: Net::Squeeze,
    name: "squeeze",
    min_side: 17,
    layers: &[
        conv("features.0", 64, 3, 2, 0),
        Tap,
        pool(3, Ceil),
        fire("features.3", 16, 64),
        fire("features.4", 16, 64),
        Tap,
        pool(3, Ceil),
        fire("features.6", 32, 128),
        fire("features.7", 32, 128),
        Tap,
        pool(3, Ceil),
        fire("features.9", 48, 192),
        Tap,
        fire("features.10", 48, 192),
        Tap,
        fire("features.11", 64, 256),
        Tap,
        fire("features.12", 64, 256),
        Tap,
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_have_the_channels_of_the_published_metric() {
        assert_eq!(Net::Alex.spec().tap_channels(), [64, 192, 384, 256, 256]);
        assert_eq!(Net::Vgg.spec().tap_channels(), [64, 128, 256, 512, 512]);
        assert_eq!(Net::Squeeze.spec().tap_channels(), [64, 128, 256, 384, 384, 512, 512]);
        assert_eq!(DISTS.tap_channels(), [3, 64, 128, 256, 512, 512]);
    }

    /// One file of weights serves both.
    #[test]
    fn dists_has_the_convolutions_of_vgg() {
        assert_eq!(DISTS.convs(), Net::Vgg.spec().convs());
    }

    #[test]
    fn convolutions_have_torchvisions_shapes() {
        let shapes = |net: Net| -> Vec<[usize; 4]> {
            net.spec().convs().iter().map(ConvSpec::weight_shape).collect()
        };
        assert_eq!(shapes(Net::Alex)[0], [64, 3, 11, 11]);
        assert_eq!(shapes(Net::Alex)[1], [192, 64, 5, 5]);
        assert_eq!(shapes(Net::Vgg).len(), 13);
        assert_eq!(shapes(Net::Vgg)[12], [512, 512, 3, 3]);
        let squeeze = Net::Squeeze.spec().convs();
        assert_eq!(squeeze.len(), 25);
        assert_eq!(squeeze[1].name, "features.3.squeeze");
        assert_eq!(squeeze[24].weight_shape(), [256, 64, 3, 3]);
    }
}
