//! Memory for images that is lent again and again: to allocate and to clear it takes longer than to
//! copy an image.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::batch::{Lender, Staging};

/// Makes pieces of memory of a length in bytes, at least one.
type Allocate = dyn Fn(usize) -> Vec<Box<dyn Staging>> + Send;

/// Lends pieces of memory, and keeps some of those that were given back.
#[derive(Clone)]
pub(super) struct Lending(Arc<Pool>);

/// Memory that is not lent.
struct Pool {
    /// The length in bytes of a piece for so many.
    rounded: fn(usize) -> usize,
    /// Of one thread at a time, so that several threads share what is made for them.
    allocate: Mutex<Box<Allocate>>,
    free: Mutex<Free>,
}

/// The piece that was given back last is lent first: it may be in a cache. The one that was given
/// back first is dropped first: images may have another size by now.
#[derive(Debug)]
struct Free {
    pieces: VecDeque<Box<dyn Staging>>,
    bytes: usize,
    bytes_max: usize,
}

impl Lending {
    /// Lends pieces that `allocate` makes, of a length that `rounded` gives for the bytes that are
    /// needed. Of those that were given back it keeps `free_bytes_max`.
    pub(super) fn new(
        free_bytes_max: usize,
        rounded: fn(usize) -> usize,
        allocate: impl Fn(usize) -> Vec<Box<dyn Staging>> + Send + 'static,
    ) -> Lending {
        let free = Free { pieces: VecDeque::new(), bytes: 0, bytes_max: free_bytes_max };
        let allocate: Mutex<Box<Allocate>> = Mutex::new(Box::new(allocate));
        Lending(Arc::new(Pool { rounded, allocate, free: Mutex::new(free) }))
    }

    pub(super) fn lender(&self) -> Lender {
        let pool = Arc::clone(&self.0);
        Lender::new(move |bytes| {
            let memory = pool.take((pool.rounded)(bytes));
            Box::new(Lent { memory: Some(memory), pool: Arc::clone(&pool) })
        })
    }

    /// Keeps nothing from now on, and lends ordinary memory: threads that still borrow may live
    /// longer than the device.
    pub(super) fn close(&self) {
        *self.0.allocate() = Box::new(of_host);
        let mut free = self.0.free();
        (free.bytes, free.bytes_max) = (0, 0);
        let pieces = std::mem::take(&mut free.pieces);
        drop(free);
        drop(pieces);
    }
}

impl std::fmt::Debug for Lending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lending").field(&*self.0.free()).finish()
    }
}

/// Lends ordinary memory. Of what was given back it keeps `free_bytes_max`.
pub(super) fn ordinary(free_bytes_max: usize) -> Lender {
    Lending::new(free_bytes_max, whole_floats, of_host).lender()
}

/// One piece of ordinary memory, of whole floats.
pub(super) fn of_host(bytes: usize) -> Vec<Box<dyn Staging>> {
    vec![Box::new(vec![0f32; bytes / size_of::<f32>()])]
}

/// Whole floats that hold so many bytes.
fn whole_floats(bytes: usize) -> usize {
    bytes.next_multiple_of(size_of::<f32>())
}

impl Pool {
    fn take(&self, bytes: usize) -> Box<dyn Staging> {
        if let Some(free) = self.free().take(bytes) {
            return free;
        }
        let allocate = self.allocate();
        if let Some(free) = self.free().take(bytes) {
            return free;
        }
        let mut made = allocate(bytes);
        let memory = made.pop().unwrap_or_else(|| Box::new(Vec::new()));
        made.into_iter().for_each(|memory| self.give_back(memory));
        memory
    }

    fn give_back(&self, memory: Box<dyn Staging>) {
        let dropped = self.free().put(memory);
        // Outside of the lock, since it may take long.
        drop(dropped);
    }

    /// A panic elsewhere may poison the locks, but cannot leave what they guard incomplete.
    fn allocate(&self) -> MutexGuard<'_, Box<Allocate>> {
        self.allocate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    /// Keeps a piece; gives those that are no longer kept.
    fn put(&mut self, memory: Box<dyn Staging>) -> Vec<Box<dyn Staging>> {
        self.bytes += memory.bytes().len();
        self.pieces.push_back(memory);
        let mut dropped = Vec::new();
        while self.bytes > self.bytes_max {
            let oldest = self.pieces.pop_front();
            self.bytes -= oldest.as_ref().map_or(self.bytes, |oldest| oldest.bytes().len());
            dropped.extend(oldest);
        }
        dropped
    }

    fn take(&mut self, bytes: usize) -> Option<Box<dyn Staging>> {
        let at = self.pieces.iter().rposition(|piece| piece.bytes().len() == bytes)?;
        self.bytes -= bytes;
        self.pieces.remove(at)
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
        let lending = Lending::new(100, whole_floats, move |bytes| {
            counted.lock().unwrap().push(bytes);
            // Two at a time.
            let piece = || Box::new(vec![0f32; bytes / 4]) as Box<dyn Staging>;
            vec![piece(), piece()]
        });
        let lender = lending.lender();
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
    fn no_more_is_kept_than_was_said_and_what_was_used_last_stays() {
        let lending = Lending::new(24, whole_floats, of_host);
        let lender = lending.lender();
        let of = |width: usize| frame(width, &lender);
        let mut all = [of(4), of(4), of(8)];
        all.iter_mut().for_each(|frame| frame.bytes_mut().fill(1));
        drop(all);
        // Both small ones went, and the large one stays.
        assert_eq!([of(8), of(4)].map(|frame| frame.bytes()[0]), [1, 0]);
        lending.close();
        let mut last = of(8);
        assert_eq!(last.bytes()[0], 0, "nothing is kept any more");
        last.bytes_mut().fill(1);
        drop(last);
        assert_eq!(of(8).bytes()[0], 0);
    }
}
