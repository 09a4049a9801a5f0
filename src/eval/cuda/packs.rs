//! The parameters of a run's models, packed for upload once for all GPUs, while these are opened.

use std::sync::{Arc, OnceLock};

use super::conv::{Packed, Packing};
use crate::eval::{Model, Precision};

/// See the module's head.
#[derive(Debug)]
pub(super) struct Packs {
    pub(super) models: Arc<Vec<Model>>,
    pub(super) packing: Packing,
    pub(super) precision: Precision,
    packed: OnceLock<Vec<Arc<[Packed]>>>,
}

impl Packs {
    pub(super) fn new(models: Arc<Vec<Model>>, packing: Packing, precision: Precision) -> Packs {
        Packs { models, packing, precision, packed: OnceLock::new() }
    }

    /// Begins to pack, while GPUs are opened.
    pub(super) fn begin(packs: &Arc<Packs>) {
        let packs = Arc::clone(packs);
        rayon::spawn(move || {
            packs.packed();
        });
    }

    /// The parameters of each model's convolutions, which the first caller packs while others wait.
    /// Models with the same trunk share them.
    pub(super) fn packed(&self) -> &[Arc<[Packed]>] {
        self.packed.get_or_init(|| {
            let mut all: Vec<Arc<[Packed]>> = Vec::with_capacity(self.models.len());
            for model in self.models.iter() {
                let same = self.models.iter().zip(&all).find(|(it, _)| it.trunk.is(&model.trunk));
                let packed = match same {
                    Some((_, packed)) => Arc::clone(packed),
                    None => self.packing.pack_all(&model.trunk.convs).into(),
                };
                all.push(packed);
            }
            all
        })
    }
}
