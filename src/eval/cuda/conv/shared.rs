//! Convolutions that layers, nets and sizes of images share.
//!
//! Whether a convolution can be used follows from its geometry, the precision, the library and the
//! GPU. So all layers of one geometry use one prepared convolution, which is rehearsed once.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use super::{Conv, Engine, Geometry};
use crate::eval::Precision;
use crate::eval::cuda::driver::Fault;

/// A prepared convolution.
pub(in crate::eval::cuda) struct SharedConv {
    pub(in crate::eval::cuda) conv: Box<dyn Conv>,
    /// Whether the rehearsal found it usable.
    pub(in crate::eval::cuda) is_rehearsed: Cell<bool>,
}

/// The convolutions of one precision that some prepared size uses.
#[derive(Default)]
pub(in crate::eval::cuda) struct SharedConvs {
    in_use: HashMap<Geometry, Weak<SharedConv>>,
}

impl SharedConvs {
    /// The convolution of this geometry. It is prepared now, unless another layer or size has it.
    pub(in crate::eval::cuda) fn get(
        &mut self,
        engine: &dyn Engine,
        geometry: Geometry,
        precision: Precision,
    ) -> Result<Rc<SharedConv>, Fault> {
        if let Some(conv) = self.in_use.get(&geometry).and_then(Weak::upgrade) {
            return Ok(conv);
        }
        self.in_use.retain(|_, conv| conv.strong_count() > 0);
        let conv = engine.prepare(geometry, precision)?;
        let conv = Rc::new(SharedConv { conv, is_rehearsed: Cell::new(false) });
        self.in_use.insert(geometry, Rc::downgrade(&conv));
        Ok(conv)
    }
}
