//! The values of options that are one of several names, with the help that is printed for each.
//!
//! The types belong to the modules that they configure, which do not depend on a command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::eval::{ConvChoice, Precision};
use crate::image::{Alpha, Range};
use crate::net::Net;
use crate::net::weights::Version;
use crate::pipeline::OnError;
use crate::progress::Style;

/// `Type { Variant: "name" [or "alias"], "help"; ... }`.
macro_rules! values {
    ($type:ident { $($variant:ident: $name:literal $(or $alias:literal)?, $help:literal;)+ }) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                &[$($type::$variant),+]
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(match self {
                    $($type::$variant => PossibleValue::new($name)$(.alias($alias))?.help($help),)+
                })
            }
        }
    };
}

values!(Net {
    Alex: "alex", "AlexNet, five taps; the usual choice for reporting";
    Vgg: "vgg" or "vgg16", "VGG16, five taps";
    Squeeze: "squeeze", "SqueezeNet 1.1, seven taps";
});

values!(Version {
    V0_1: "0.1",
        "`lpips` 0.1, the default of every implementation: inputs are shifted and scaled";
    V0_0: "0.0", "`lpips` 0.0, as first published: inputs stay in [-1, 1]";
});

values!(Range {
    Unit: "0..1", "0 is black, 1 is white";
    Signed: "-1..1", "-1 is black, 1 is white";
});

values!(Alpha {
    Drop: "drop", "Dropped unblended, as PIL's `convert(\"RGB\")` does";
    Black: "black", "Blended over black, as PIL's `paste` with a mask does";
    White: "white", "Blended over white, as PIL's `paste` with a mask does";
});

values!(Precision {
    Fp32: "fp32", "float32, nothing less anywhere";
    Tf32: "tf32",
        "float32 whose products are rounded to 11 bits, on tensor cores; needs CUDA";
    Fp16: "fp16",
        "Half floats, summed in float32, on tensor cores; what overflows is scored again in fp32; \
         needs CUDA";
});

values!(ConvChoice {
    Auto: "auto", "cuDNN if it is there, else cuBLAS";
    Cudnn: "cudnn", "cuDNN, with bias and ReLU fused";
    Cublas: "cublas", "Matrix products of cuBLAS";
});

values!(OnError {
    Row: "row", "It becomes a row with its reason; the run continues";
    Stop: "stop", "It stops the run; finished rows stay";
});

values!(Style {
    Auto: "auto", "A bar on a terminal, lines elsewhere";
    Bar: "bar", "A bar with rate, remaining time and failures";
    Lines: "lines", "A line every 30 seconds";
    Jsonl: "jsonl", "A JSON object a second, one a line, for programs";
    Off: "off", "Nothing until the end";
});
