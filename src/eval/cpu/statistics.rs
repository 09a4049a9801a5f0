//! Taps of DISTS: means, variances and covariances of channels, in float64.
//!
//! The sums are centred: means come first, then the products of differences from them. Float32 sums
//! of squares would lose what near-identical images differ by. Rows are taken in blocks of a fixed
//! height, each centred on its own means, and the blocks are merged in order (T. Chan, G. Golub, R.
//! LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979). So
//! neither bands, threads nor other images change a bit.

use std::ops::Range;

use super::team::Team;
use super::tensor::Tensor;
use crate::batch::Pair;
use crate::eval::Distance;
use crate::eval::dists::{Moments, layer_distance};
use crate::isa::{Isa, Plain, dispatch_plain};
use crate::net::weights::Dists;

/// Rows of a block.
pub(super) const BLOCK_ROWS: usize = 4;

/// Compares the taps of a model by statistics.
#[derive(Debug)]
pub(super) struct Statistics {
    weights: Dists,
    isa: Isa,
}

/// The statistics of one layer over the rows that were computed so far.
#[derive(Debug, Default)]
pub(super) struct LayerStatistics {
    /// (image, channel).
    means: Vec<f64>,
    /// Sums of products of differences from the means: (image, channel).
    squares: Vec<f64>,
    /// As above: (pair, channel).
    products: Vec<f64>,
    /// What the layer contributes to each pair, once all rows were computed.
    distances: Vec<f64>,
}

impl LayerStatistics {
    /// Adds the layer to the distance of each pair. All rows were computed.
    pub(super) fn finish(self, distances: &mut [Distance]) {
        for (distance, of_layer) in distances.iter_mut().zip(self.distances) {
            distance.layers.push(of_layer);
        }
    }
}

/// Some neighbouring blocks of all images.
struct Blocks {
    rows: Vec<Range<usize>>,
    /// The mean of each block: (image, block, channel).
    means: Vec<f64>,
    /// Its difference from the mean of all rows above: (image, block, channel).
    shifts: Vec<f64>,
    /// The weight of the product of two such differences, for each block.
    weights: Vec<f64>,
}

impl Statistics {
    pub(super) fn new(weights: Dists, isa: Isa) -> Statistics {
        Statistics { weights, isa }
    }

    /// Adds some rows of the tap of `layer`, which `src` holds: whole blocks, or up to the end.
    pub(super) fn run(
        &self,
        layer: usize,
        src: &Tensor,
        rows: Range<usize>,
        pairs: &[Pair],
        sums: &mut LayerStatistics,
        team: &Team,
    ) {
        let (layout, count) = (src.layout(), src.image_count());
        let is_last = rows.end == layout.h;
        let blocks = self.blocks(src, rows, &mut sums.means, team);
        let images: Vec<[usize; 2]> = (0..count).map(|image| [image; 2]).collect();
        let squares = self.products(src, &images, &blocks, &sums.squares, team);
        let squares_of = |image: usize| &squares[image * layout.c..][..layout.c];
        // The sums of all pairs of many small images would be large. These have one band.
        let mut products = Vec::new();
        for (index, &Pair { reference, distorted }) in pairs.iter().enumerate() {
            let so_far = sums.products.get(index * layout.c..).unwrap_or_default();
            let of_pair = match reference == distorted {
                true => squares_of(reference).to_vec(),
                false => self.products(src, &[[reference, distorted]], &blocks, so_far, team),
            };
            if !is_last {
                products.extend(of_pair);
                continue;
            }
            let positions = (layout.h * layout.w) as f64;
            let moments = (0..layout.c).map(|c| Moments {
                means: [reference, distorted].map(|image| sums.means[image * layout.c + c]),
                variances: [reference, distorted].map(|image| squares_of(image)[c] / positions),
                covariance: of_pair[c] / positions,
            });
            sums.distances.push(layer_distance(&self.weights, layer, moments));
        }
        (sums.squares, sums.products) = (squares, products);
    }

    /// Blocks of these rows. Brings `means`, those of all rows above, to include them.
    fn blocks(
        &self,
        src: &Tensor,
        rows: Range<usize>,
        means: &mut Vec<f64>,
        team: &Team,
    ) -> Blocks {
        let (layout, count) = (src.layout(), src.image_count());
        let c = layout.c;
        let of_block = |y: usize| y..(y + BLOCK_ROWS).min(rows.end);
        let ranges: Vec<Range<usize>> = rows.clone().step_by(BLOCK_ROWS).map(of_block).collect();
        let mut of_blocks = vec![0.0; count * ranges.len() * c];
        team.for_each(of_blocks.chunks_exact_mut(c).enumerate(), |(index, means)| {
            let (image, rows) = (index / ranges.len(), &ranges[index % ranges.len()]);
            for y in rows.clone() {
                let row = src.image(image).row(y);
                dispatch_plain(self.isa, AddValues { sums: &mut *means, row });
            }
            let positions = (rows.len() * layout.w) as f64;
            means.iter_mut().for_each(|mean| *mean /= positions);
        });
        means.resize(count * c, 0.0);
        let mut shifts = Vec::with_capacity(of_blocks.len());
        for (of_image, means) in
            of_blocks.chunks_exact(ranges.len() * c).zip(means.chunks_exact_mut(c))
        {
            for (rows, of_block) in ranges.iter().zip(of_image.chunks_exact(c)) {
                let part = rows.len() as f64 / rows.end as f64;
                for (mean, of_block) in means.iter_mut().zip(of_block) {
                    let shift = of_block - *mean;
                    *mean += shift * part;
                    shifts.push(shift);
                }
            }
        }
        let weight = |rows: &Range<usize>| {
            let [above, here] = [rows.start, rows.len()].map(|rows| (rows * layout.w) as f64);
            above * here / (above + here)
        };
        let weights = ranges.iter().map(weight).collect();
        Blocks { rows: ranges, means: of_blocks, shifts, weights }
    }

    /// The sums of products for each of some couples of images, over the blocks and all rows above,
    /// whose sums are `so_far`, if any: (couple, channel).
    fn products(
        &self,
        src: &Tensor,
        couples: &[[usize; 2]],
        blocks: &Blocks,
        so_far: &[f64],
        team: &Team,
    ) -> Vec<f64> {
        let (c, count) = (src.layout().c, blocks.rows.len());
        let mut of_blocks = vec![0.0; couples.len() * count * c];
        team.for_each(of_blocks.chunks_exact_mut(c).enumerate(), |(index, sums)| {
            let (couple, block) = (couples[index / count], index % count);
            let means = couple.map(|image| &blocks.means[(image * count + block) * c..][..c]);
            for y in blocks.rows[block].clone() {
                let rows = couple.map(|image| src.image(image).row(y));
                dispatch_plain(self.isa, AddProducts { sums: &mut *sums, rows, means });
            }
            let [a, b] = couple.map(|image| &blocks.shifts[(image * count + block) * c..][..c]);
            for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
                *sum += a * b * blocks.weights[block];
            }
        });
        let mut sums = vec![0.0; couples.len() * c];
        let known = so_far.len().min(sums.len());
        sums[..known].copy_from_slice(&so_far[..known]);
        for (sums, of_blocks) in sums.chunks_exact_mut(c).zip(of_blocks.chunks_exact(count * c)) {
            for of_block in of_blocks.chunks_exact(c) {
                sums.iter_mut().zip(of_block).for_each(|(sum, of_block)| *sum += of_block);
            }
        }
        sums
    }
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
