//! The bands of nets and sizes that were used recently.
//!
//! A data set may have as many sizes as images. What is kept of them is bounded: the entry that was
//! used least recently leaves first.

use std::sync::{Arc, Mutex, PoisonError};

use super::bands::{Bands, Limits};
use crate::image::Size;
use crate::isa::Isa;
use crate::net::NetSpec;
use crate::net::plan::TooSmall;

/// Entries that are kept: more than the nets and sizes of the batches that are open and in flight.
const KEPT: usize = 32;

/// A bounded cache of [`Bands`].
#[derive(Debug)]
pub(super) struct Plans {
    isa: Isa,
    limits: Limits,
    /// Most recently used last.
    kept: Mutex<Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    net: &'static str,
    size: Size,
    bands: Result<Arc<Bands>, TooSmall>,
}

impl Plans {
    pub(super) fn new(isa: Isa, limits: Limits) -> Plans {
        Plans { isa, limits, kept: Mutex::default() }
    }

    /// The instruction set that is planned for.
    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// How a net is computed for images of `size`.
    ///
    /// # Errors
    /// When the images are too small.
    pub(super) fn bands(&self, net: &'static NetSpec, size: Size) -> Result<Arc<Bands>, TooSmall> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|entry| (entry.net, entry.size) == (net.name, size));
        let entry = match known {
            Some(index) => kept.remove(index),
            None => {
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                let bands = Bands::new(net, size, self.isa, self.limits).map(Arc::new);
                Entry { net: net.name, size, bands }
            }
        };
        let bands = entry.bands.clone();
        kept.push(entry);
        bands
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Net;

    #[test]
    fn the_least_recently_used_bands_leave() {
        let plans = Plans::new(Isa::Portable, Limits::USUAL);
        let bands = |side: usize| {
            plans.bands(Net::Alex.spec(), Size { width: side, height: side }).unwrap()
        };
        let first = bands(64);
        for side in 65..200 {
            assert!(Arc::ptr_eq(&bands(64), &first));
            bands(side);
        }
        assert_eq!(plans.kept.lock().unwrap().len(), KEPT);
        let second = bands(199);
        for side in 300..300 + KEPT - 1 {
            bands(side);
        }
        assert!(Arc::ptr_eq(&bands(199), &second) && !Arc::ptr_eq(&bands(64), &first));
    }
}
