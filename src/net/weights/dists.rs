//! The learned weights of DISTS, which are part of the program.

use anyhow::Context as _;
use safetensors::SafeTensors;

use super::{DISTS_SHA256, tensor};
use crate::net;

/// `alpha0` to `alpha5` and `beta0` to `beta5`, a number for each channel of a tap.
pub(super) static FILE: &[u8] = include_bytes!("../../../weights/dists.safetensors");

/// The weights of DISTS: for each layer, a number for each channel. All of them add up to 1.
#[derive(Clone, Debug)]
pub struct Dists {
    /// Weights of the means' similarity.
    pub alpha: Vec<Vec<f64>>,
    /// Weights of the similarity of variances and covariance.
    pub beta: Vec<Vec<f64>>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Dists {
    /// The published weights, divided by their sum.
    ///
    /// # Errors
    /// When the embedded file lacks a tensor; a test shows that it does not.
    pub fn load() -> anyhow::Result<Dists> {
        let file = SafeTensors::deserialize(FILE).context("embedded weights of DISTS")?;
        let channels = net::DISTS.tap_channels();
        let layers = |name: &str| -> anyhow::Result<Vec<Vec<f64>>> {
            let layer = |(layer, &channels): (usize, &usize)| {
                let values = tensor(&file, &format!("{name}{layer}"), &[channels])?;
                Ok(values.into_iter().map(f64::from).collect())
            };
            channels.iter().enumerate().map(layer).collect()
        };
        let (mut alpha, mut beta) = (layers("alpha")?, layers("beta")?);
        let sum: f64 = alpha.iter().chain(&beta).flatten().sum();
        for weight in alpha.iter_mut().chain(&mut beta).flatten() {
            *weight /= sum;
        }
        Ok(Dists { alpha, beta, sha256: DISTS_SHA256.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_1475_channels_and_the_weights_add_up_to_1() {
        let Dists { alpha, beta, .. } = Dists::load().unwrap();
        for weights in [&alpha, &beta] {
            assert_eq!(weights.iter().map(Vec::len).sum::<usize>(), 1475);
            assert!(weights.iter().flatten().all(|&weight| weight >= 0.0));
        }
        let sum: f64 = alpha.iter().chain(&beta).flatten().sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
    }
}
