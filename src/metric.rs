//! From the small maps of a pair to everything that the metric can output.
//!
//! An evaluator returns one map D_l per layer and, where asked, the sum over channels of one tap of
//! the reference. The spatial map, semantic weighting and masks are sums over these, computed here
//! in float64 and in one order on every device. This module depends on maps, and not on devices,
//! files and columns.

mod preset;
mod requested;
mod resize;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::code::Code;
use crate::eval::{Distance, Map, Wanted};
use crate::image::Size;

pub use self::preset::Preset;
pub use self::requested::{CropBorder, Requested, canonical};
use self::resize::Resize;

/// How the maps of a pair become one value per layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    /// The mean of D_l: LPIPS.
    Mean,
    /// `sum(D_l * up(S_k)) / sum(up(S_k))` with S_k the channel sum of the reference's tap k,
    /// resized to D_l's size. pyiqa's `semantic_weight_layer`.
    Semantic(usize),
    /// The mean of D_l, resized to the size of the image, weighted by the pair's mask.
    Masked,
    /// The distance of the statistics of a layer: DISTS, which has no maps.
    Statistics,
}

impl Reduction {
    /// What an evaluator must return for it.
    #[must_use]
    pub fn wanted(self) -> Wanted {
        match self {
            Reduction::Mean | Reduction::Statistics => Wanted::default(),
            Reduction::Semantic(tap) => Wanted { layers: true, reference_sum: Some(tap) },
            Reduction::Masked => Wanted { layers: true, reference_sum: None },
        }
    }
}

/// `mean`, `semantic2`, `masked`, `statistics`: the word in column names and in fingerprints.
impl std::fmt::Display for Reduction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reduction::Mean => f.write_str("mean"),
            Reduction::Semantic(tap) => write!(f, "semantic{tap}"),
            Reduction::Masked => f.write_str("masked"),
            Reduction::Statistics => f.write_str("statistics"),
        }
    }
}

impl Serialize for Reduction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reduction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reduction, D::Error> {
        let text = String::deserialize(deserializer)?;
        let tap = text.strip_prefix("semantic").map(str::parse);
        match (text.as_str(), tap) {
            ("mean", _) => Ok(Reduction::Mean),
            ("masked", _) => Ok(Reduction::Masked),
            ("statistics", _) => Ok(Reduction::Statistics),
            (_, Some(Ok(tap))) => Ok(Reduction::Semantic(tap)),
            _ => Err(D::Error::custom(format!("`{text}` is no reduction of maps"))),
        }
    }
}

/// One value per pixel of an image, by which a [`Reduction::Masked`] weights.
#[derive(Clone, PartialEq, Debug)]
pub struct Mask {
    /// Extents.
    pub size: Size,
    /// (row, column); at least 0.
    pub weights: Vec<f32>,
}

/// Why maps cannot be reduced.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreduced {
    /// The reference code divides by this sum, and gives NaN.
    #[error("tap {tap} of the reference is all zero, so it cannot weight the layers")]
    NoActivity {
        /// The tap.
        tap: usize,
    },
    /// A mask without a pixel.
    #[error("the mask is 0 everywhere")]
    EmptyMask,
}

impl Unreduced {
    /// The code of the failed row.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Unreduced::NoActivity { .. } => Code::NoActivity,
            Unreduced::EmptyMask => Code::Mask,
        }
    }
}

/// One value per layer.
///
/// # Errors
/// When all weights are 0.
///
/// # Panics
/// When `distance` lacks what [`Reduction::wanted`] asks for, or [`Reduction::Masked`] has no mask.
pub fn reduce(
    distance: &Distance,
    reduction: Reduction,
    mask: Option<&Mask>,
) -> Result<Vec<f64>, Unreduced> {
    match reduction {
        Reduction::Mean | Reduction::Statistics => Ok(distance.layers.clone()),
        Reduction::Semantic(tap) => {
            let weights = distance.reference_sum.as_ref().expect("the channel sum was asked for");
            distance.maps.iter().map(|map| semantic(map, weights, tap)).collect()
        }
        Reduction::Masked => {
            let mask = mask.expect("a mask was given");
            distance.maps.iter().map(|map| masked(map, mask)).collect()
        }
    }
}

fn semantic(map: &Map, weights: &Map, tap: usize) -> Result<f64, Unreduced> {
    let resize = Resize::new(weights, map.height, map.width);
    let (mut weighted, mut whole) = (Sum::default(), Sum::default());
    let mut row = vec![0.0; map.width];
    for (y, values) in map.values.chunks_exact(map.width).enumerate() {
        row.fill(0.0);
        resize.add_row(y, &mut row);
        weighted
            .add_row(values.iter().zip(&row).map(|(&value, &weight)| f64::from(value) * weight));
        whole.add_row(row.iter().copied());
    }
    if whole.0 == 0.0 { Err(Unreduced::NoActivity { tap }) } else { Ok(weighted.0 / whole.0) }
}

