//! Weights in place of the published ones: of people's files, or made by rules that any language
//! can repeat.

use std::path::PathBuf;

use super::{Conv, Lin, Trunk};
use crate::net::{ConvSpec, Net};

/// Weights that people name in place of the published ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Given {
    /// A checkpoint.
    File(PathBuf),
    /// Made by [`Random`] from a seed.
    Random(u64),
}

impl std::str::FromStr for Given {
    type Err = String;

    fn from_str(text: &str) -> Result<Given, String> {
        match text.strip_prefix("random:").map(str::parse) {
            None => Ok(Given::File(PathBuf::from(text))),
            Some(Ok(seed)) => Ok(Given::Random(seed)),
            Some(Err(_)) => Err("expected `random:SEED` with a whole number from 0".to_owned()),
        }
    }
}

impl Trunk {
    /// A trunk made by a formula that any language can repeat without a file: tests and self-tests
    /// use it where a net's real trunk is absent. It is never chosen for a user's run.
    ///
    /// Element i = 1, 2, ... of tensor k = 1, 2, ... (weight before bias) is, in float64,
    /// u = 2 frac(0.6180339887498949 i + 0.7548776662466927 k) - 1; weights are
    /// u sqrt(6 / (c_in kernel^2)), biases 0.1 u; all rounded to float32.
    #[must_use]
    pub fn formula(net: Net) -> Trunk {
        let series = |k: usize, len: usize, scale: f64| -> Vec<f32> {
            let value = |i: usize| {
                let phase = i as f64 * 0.618_033_988_749_894_9 + k as f64 * 0.754_877_666_246_692_7;
                ((2.0 * phase.fract() - 1.0) * scale) as f32
            };
            (1..=len).map(value).collect()
        };
        let convs = net.spec().convs().into_iter().enumerate().map(|(index, spec)| {
            let fan_in = spec.c_in * spec.kernel * spec.kernel;
            let scale = (6.0 / fan_in as f64).sqrt();
            let weight = series(2 * index + 1, spec.c_out * fan_in, scale);
            let bias = series(2 * index + 2, spec.c_out, 0.1);
            Conv { spec, weight, bias }
        });
        Trunk { net, convs: convs.collect(), sha256: format!("formula-{net}") }
    }

    /// A trunk of random weights (`--trunk random:SEED`): those of [`Random`], one after the other
    /// through all tensors in the order of torchvision's parameters (weight before bias), each
    /// row-major; weights are `(2u - 1) sqrt(6 / (c_in kernel^2))` (He's initialization, uniform),
    /// biases 0.
    #[must_use]
    pub fn random(net: Net, seed: u64) -> Trunk {
        let mut random = Random(seed);
        let conv = |spec: ConvSpec| {
            let fan_in = spec.c_in * spec.kernel * spec.kernel;
            let scale = (6.0 / fan_in as f64).sqrt();
            let mut value = || ((2.0 * random.unit() - 1.0) * scale) as f32;
            let weight = (0..spec.c_out * fan_in).map(|_| value()).collect();
            let bias = vec![0.0; spec.c_out];
            Conv { spec, weight, bias }
        };
        let convs = net.spec().convs().into_iter().map(conv).collect();
        Trunk { net, convs, sha256: format!("random:{seed}") }
    }
}

impl Lin {
    /// Random lin weights (`--lin random:SEED`): those of [`Random`], layer by layer; each is
    /// `u / sqrt(channels)`. They are not negative, as learned ones are not.
    #[must_use]
    pub fn random(net: Net, seed: u64) -> Lin {
        let mut random = Random(seed);
        let layer = |channels: usize| {
            let scale = 1.0 / (channels as f64).sqrt();
            (0..channels).map(|_| (random.unit() * scale) as f32).collect()
        };
        let layers = net.spec().tap_channels().into_iter().map(layer).collect();
        Lin { layers, sha256: format!("random:{seed}") }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), started at the seed.
#[derive(Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number u in [0, 1): the upper 53 bits of the generator's output, times 2^-53.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * (-53f64).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_trunk_starts_with_the_documented_value() {
        let trunk = Trunk::formula(Net::Squeeze);
        let phase: f64 = 0.618_033_988_749_894_9 + 0.754_877_666_246_692_7;
        let expected = ((2.0 * phase.fract() - 1.0) * (6.0f64 / 27.0).sqrt()) as f32;
        assert_eq!(trunk.convs[0].weight[0], expected);
        assert_eq!(trunk.convs.len(), 25);
    }

    /// SplitMix64's published outputs for seed 1234567.
    #[test]
    fn random_numbers_are_splitmix64s() {
        let mut random = Random(1_234_567);
        let outputs = [6_457_827_717_110_365_317u64, 3_203_168_211_198_807_973];
        for output in outputs {
            assert_eq!(random.unit(), (output >> 11) as f64 / (1u64 << 53) as f64);
        }
    }

    #[test]
    fn random_weights_follow_from_the_seed_alone() {
        let weights = |seed| Trunk::random(Net::Alex, seed).convs[4].weight.clone();
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1), weights(2));
        let bound = (6.0f32 / (256.0 * 9.0)).sqrt();
        assert!(weights(1).iter().all(|weight| weight.abs() <= bound));
        let lin = Lin::random(Net::Squeeze, 1).layers;
        assert_eq!(lin.len(), 7);
        assert!(lin[6].iter().all(|&weight| (0.0..1.0 / 512f32.sqrt()).contains(&weight)));
    }
}
