//! DISTS from the statistics of channels, in float64.
//!
//! K. Ding, K. Ma, S. Wang, E. Simoncelli: Image Quality Assessment: Unifying Structure and Texture
//! Similarity, 2020, equations 7 to 9, as a sum of distances: identical images give exactly 0.

use crate::net::INPUT_CHANNELS;
use crate::net::weights::{Dists, Version};

/// Added to the numerator and the denominator of both similarities (c_1, c_2).
const STABILIZER: f64 = 1e-6;

/// One channel of the reference and of the distorted image, over all positions. Variances and the
/// covariance are divided by the number of positions.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Moments {
    pub(super) means: [f64; 2],
    pub(super) variances: [f64; 2],
    pub(super) covariance: f64,
}

impl Moments {
    /// The moments of `gain * x + bias`.
    fn affine(self, (gain, bias): (f64, f64)) -> Moments {
        Moments {
            means: self.means.map(|mean| gain * mean + bias),
            variances: self.variances.map(|variance| gain * gain * variance),
            covariance: gain * gain * self.covariance,
        }
    }

    /// One minus the similarity of the means, and one minus that of the structure.
    fn distances(self) -> [f64; 2] {
        let Moments { means: [x, y], variances: [of_x, of_y], covariance } = self;
        let of_means = (x - y) * (x - y) / (x * x + y * y + STABILIZER);
        let difference = of_x + of_y - 2.0 * covariance;
        [of_means, difference / (of_x + of_y + STABILIZER)]
    }
}

/// What a layer contributes to DISTS, from the moments of its channels in order. Those of layer 0
/// are of the trunk's input, and the metric's are of the samples that it was made of.
pub(super) fn layer_distance(
    weights: &Dists,
    layer: usize,
    moments: impl IntoIterator<Item = Moments>,
) -> f64 {
    let distance = |([alpha, beta, gain, bias], moments): ([f64; 4], Moments)| {
        let [of_means, of_structure] = moments.affine((gain, bias)).distances();
        alpha * of_means + beta * of_structure
    };
    layer_table(weights, layer).into_iter().zip(moments).map(distance).sum()
}

/// What a device needs of a layer: f64 (channel, (alpha, beta, gain, bias)), where gain and bias
/// bring the features to what the metric is of.
pub(super) fn layer_table(weights: &Dists, layer: usize) -> Vec<[f64; 4]> {
    let channels = weights.alpha[layer].iter().zip(&weights.beta[layer]).enumerate();
    let row = |(channel, (&alpha, &beta)): (usize, (&f64, &f64))| {
        let (gain, bias) = if layer == 0 { samples(channel) } else { (1.0, 0.0) };
        [alpha, beta, gain, bias]
    };
    channels.map(row).collect()
}

/// Gain and bias from a channel of the trunk's input back to samples in [0, 1].
fn samples(channel: usize) -> (f64, f64) {
    let scaling = Version::V0_1.scaling().unwrap_or(([0.0; INPUT_CHANNELS], [1.0; INPUT_CHANNELS]));
    let (shift, scale) = (f64::from(scaling.0[channel]), f64::from(scaling.1[channel]));
    (scale / 2.0, shift.midpoint(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_moments_are_at_distance_0() {
        let equal = |mean: f64, variance: f64| Moments {
            means: [mean; 2],
            variances: [variance; 2],
            covariance: variance,
        };
        for (mean, variance) in [(0.0, 0.0), (0.1, 0.3), (17.3, 1e-9), (-2.0, 1e6)] {
            assert_eq!(equal(mean, variance).distances(), [0.0; 2]);
            assert_eq!(equal(mean, variance).affine((0.229, 0.485)).distances(), [0.0; 2]);
        }
    }

    #[test]
    fn distances_are_those_of_the_published_formulas() {
        let moments = Moments { means: [0.5, 0.25], variances: [2.0, 1.0], covariance: 0.5 };
        let s1 = (2.0 * 0.5 * 0.25 + 1e-6) / (0.25 + 0.0625 + 1e-6);
        let s2 = (2.0 * 0.5 + 1e-6) / (3.0 + 1e-6);
        let [of_means, of_structure] = moments.distances();
        assert!((of_means - (1.0 - s1)).abs() < 1e-15);
        assert!((of_structure - (1.0 - s2)).abs() < 1e-15);
    }

    /// ImageNet's means and standard deviations.
    #[test]
    fn the_inputs_of_layer_0_are_samples_again() {
        for (channel, (mean, deviation)) in
            [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)].into_iter().enumerate()
        {
            let (gain, bias) = samples(channel);
            assert!((gain - deviation).abs() < 1e-8 && (bias - mean).abs() < 1e-8);
        }
    }
}
