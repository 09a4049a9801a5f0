//! The images between the thread that takes them and the threads that decode them.
//!
//! Images are numbered in the order of the feed, and taken in that order, whichever thread is done
//! first. One lock guards all of it: what is to be decoded, what is decoded, and the bytes that
//! decoded images take.
//!
//! Memory: an image waits for room before it is decoded. The one that is taken next passes even if
//! there is no room, because the later ones in memory cannot leave before it. So the bound is
//! exceeded by at most one image, and no order of decoders is a deadlock. Few images are decoded
//! ahead, unless they are small.
//!
//! Waking: where decoders are the slower side, a thread that woke for every small image would take
//! a core from them each time. It wakes when half of the images that were given are decoded, or
//! many bytes, or a decoder waits for room, and takes several at once.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::feed::Task;
use super::{DECODED_PER_THREAD, SIGNAL_CHECKED_EVERY};
use crate::batch::Frame;
use crate::error::Failure;
use crate::image::Image;
use crate::signals::Stop;

/// Decoded bytes for which the taking thread wakes, since decoding them takes longer than waking,
/// and after which it takes no more at once.
const MANY_BYTES: u64 = 1 << 20;

/// Images for each decoding thread that are given, and of which the headers may be read.
const GIVEN_PER_THREAD: usize = 16;

/// While all decoded images take less than this, as many are decoded as were given.
const SMALL_BYTES: u64 = 4 << 20;

/// Images that were given and not taken.
#[derive(Debug)]
pub(super) struct Queue {
    threads: usize,
    bytes_max: u64,
    state: Mutex<State>,
    /// There are jobs.
    given: Condvar,
    /// There may be room.
    room: Condvar,
    /// There are images to take.
    decoded: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What no thread has begun to decode.
    jobs: VecDeque<Job>,
    /// All images that were given and not taken, `None` until they are decoded.
    images: VecDeque<Option<anyhow::Result<Decoded>>>,
    /// The number of the first of them.
    first: u64,
    /// How many of them are decoded, and what those take.
    decoded: usize,
    decoded_bytes: u64,
    /// The number of the image that passes without room.
    expected: u64,
    /// Bytes of the images that are decoded or being decoded, until their permits are dropped.
    used: u64,
    /// Images that threads work on.
    claimed: usize,
    /// Threads that wait for a job, for room, and for images.
    idle: usize,
    blocked: usize,
    is_awaited: bool,
    is_closed: bool,
}

/// An image to decode.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) path: PathBuf,
}

/// An image that was decoded, or why it was not.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) task: Task,
    pub(super) image: Result<Image<Arc<Frame>>, Failure>,
    /// Of the memory that the image takes; none if it was refused from its header.
    pub(super) permit: Option<Permit>,
}

/// The duty to decode an image: dropped without a result, it reports that the thread has died.
#[derive(Debug)]
pub(super) struct Claim {
    queue: Arc<Queue>,
    number: u64,
    is_done: bool,
}

/// The bytes of one image, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    queue: Arc<Queue>,
    bytes: u64,
}

impl Queue {
    /// For so many decoding threads. Decoded images take at most `bytes_max`, or one image more.
    pub(super) fn new(threads: usize, bytes_max: u64) -> Arc<Queue> {
        Arc::new(Queue {
            threads,
            bytes_max,
            state: Mutex::default(),
            given: Condvar::new(),
            room: Condvar::new(),
            decoded: Condvar::new(),
        })
    }

    /// Gives images to the decoders, as many as it may. `next` finds them, until there are no more;
    /// it runs without the lock.
    ///
    /// # Errors
    /// That of `next`. What it found before is given.
    pub(super) fn give<E>(
        &self,
        mut next: impl FnMut() -> Result<Option<Job>, E>,
    ) -> Result<(), E> {
        let room = (GIVEN_PER_THREAD * self.threads).saturating_sub(self.state().images.len());
        let (mut jobs, mut failed) = (Vec::with_capacity(room), Ok(()));
        while jobs.len() < room {
            match next() {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => break,
                Err(error) => {
                    failed = Err(error);
                    break;
                }
            }
        }
        let mut state = self.state();
        state.images.extend(jobs.iter().map(|_| None));
        state.jobs.extend(jobs);
        if state.idle > 0 {
            self.given.notify_all();
        }
        failed
    }

