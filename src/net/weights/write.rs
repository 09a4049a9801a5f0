//! Weights as a safetensors file: the names of weights/README.md, the bytes that
//! scripts/fetch_weights.py makes.

use std::collections::BTreeMap;

use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{Lin, Trunk};

/// Named tensors with their shapes, as little-endian float32.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// A trunk under torchvision's names, and lin weights as `lin<layer>.weight`.
#[must_use]
pub fn tensors_of(trunk: Option<&Trunk>, lin: Option<&Lin>) -> Tensors {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let convs = trunk.into_iter().flat_map(|trunk| &trunk.convs).flat_map(|conv| {
        let (name, shape) = (&conv.spec.name, conv.spec.weight_shape().to_vec());
        [
            (format!("{name}.weight"), (shape, bytes(&conv.weight))),
            (format!("{name}.bias"), (vec![conv.spec.c_out], bytes(&conv.bias))),
        ]
    });
    let layers = lin.into_iter().flat_map(|lin| lin.layers.iter().enumerate());
    let layers = layers
        .map(|(layer, values)| (format!("lin{layer}.weight"), (vec![values.len()], bytes(values))));
    convs.chain(layers).collect()
}

/// The content of a safetensors file.
///
/// # Errors
/// When the crate refuses the tensors.
pub fn safetensors_of(tensors: &Tensors) -> anyhow::Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
    });
    let views: Vec<_> = views.collect::<anyhow::Result<_>>()?;
    Ok(safetensors::serialize(views, None)?)
}

#[cfg(test)]
mod tests {
    use super::super::{ALEX_SHA256, Source};
    use super::*;
    use crate::hash::sha256_hex;
    use crate::net::Net;

    #[test]
    fn a_published_trunk_is_written_with_the_published_bytes() {
        let trunk = Trunk::load(Net::Alex, &Source::Embedded).unwrap();
        let bytes = safetensors_of(&tensors_of(Some(&trunk), None)).unwrap();
        assert_eq!(sha256_hex(&bytes), ALEX_SHA256);
    }
}
