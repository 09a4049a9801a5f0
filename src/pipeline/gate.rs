//! Bounds the bytes of decoded images that are in memory.
//!
//! Images are taken in the order of their numbers. The one that is taken next passes even if there
//! is no room, because the later ones in memory cannot leave before it. So the bound is exceeded by
//! at most one image, and no order of decoders is a deadlock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The bound, and how much of it is used.
#[derive(Debug)]
pub(super) struct Gate {
    bytes_max: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    used: u64,
    /// The number of the image that is taken next.
    next: u64,
    is_closed: bool,
}

/// The bytes of one image, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Arc<Gate>,
    bytes: u64,
}

impl Gate {
    pub(super) fn new(bytes_max: u64) -> Arc<Gate> {
        Arc::new(Gate { bytes_max, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Waits until there is room for image `number`; `None` if the gate is closed.
    pub(super) fn pass(self: &Arc<Gate>, number: u64, bytes: u64) -> Option<Permit> {
        let mut state = self.state();
        while !state.is_closed && number > state.next && state.used + bytes > self.bytes_max {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return None;
        }
        state.used += bytes;
        Some(Permit { gate: Arc::clone(self), bytes })
    }

    /// Reports that image `number` is taken next.
    pub(super) fn expect(&self, number: u64) {
        self.state().next = number;
        self.changed.notify_all();
    }

    /// Ends every wait: no image passes any more.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Reduces it to `bytes`, if it is more.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let released = self.bytes.saturating_sub(bytes);
        self.bytes -= released;
        self.gate.state().used -= released;
        self.gate.changed.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_image_passes_and_later_ones_wait_for_room() {
        let gate = Gate::new(10);
        let first = gate.pass(0, 8).unwrap();
        let mut second = gate.pass(1, 2).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| gate.pass(2, 8).map(|permit| permit.bytes));
            second.shrink(1);
            drop(first);
            assert_eq!(third.join().unwrap(), Some(8));
        });
    }

    #[test]
    fn the_image_that_is_expected_passes_a_full_gate_and_a_closed_one_ends_every_wait() {
        let gate = Gate::new(10);
        let _first = gate.pass(0, 10).unwrap();
        gate.expect(1);
        let _second = gate.pass(1, 100).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| gate.pass(2, 1).is_none());
            gate.close();
            assert!(third.join().unwrap());
        });
    }
}