fn masked(map: &Map, mask: &Mask) -> Result<f64, Unreduced> {
    let Size { width, height } = mask.size;
    let resize = Resize::new(map, height, width);
    let (mut weighted, mut whole) = (Sum::default(), Sum::default());
    let mut row = vec![0.0; width];
    for (y, weights) in mask.weights.chunks_exact(width).enumerate() {
        let weights = weights.iter().copied().map(f64::from);
        row.fill(0.0);
        resize.add_row(y, &mut row);
        weighted.add_row(weights.clone().zip(&row).map(|(weight, &value)| weight * value));
        whole.add_row(weights);
    }
    if whole.0 == 0.0 { Err(Unreduced::EmptyMask) } else { Ok(weighted.0 / whole.0) }
}

/// The spatial map: the sum over layers of D_l resized to `size`. (row, column), rounded to float32
/// at the end.
#[must_use]
pub fn spatial(maps: &[Map], size: Size) -> Vec<f32> {
    let Size { width, height } = size;
    let layers: Vec<Resize<'_>> = maps.iter().map(|map| Resize::new(map, height, width)).collect();
    let mut out = Vec::with_capacity(height * width);
    let mut row = vec![0.0; width];
    for y in 0..height {
        row.fill(0.0);
        layers.iter().for_each(|layer| layer.add_row(y, &mut row));
        out.extend(row.iter().map(|&value| value as f32));
    }
    out
}

impl Map {
    /// As large as the images: each layer's share of the spatial map. Resized bilinearly with
    /// half-pixel centres (`align_corners=False` of PyTorch), in float64, rounded at the end.
    #[must_use]
    pub fn resized(&self, height: usize, width: usize) -> Map {
        let values = spatial(std::slice::from_ref(self), Size { width, height });
        Map { height, width, values }
    }
}

/// A sum of sums of rows, in float64 and in order.
#[derive(Default)]
struct Sum(f64);

impl Sum {
    fn add_row(&mut self, values: impl Iterator<Item = f64>) {
        self.0 += values.fold(0.0, |sum, value| sum + value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(height: usize, width: usize, values: &[f32]) -> Map {
        Map { height, width, values: values.to_vec() }
    }

    fn distance(maps: Vec<Map>, reference_sum: Option<Map>) -> Distance {
        let mean = |map: &Map| map.values.iter().copied().map(f64::from).sum::<f64>();
        let layers = maps.iter().map(|map| mean(map) / map.values.len() as f64).collect();
        Distance { layers, maps, reference_sum, ..Distance::default() }
    }

    #[test]
    fn even_weights_give_the_mean() {
        let maps = vec![map(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]), map(1, 1, &[0.25])];
        let distance = distance(maps, Some(map(3, 2, &[7.0; 6])));
        let expected = reduce(&distance, Reduction::Mean, None).unwrap();
        assert_eq!(expected, [4.0, 0.25]);
        assert_eq!(reduce(&distance, Reduction::Semantic(1), None).unwrap(), expected);
        // A map of the mask's size is not resized.
        let mask = Mask { size: Size { width: 3, height: 2 }, weights: vec![0.5; 6] };
        assert_eq!(reduce(&distance, Reduction::Masked, Some(&mask)).unwrap(), expected);
    }

    #[test]
    fn weights_choose_positions() {
        let maps = vec![map(1, 2, &[1.0, 3.0])];
        let size = Size { width: 2, height: 1 };
        let left = Mask { size, weights: vec![1.0, 0.0] };
        let of_left = distance(maps, Some(map(1, 2, &[0.0, 2.0])));
        assert_eq!(reduce(&of_left, Reduction::Masked, Some(&left)).unwrap(), [1.0]);
        assert_eq!(reduce(&of_left, Reduction::Semantic(0), None).unwrap(), [3.0]);
    }

    #[test]
    fn weights_that_are_all_zero_are_a_reason() {
        let distance = distance(vec![map(1, 2, &[1.0, 3.0])], Some(map(1, 1, &[0.0])));
        assert_eq!(
            reduce(&distance, Reduction::Semantic(4), None),
            Err(Unreduced::NoActivity { tap: 4 })
        );
        let mask = Mask { size: Size { width: 2, height: 2 }, weights: vec![0.0; 4] };
        assert_eq!(reduce(&distance, Reduction::Masked, Some(&mask)), Err(Unreduced::EmptyMask));
    }

    /// The mean of the resized maps, weighted by pixels, is the mean of the spatial map.
    #[test]
    fn a_mask_weights_the_spatial_map() {
        let values = |seed: u32, len: u32| -> Vec<f32> {
            (0..len).map(|i| ((i * 37 + seed * 11) % 23) as f32 / 23.0).collect()
        };
        let maps = vec![map(4, 5, &values(1, 20)), map(3, 2, &values(2, 6))];
        let size = Size { width: 11, height: 7 };
        let mask = Mask { size, weights: values(3, 77) };
        let spatial = spatial(&maps, size);
        let weight: f64 = mask.weights.iter().copied().map(f64::from).sum();
        let pairs = spatial.iter().zip(&mask.weights);
        let weighted: f64 = pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        let layers = reduce(&distance(maps, None), Reduction::Masked, Some(&mask)).unwrap();
        let total: f64 = layers.iter().sum();
        assert!((total - weighted / weight).abs() < 1e-6, "{total}");
    }
}