    /// The next image to decode, as soon as there is one; `None` when the queue is closed.
    pub(super) fn next_job(self: &Arc<Queue>) -> Option<(Job, Claim)> {
        let mut state = self.state();
        while !state.is_closed {
            if let Some(job) = state.jobs.pop_front() {
                let number = state.first + (state.images.len() - state.jobs.len() - 1) as u64;
                state.claimed += 1;
                return Some((job, Claim { queue: Arc::clone(self), number, is_done: false }));
            }
            state.idle += 1;
            state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        None
    }

    /// The next images in the order in which they were given: at least one, and more of those that
    /// are decoded if they are small. Nothing when all were taken, or after a signal. In the place
    /// of an image that the machine could not read is its error.
    pub(super) fn take(&self, stop: &Stop) -> VecDeque<anyhow::Result<Decoded>> {
        let (mut taken, mut taken_bytes) = (VecDeque::new(), 0);
        let mut state = self.state();
        state.expected = state.first;
        if state.blocked > 0 {
            self.room.notify_all();
        }
        while stop.signal().is_none() && !state.images.is_empty() {
            while taken_bytes < MANY_BYTES
                && let Some(decoded) = state.images.front_mut().and_then(Option::take)
            {
                let bytes = bytes_of(&decoded);
                state.images.pop_front();
                state.first += 1;
                state.decoded -= 1;
                state.decoded_bytes -= bytes;
                taken_bytes += bytes;
                taken.push_back(decoded);
            }
            if !taken.is_empty() {
                // What waits for room may be near enough now.
                if state.blocked > 0 {
                    self.room.notify_all();
                }
                break;
            }
            state.is_awaited = true;
            let waited = self.decoded.wait_timeout(state, SIGNAL_CHECKED_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.is_awaited = false;
        }
        taken
    }

    /// Ends every wait. What was not taken is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let dropped = std::mem::take(&mut state.images);
        state.jobs.clear();
        drop(state);
        self.given.notify_all();
        self.room.notify_all();
        // Their permits take the lock.
        drop(dropped);
    }

    /// Waits until no thread works on an image any more, for so long at most.
    pub(super) fn wait_for_threads(&self, at_most: Duration) {
        let is_busy = |state: &mut State| state.claimed > 0;
        drop(self.decoded.wait_timeout_while(self.state(), at_most, is_busy));
    }

    /// A panic elsewhere may poison the lock, but cannot leave the state incomplete.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(decoded: &anyhow::Result<Decoded>) -> u64 {
    let permit = decoded.as_ref().ok().and_then(|decoded| decoded.permit.as_ref());
    permit.map_or(0, |permit| permit.bytes)
}

impl State {
    /// Whether image `number` may be decoded now.
    fn has_room(&self, queue: &Queue, number: u64, bytes: u64) -> bool {
        let used = self.used + bytes;
        let is_near = number < self.first + (DECODED_PER_THREAD * queue.threads) as u64;
        number <= self.expected || used <= queue.bytes_max && (is_near || used <= SMALL_BYTES)
    }

    /// Whether there is an image to take, and enough reason to wake the thread that takes it.
    fn is_worth_waking(&self) -> bool {
        let is_decoded = self.images.front().is_some_and(Option::is_some);
        let are_many = 2 * self.decoded >= self.images.len() || self.decoded_bytes >= MANY_BYTES;
        self.is_awaited && is_decoded && (are_many || self.blocked > 0)
    }
}

impl Claim {
    /// Waits until there is room for the image; `None` if the queue is closed.
    pub(super) fn admit(&self, bytes: u64) -> Option<Permit> {
        let queue = &self.queue;
        let mut state = queue.state();
        while !state.is_closed && !state.has_room(queue, self.number, bytes) {
            state.blocked += 1;
            if state.is_worth_waking() {
                queue.decoded.notify_one();
            }
            state = queue.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked -= 1;
        }
        if state.is_closed {
            return None;
        }
        state.used += bytes;
        Some(Permit { queue: Arc::clone(queue), bytes })
    }

    /// Hands the image over.
    pub(super) fn finish(mut self, decoded: anyhow::Result<Decoded>) {
        self.is_done = true;
        self.put(decoded);
    }

