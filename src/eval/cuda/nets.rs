//! The nets on a GPU in one precision, prepared for each size of images that occurred.

use std::cell::Cell;
use std::rc::Rc;

use super::conv::Engine;
use super::driver::{Fault, Stream};
use super::kernels::Kernels;
use super::memory::{Capacity, Limits, Needs};
use super::packs::Packs;
use super::parameters::Parameters;
use super::walk::{MicroBatch, Prepared, Resources};
use crate::batch::Grouping;
use crate::eval::{Precision, Unscored};
use crate::image::Size;

/// Largest number of image sizes whose preparation is kept. The one that was used least recently is
/// dropped first.
const SIZES_MAX: usize = 64;

/// The nets in one precision, and what was prepared for each size of images.
pub(super) struct Nets {
    pub(super) precision: Precision,
    pub(super) parameters: Vec<Parameters>,
    limits: Limits,
    /// Most recently used last.
    sizes: Vec<((Size, Grouping), Rc<PreparedSize>)>,
}

/// Everything that is prepared for images of one size.
pub(super) struct PreparedSize {
    /// The images and pairs of a micro-batch.
    pub(super) capacity: Capacity,
    pub(super) nets: Vec<Result<Prepared, Unscored>>,
    /// Memory for one slot, without its pixels.
    pub(super) needs: Needs,
    /// Whether the nets were rehearsed.
    is_rehearsed: Cell<bool>,
}

impl Nets {
    pub(super) fn upload(packs: &Packs, limits: Limits, stream: &Stream) -> Result<Nets, Fault> {
        let parameters = Parameters::upload_all(packs, stream)?;
        Ok(Nets { precision: packs.precision, parameters, limits, sizes: Vec::new() })
    }

    /// What is prepared for images of `size`, in batches of this grouping. Pairs of a size that
    /// needs more than the device's `total_bytes` get no score.
    pub(super) fn shape(
        &mut self,
        (size, grouping): (Size, Grouping),
        engine: &dyn Engine,
        on: (&Kernels, &Stream),
        total_bytes: u64,
    ) -> Result<Rc<PreparedSize>, Fault> {
        let key = (size, grouping);
        if let Some(index) = self.sizes.iter().position(|(known, _)| *known == key) {
            self.sizes[index..].rotate_left(1);
            return Ok(Rc::clone(&self.sizes[self.sizes.len() - 1].1));
        }
        if self.sizes.len() == SIZES_MAX {
            // Micro-batches in flight keep what they use.
            self.sizes.remove(0);
        }
        let pair_bytes = self.parameters.iter().map(|parameters| parameters.pair_bytes(size)).sum();
        let images = self.limits.micro_images(size);
        let capacity = Capacity::new(images, grouping, pair_bytes);
        let indices = size_of::<u32>() * 2 * capacity.pairs;
        let mut needs = Needs { indices, ..Needs::default() };
        let mut nets = Vec::new();
        for parameters in &self.parameters {
            let start = needs.results;
            let (of_size, limit) = ((size, capacity), self.limits.activation_bytes);
            let prepared = Prepared::new(parameters, engine, on, of_size, limit, start)?;
            let prepared = prepared.and_then(|prepared| {
                let with = needs.max(prepared.needs);
                if with.total() > total_bytes {
                    let (needed, total) = (shown(with.total()), shown(total_bytes));
                    let reason = format!("it takes {needed} of GPU memory, of {total} in all");
                    return Err(Unscored::TooLarge { net: parameters.net.name, size, reason });
                }
                needs = with;
                Ok(prepared)
            });
            nets.push(prepared);
        }
        let shape = Rc::new(PreparedSize { capacity, nets, needs, is_rehearsed: Cell::new(false) });
        self.sizes.push((key, Rc::clone(&shape)));
        Ok(shape)
    }

    /// Queues walks of all nets over a micro-batch.
    pub(super) fn walk(
        &self,
        shape: &PreparedSize,
        resources: Resources<'_>,
        micro: MicroBatch,
    ) -> Result<(), Fault> {
        for (parameters, prepared) in self.parameters.iter().zip(&shape.nets) {
            if let Ok(prepared) = prepared {
                prepared.walk(parameters, resources, micro)?;
            }
        }
        Ok(())
    }

    /// Rehearses what is prepared for one size, once. Its memory must be allocated.
    pub(super) fn rehearse(
        &self,
        shape: &PreparedSize,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        if !shape.is_rehearsed.get() {
            for (parameters, prepared) in self.parameters.iter().zip(&shape.nets) {
                if let Ok(prepared) = prepared {
                    prepared.rehearse(parameters, resources)?;
                }
            }
            shape.is_rehearsed.set(true);
        }
        Ok(())
    }
}

/// Bytes as text for messages.
pub(super) fn shown(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    }
}
