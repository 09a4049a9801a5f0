//! Memory for images that is lent again and again: to allocate and to clear it takes longer than to
//! copy an image.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::{Lender, Staging};

/// Makes pieces of memory of a length in bytes, at least one.
type Allocate = dyn Fn(usize) -> Vec<Box<dyn Staging>> + Send;

/// Memory that is not lent.
struct Pool {
    /// Of one thread at a time, so that several threads share what is made for them.
    allocate: Mutex<Box<Allocate>>,
    free_bytes_max: usize,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// By length in bytes. The piece that was given back last is lent first: it may be in a cache.
    pieces: BTreeMap<usize, Vec<Box<dyn Staging>>>,
    bytes: usize,
}

/// Lends pieces that `allocate` makes, of a length that `rounded` gives for the bytes that are
/// needed. Of those that were given back it keeps `free_bytes_max`.
pub(super) fn reusing(
    free_bytes_max: usize,
    rounded: fn(usize) -> usize,
    allocate: impl Fn(usize) -> Vec<Box<dyn Staging>> + Send + 'static,
) -> Lender {
    let allocate: Mutex<Box<Allocate>> = Mutex::new(Box::new(allocate));
    let pool = Arc::new(Pool { allocate, free_bytes_max, free: Mutex::default() });
    Lender::new(move |bytes| {
        let memory = pool.take(rounded(bytes));
        Box::new(Lent { memory: Some(memory), pool: Arc::clone(&pool) })
    })
}

/// Lends ordinary memory. Of what was given back it keeps `free_bytes_max`.
pub(super) fn ordinary(free_bytes_max: usize) -> Lender {
    let allocate = |bytes| vec![Box::new(vec![0f32; bytes / size_of::<f32>()]) as _];
    reusing(free_bytes_max, whole_floats, allocate)
}

fn whole_floats(bytes: usize) -> usize {
    bytes.next_multiple_of(size_of::<f32>())
}

impl Pool {
    fn take(&self, bytes: usize) -> Box<dyn Staging> {
        if let Some(free) = self.free().take(bytes) {
            return free;
        }
        let allocate = self.allocate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = self.free().take(bytes) {
            return free;
        }
        let mut made = allocate(bytes);
        let memory = made.pop().unwrap_or_else(|| Box::new(Vec::new()));
        made.into_iter().for_each(|memory| self.give_back(memory));
        memory
    }

    fn give_back(&self, memory: Box<dyn Staging>) {
        let mut dropped = Vec::new();
        let mut free = self.free();
        free.put(memory);
        while free.bytes > self.free_bytes_max {
            dropped.extend(free.take_largest());
        }
        drop(free);
        // Outside of the lock, since it may take long.
        drop(dropped);
    }

    /// A panic elsewhere may poison the lock, but cannot leave the state incomplete.
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn put(&mut self, memory: Box<dyn Staging>) {
        let bytes = memory.bytes().len();
        self.bytes += bytes;
        self.pieces.entry(bytes).or_default().push(memory);
    }

    fn take(&mut self, bytes: usize) -> Option<Box<dyn Staging>> {
        let pieces = self.pieces.get_mut(&bytes)?;
        let memory = pieces.pop();
        if pieces.is_empty() {
            self.pieces.remove(&bytes);
        }
        self.bytes -= memory.as_ref().map_or(0, |memory| memory.bytes().len());
        memory
    }

    fn take_largest(&mut self) -> Option<Box<dyn Staging>> {
        let (&bytes, _) = self.pieces.last_key_value()?;
        self.take(bytes)
    }
}

/// Memory that goes back to its pool when it is dropped.
struct Lent {
    /// `None` only after it was dropped.
    memory: Option<Box<dyn Staging>>,
    pool: Arc<Pool>,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lent({} bytes)", self.bytes().len())
    }
}

impl Staging for Lent {
    fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| memory.bytes())
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| memory.bytes_mut())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.give_back(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchShape, Frame};
    use crate::image::{Depth, Size};

    fn frame(width: usize, lender: &Lender) -> Frame {
        let shape = BatchShape { size: Size { width, height: 1 }, depth: Depth::U8 };
        Frame::lent(shape, lender)
    }

    #[test]
    fn memory_that_was_given_back_is_lent_again() {
        let made = Arc::new(Mutex::new(Vec::new()));
        let counted = Arc::clone(&made);
        let lender = reusing(100, whole_floats, move |bytes| {
            counted.lock().unwrap().push(bytes);
            // Two at a time.
            let piece = || Box::new(vec![0f32; bytes / 4]) as Box<dyn Staging>;
            vec![piece(), piece()]
        });
        let both = [frame(4, &lender), frame(4, &lender)];
        assert_eq!(*made.lock().unwrap(), [12]);
        drop(both);
        let mut third = frame(3, &lender);
        third.bytes_mut().fill(7);
        assert_eq!(third.bytes(), [7; 9]);
        assert_eq!(*made.lock().unwrap(), [12], "9 bytes are 12, aligned for floats");
        let _larger = frame(5, &lender);
        assert_eq!(*made.lock().unwrap(), [12, 16]);
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        let lender = ordinary(24);
        let of = |width: usize| frame(width, &lender);
        drop([of(4), of(4), of(8)]);
        // The large one went first. Both small ones are there, and were written before.
        let mut two = [of(4), of(4)];
        two.iter_mut().for_each(|frame| frame.bytes_mut().fill(1));
        drop(two);
        assert_eq!([of(4), of(8)].map(|frame| frame.bytes()[0]), [1, 0]);
    }
}
