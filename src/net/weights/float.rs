//! The floats that checkpoints store, as float32.

use half::{bf16, f16};
use safetensors::Dtype;

/// A type of floats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// The type of a PyTorch tensor, if it holds floats.
    pub(super) fn of_torch(dtype: pytorch_reader::DType) -> Option<Float> {
        match dtype {
            pytorch_reader::DType::F16 => Some(Float::F16),
            pytorch_reader::DType::BF16 => Some(Float::Bf16),
            pytorch_reader::DType::F32 => Some(Float::F32),
            pytorch_reader::DType::F64 => Some(Float::F64),
            _ => None,
        }
    }

    /// The type of a safetensors tensor, if it holds floats of a size that is read.
    pub(super) fn of_safetensors(dtype: Dtype) -> Option<Float> {
        match dtype {
            Dtype::F16 => Some(Float::F16),
            Dtype::BF16 => Some(Float::Bf16),
            Dtype::F32 => Some(Float::F32),
            Dtype::F64 => Some(Float::F64),
            _ => None,
        }
    }

    /// Bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Float::F16 | Float::Bf16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    /// The little-endian values of `bytes`, and how many of them float32 cannot hold exactly.
    pub(super) fn values(self, bytes: &[u8]) -> (Vec<f32>, usize) {
        fn all<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|bytes| value(*bytes)).collect()
        }
        let values = match self {
            Float::F16 => all(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Float::Bf16 => all(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Float::F32 => all(bytes, f32::from_le_bytes),
            Float::F64 => all(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        };
        let wide = bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
        let is_rounded = |(value, wide): &(&f32, f64)| f64::from(**value) != *wide;
        let rounded = match self {
            Float::F64 => values.iter().zip(wide).filter(is_rounded).count(),
            Float::F16 | Float::Bf16 | Float::F32 => 0,
        };
        (values, rounded)
    }

    /// What becomes of a float32 that is stored in this type.
    pub(super) fn stored(self, value: f32) -> f32 {
        match self {
            Float::F16 => f16::from_f32(value).to_f32(),
            Float::Bf16 => bf16::from_f32(value).to_f32(),
            Float::F32 | Float::F64 => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_exact_and_doubles_say_how_many_are_not() {
        let halves: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for (float, value) in [
            (Float::F16, (|bits| f16::from_bits(bits).to_f64()) as fn(u16) -> f64),
            (Float::Bf16, |bits| bf16::from_bits(bits).to_f64()),
        ] {
            let (values, rounded) = float.values(&halves);
            assert_eq!(rounded, 0);
            for (bits, found) in (0..=u16::MAX).zip(values) {
                let expected = value(bits);
                let is_same = f64::from(found) == expected || found.is_nan() && expected.is_nan();
                assert!(is_same && (found.is_nan() || float.stored(found) == found), "{bits:04x}");
            }
        }
        let wide = [0.5, -0.1, f64::from(0.1f32), 1e-300].map(f64::to_le_bytes).concat();
        assert_eq!(Float::F64.values(&wide), (vec![0.5, -0.1, 0.1, 0.0], 2));
    }
}
