//! The nets on a GPU in one precision, prepared for each size of images that occurred.

use std::rc::Rc;

use super::conv::{Engine, SharedConvs};
use super::driver::{Fault, Stream};
use super::kernels::Kernels;
use super::memory::{Capacity, Limits, Needs, pairs_bytes};
use super::packs::Packs;
use super::parameters::Parameters;
use super::walk::{MicroBatch, Prepared, Resources, SlotLayout, TestData};
use crate::batch::Grouping;
use crate::eval::{Precision, Unscored};
use crate::image::Size;

/// The nets in one precision, and what was prepared for each size of images.
pub(super) struct Nets {
    pub(super) precision: Precision,
    pub(super) parameters: Vec<Parameters>,
    limits: Limits,
    convs: SharedConvs,
    test_data: TestData,
    /// At most [`Limits::sizes`], most recently used last.
    sizes: Vec<((Size, Grouping), Rc<PreparedSize>)>,
}

/// Everything that is prepared for images of one size.
pub(super) struct PreparedSize {
    /// The images and pairs of a micro-batch.
    pub(super) capacity: Capacity,
    pub(super) nets: Vec<Result<Prepared, Unscored>>,
    /// Memory with one slot, without its pixels.
    pub(super) needs: Needs,
    /// Numbers that kernels read, which a slot holds before the indices of its pairs.
    pub(super) tables: Vec<u8>,
}

impl Nets {
    pub(super) fn upload(packs: &Packs, limits: Limits, stream: &Stream) -> Result<Nets, Fault> {
        let parameters = Parameters::upload_all(packs, stream)?;
        let test_data = TestData::new(&parameters, stream)?;
        let (convs, sizes) = (SharedConvs::default(), Vec::new());
        Ok(Nets { precision: packs.precision, parameters, limits, convs, test_data, sizes })
    }

    /// What is prepared for images of `size`, in batches of this grouping. Pairs of a size that
    /// needs more than `usable_bytes` of the device get no score.
    pub(super) fn shape(
        &mut self,
        (size, grouping): (Size, Grouping),
        engine: &dyn Engine,
        kernels: &Kernels,
        usable_bytes: u64,
    ) -> Result<Rc<PreparedSize>, Fault> {
        let key = (size, grouping);
        if let Some(index) = self.sizes.iter().position(|(known, _)| *known == key) {
            self.sizes[index..].rotate_left(1);
            return Ok(Rc::clone(&self.sizes[self.sizes.len() - 1].1));
        }
        if self.sizes.len() >= self.limits.sizes {
            // Micro-batches in flight keep what they use.
            self.sizes.remove(0);
        }
        let pair_bytes = self.parameters.iter().map(|parameters| parameters.pair_bytes(size)).sum();
        let images = self.limits.micro_images(size);
        let capacity = Capacity::new(images, grouping, pair_bytes);
        let (mut needs, mut slot) = (Needs::default(), SlotLayout::default());
        let mut nets = Vec::new();
        for parameters in &self.parameters {
            let (of_size, limit) = ((size, capacity), self.limits.activation_bytes);
            let convs = (engine, &mut self.convs);
            let mut with_net = slot.clone();
            let prepared =
                Prepared::new(parameters, convs, kernels, of_size, limit, &mut with_net)?;
            let prepared = prepared.and_then(|prepared| {
                let mut with = needs.max(prepared.needs);
                with.results = with_net.results_bytes;
                with.indices = with_net.tables.len() + pairs_bytes(capacity.pairs);
                if with.total() > usable_bytes {
                    let (needed, usable) = (shown(with.total()), shown(usable_bytes));
                    let reason = format!("it takes {needed} of GPU memory, {usable} are usable");
                    return Err(Unscored::TooLarge { net: parameters.net.name, size, reason });
                }
                (needs, slot) = (with, with_net);
                Ok(prepared)
            });
            nets.push(prepared);
        }
        let shape = Rc::new(PreparedSize { capacity, nets, needs, tables: slot.tables });
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

    /// Rehearses the convolutions of one size that were not rehearsed yet. Its memory must be
    /// allocated.
    pub(super) fn rehearse(
        &self,
        shape: &PreparedSize,
        resources: Resources<'_>,
    ) -> Result<(), Fault> {
        for (parameters, prepared) in self.parameters.iter().zip(&shape.nets) {
            if let Ok(prepared) = prepared {
                prepared.rehearse(parameters, &self.test_data, resources)?;
            }
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
