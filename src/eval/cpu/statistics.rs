//! Taps of DISTS: means, variances and covariances of channels, in float64.
//!
//! The sums are centred: means come first, then the products of differences from them. Float32 sums
//! of squares would lose what near-identical images differ by. Rows are summed in blocks of a fixed
//! height, and the blocks in order, so that neither threads nor neighbours change a bit.

use super::team::Team;
use super::tensor::{Layout, Tensor};
use crate::batch::Pair;
use crate::eval::Distance;
use crate::eval::dists::{Moments, layer_distance};
use crate::isa::{Isa, Plain, dispatch_plain};
use crate::net::weights::Dists;

/// Rows of a block.
const BLOCK_ROWS: usize = 4;

/// Compares the taps of a model by statistics.
#[derive(Debug)]
pub(super) struct Statistics {
    weights: Dists,
    isa: Isa,
}

impl Statistics {
    pub(super) fn new(weights: Dists, isa: Isa) -> Statistics {
        Statistics { weights, isa }
    }

    /// Adds what `layer` contributes to the distance of each pair; `src` holds the activations.
    pub(super) fn run(
        &self,
        layer: usize,
        src: &Tensor,
        pairs: &[Pair],
        distances: &mut [Distance],
        team: &Team,
    ) {
        let channels = src.layout().c;
        let images: Vec<[usize; 2]> = (0..src.image_count()).map(|image| [image; 2]).collect();
        let sum = |images: &[[usize; 2]], sum: Sum<'_>| self.means(src, images, sum, team);
        let means = sum(&images, Sum::Values);
        let means: Vec<&[f64]> = means.chunks_exact(channels).collect();
        let variances = sum(&images, Sum::Products(&means));
        let variances: Vec<&[f64]> = variances.chunks_exact(channels).collect();
        for (&Pair { reference, distorted }, distance) in pairs.iter().zip(distances) {
            let covariances = match reference == distorted {
                true => variances[reference].to_vec(),
                false => sum(&[[reference, distorted]], Sum::Products(&means)),
            };
            let of_pair = |of: &[&[f64]], c: usize| [of[reference][c], of[distorted][c]];
            let moments = (0..channels).map(|c| Moments {
                means: of_pair(&means, c),
                variances: of_pair(&variances, c),
                covariance: covariances[c],
            });
            distance.layers.push(layer_distance(&self.weights, layer, moments));
        }
    }

    /// For each pair of images and each channel, the mean over all positions.
    fn means(&self, src: &Tensor, images: &[[usize; 2]], what: Sum<'_>, team: &Team) -> Vec<f64> {
        let layout = src.layout();
        let Layout { c, h, w } = layout;
        let blocks = h.div_ceil(BLOCK_ROWS);
        let mut partial = vec![0.0; images.len() * blocks * c];
        team.for_each(partial.chunks_exact_mut(c).enumerate(), |(index, sums)| {
            let pair = images[index / blocks];
            let first = index % blocks * BLOCK_ROWS;
            for y in first..(first + BLOCK_ROWS).min(h) {
                let row = |image: usize| &src.image(image)[layout.at(y as isize, 0)..][..w * c];
                match what {
                    Sum::Values => {
                        dispatch_plain(self.isa, AddValues { sums: &mut *sums, row: row(pair[0]) });
                    }
                    Sum::Products(means) => {
                        let means = pair.map(|image| means[image]);
                        let rows = pair.map(row);
                        dispatch_plain(self.isa, AddProducts { sums: &mut *sums, rows, means });
                    }
                }
            }
        });
        let positions = (h * w) as f64;
        let total = |partial: &[f64]| -> Vec<f64> {
            let channel = |channel: usize| partial[channel..].iter().step_by(c).sum::<f64>();
            (0..c).map(|c| channel(c) / positions).collect()
        };
        partial.chunks_exact(blocks * c).flat_map(total).collect()
    }
}

/// What is averaged.
#[derive(Clone, Copy)]
enum Sum<'a> {
    /// The values of the first image.
    Values,
    /// The products of the differences from these means, given for each image.
    Products(&'a [&'a [f64]]),
}

/// Adds the pixels of a row to the sums of their channels.
struct AddValues<'a> {
    sums: &'a mut [f64],
    row: &'a [f32],
}

impl Plain for AddValues<'_> {
    #[inline(always)]
    fn run(self) {
        for pixel in self.row.chunks_exact(self.sums.len()) {
            for (sum, &value) in self.sums.iter_mut().zip(pixel) {
                *sum += f64::from(value);
            }
        }
    }
}

/// Adds products of differences from the means.
struct AddProducts<'a> {
    sums: &'a mut [f64],
    rows: [&'a [f32]; 2],
    means: [&'a [f64]; 2],
}

impl Plain for AddProducts<'_> {
    #[inline(always)]
    fn run(self) {
        let AddProducts { sums, rows: [a, b], means: [of_a, of_b] } = self;
        let c = sums.len();
        let (of_a, of_b) = (&of_a[..c], &of_b[..c]);
        for (a, b) in a.chunks_exact(c).zip(b.chunks_exact(c)) {
            for channel in 0..c {
                let a = f64::from(a[channel]) - of_a[channel];
                let b = f64::from(b[channel]) - of_b[channel];
                sums[channel] += a * b;
            }
        }
    }
}
