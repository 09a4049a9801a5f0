//! What is prepared on a GPU: the nets in one precision, for every size of images that came by.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::conv::Engine;
use super::driver::{Fault, Stream};
use super::kernels::Kernels;
use super::memory::{Needs, Room};
use super::parameters::Parameters;
use super::walk::{Bench, Micro, Prepared};
use crate::eval::{Model, Precision, Unscored};
use crate::image::Size;

/// Sizes of images whose preparation is kept.
const SHAPES_MAX: usize = 64;

/// The nets in one precision, and what was prepared for sizes of images.
pub(super) struct Pass {
    pub(super) precision: Precision,
    pub(super) nets: Vec<Parameters>,
    /// By size, and whether it is for cliques.
    shapes: HashMap<(Size, bool), Rc<Shape>>,
}

/// Everything that is prepared for images of one size.
pub(super) struct Shape {
    /// Of a micro-batch.
    pub(super) room: Room,
    pub(super) nets: Vec<Result<Prepared, Unscored>>,
    /// With one slot, but for the pixels.
    pub(super) needs: Needs,
    /// Whether the nets were rehearsed.
    is_rehearsed: Cell<bool>,
}

impl Pass {
    pub(super) fn upload(
        models: &[Model],
        engine: &dyn Engine,
        precision: Precision,
        stream: &Stream,
    ) -> Result<Pass, Fault> {
        let nets = models.iter().map(|model| Parameters::upload(model, engine, precision, stream));
        Ok(Pass { precision, nets: nets.collect::<Result<_, _>>()?, shapes: HashMap::new() })
    }

    /// What is prepared for images of `size`, in cliques or in pairs. The device must not be able
    /// to hold more than `total_bytes`, or a pair of that size has no score.
    pub(super) fn shape(
        &mut self,
        (size, is_clique): (Size, bool),
        engine: &dyn Engine,
        on: (&Kernels, &Stream),
        total_bytes: u64,
    ) -> Result<Rc<Shape>, Fault> {
        if let Some(shape) = self.shapes.get(&(size, is_clique)) {
            return Ok(Rc::clone(shape));
        }
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
        }
        let pair_bytes = self.nets.iter().map(|parameters| parameters.pair_bytes(size)).sum();
        let room = Room::new(size, is_clique, pair_bytes);
        let indices = size_of::<u32>() * 2 * room.pairs;
        let mut needs = Needs { indices, ..Needs::default() };
        let mut nets = Vec::new();
        for parameters in &self.nets {
            let start = needs.results;
            let prepared = Prepared::new(parameters, engine, on, (size, room), start)?;
            let prepared = prepared.and_then(|prepared| {
                let with = needs.max(prepared.needs);
                if with.total() > total_bytes {
                    let (needed, total) = (shown(with.total()), shown(total_bytes));
                    let reason = format!("it takes {needed} of GPU memory, of {total} in all");
                    return Err(Unscored::TooLarge { net: parameters.net.name(), size, reason });
                }
                needs = with;
                Ok(prepared)
            });
            nets.push(prepared);
        }
        let shape = Rc::new(Shape { room, nets, needs, is_rehearsed: Cell::new(false) });
        self.shapes.insert((size, is_clique), Rc::clone(&shape));
        Ok(shape)
    }

    /// Queues walks of all nets over a micro-batch.
    pub(super) fn walk(&self, shape: &Shape, bench: Bench<'_>, micro: Micro) -> Result<(), Fault> {
        for (parameters, prepared) in self.nets.iter().zip(&shape.nets) {
            if let Ok(prepared) = prepared {
                prepared.walk(parameters, bench, micro)?;
            }
        }
        Ok(())
    }

    /// Rehearses what is prepared for one size, once. There must be memory for it.
    pub(super) fn rehearse(&self, shape: &Shape, bench: Bench<'_>) -> Result<(), Fault> {
        if !shape.is_rehearsed.get() {
            for (parameters, prepared) in self.nets.iter().zip(&shape.nets) {
                if let Ok(prepared) = prepared {
                    prepared.rehearse(parameters, bench)?;
                }
            }
            shape.is_rehearsed.set(true);
        }
        Ok(())
    }
}

/// Bytes for people.
pub(super) fn shown(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    }
}