    fn put(&self, decoded: anyhow::Result<Decoded>) {
        let bytes = bytes_of(&decoded);
        let mut state = self.queue.state();
        if state.is_closed {
            drop(state);
            return drop(decoded);
        }
        let place = (self.number - state.first) as usize;
        state.images[place] = Some(decoded);
        state.decoded += 1;
        state.decoded_bytes += bytes;
        if state.is_worth_waking() {
            self.queue.decoded.notify_one();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_done {
            self.put(Err(anyhow::anyhow!("a decoding thread has died")));
        }
        let mut state = self.queue.state();
        state.claimed -= 1;
        if state.is_closed {
            self.queue.decoded.notify_all();
        }
    }
}

impl Permit {
    /// Reduces it to `bytes`, if it is more.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let released = self.bytes.saturating_sub(bytes);
        if released == 0 {
            return;
        }
        self.bytes -= released;
        let mut state = self.queue.state();
        state.used -= released;
        if state.blocked > 0 {
            self.queue.room.notify_all();
        }
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
    use crate::batch::Group;
    use crate::code::Code;

    /// A queue of `count` images that were given.
    fn queue(bytes_max: u64, count: u32) -> Arc<Queue> {
        let queue = Queue::new(1, bytes_max);
        let mut images = 0..count;
        let mut next =
            || images.next().map(|image| Job { task: task(image), path: PathBuf::new() });
        queue.give(|| Ok::<_, ()>(next())).unwrap();
        queue
    }

    fn task(image: u32) -> Task {
        let (path, edges) = (String::new(), Vec::new());
        Task { group_number: 0, group: Group::PAIR, image, path, uses: 1, edges }
    }

    /// Decodes an image that takes `bytes`.
    fn decode(claim: Claim, task: Task, bytes: u64) {
        let permit = claim.admit(bytes);
        let image = Err(Failure::new(Code::Missing, "in a test"));
        claim.finish(Ok(Decoded { task, image, permit }));
    }

    fn take(queue: &Queue) -> Vec<u32> {
        let taken = queue.take(&Stop::default());
        taken.into_iter().map(|decoded| decoded.unwrap().task.image).collect()
    }

    #[test]
    fn images_are_taken_in_the_order_in_which_they_were_given() {
        let queue = queue(100, 3);
        let mut jobs: Vec<_> = (0..3).map(|_| queue.next_job().unwrap()).collect();
        while let Some((job, claim)) = jobs.pop() {
            decode(claim, job.task, 1);
        }
        assert_eq!(take(&queue), [0, 1, 2]);
        assert!(take(&queue).is_empty());
    }

    #[test]
    fn the_next_image_passes_and_later_ones_wait_for_room() {
        let queue = queue(10, 3);
        let claims = [0; 3].map(|_| queue.next_job().unwrap().1);
        let first = claims[0].admit(8).unwrap();
        let mut second = claims[1].admit(2).unwrap();
        std::thread::scope(|scope| {
            let third = scope.spawn(|| claims[2].admit(8).map(|permit| permit.bytes));
            second.shrink(1);
            drop(first);
            assert_eq!(third.join().unwrap(), Some(8));
        });
    }

    #[test]
    fn the_image_that_is_expected_passes_without_room_and_closing_ends_every_wait() {
        let queue = queue(10, 3);
        let (job, claim) = queue.next_job().unwrap();
        decode(claim, job.task, 10);
        let _first = queue.take(&Stop::default());
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                let (job, claim) = queue.next_job().unwrap();
                decode(claim, job.task, 100);
            });
            // Asking for it lets it pass, however long its thread has waited.
            let _second = queue.take(&Stop::default());
            second.join().unwrap();
            let (_, third) = queue.next_job().unwrap();
            let third = scope.spawn(move || third.admit(1).is_none());
            queue.close();
            assert!(third.join().unwrap());
        });
        assert!(queue.next_job().is_none());
    }

    /// Four images for each thread may be large.
    #[test]
    fn only_small_images_are_decoded_far_ahead() {
        let queue = queue(u64::MAX, 8);
        let claims = [0; 8].map(|_| queue.next_job().unwrap().1);
        let has_room = |number: u64| queue.state().has_room(&queue, number, 1);
        let small = claims[7].admit(SMALL_BYTES - 1).unwrap();
        assert!(has_room(3) && has_room(4));
        let large = claims[2].admit(SMALL_BYTES).unwrap();
        assert!(has_room(3) && !has_room(4));
        drop((small, large));
        assert!(has_room(4));
    }

    #[test]
    fn a_thread_that_dies_is_an_error_in_the_place_of_its_image() {
        let queue = queue(10, 2);
        let (_, died) = queue.next_job().unwrap();
        let (job, claim) = queue.next_job().unwrap();
        decode(claim, job.task, 1);
        drop(died);
        let mut taken = queue.take(&Stop::default());
        let error = taken.pop_front().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "a decoding thread has died");
        assert_eq!(taken.pop_front().unwrap().unwrap().task.image, 1);
    }
}
