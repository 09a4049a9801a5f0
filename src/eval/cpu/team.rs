//! The computing threads of a batch. They stay awake while one of them walks a net.
//!
//! A walk has some tens of phases. Each is divided among all threads and takes a fraction of a
//! millisecond. A pool puts threads to sleep between phases, and waking them took a tenth of the
//! time of an AlexNet pair. Here a waiting thread spins, then yields its core, and sleeps only
//! between batches. This module does not depend on what is computed.
#![expect(unsafe_code, reason = "helpers run a closure that borrows from the leader's stack")]

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// State: the leader is about to open a phase.
const OPENING: usize = 1 << 31;
/// State: helpers may join the phase.
const OPEN: usize = 1 << 30;
/// Number of times that a waiting thread spins before it yields.
const SPINS: usize = 1000;

/// A counter that shares no cache line with other data.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

/// What is done with an item.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// What is done with each of `count` items.
#[derive(Clone, Copy)]
struct Task {
    run: Work<'static>,
    count: usize,
}

/// The threads of a rayon pool: one leads, the others help.
pub(super) struct Team {
    /// [`OPENING`], [`OPEN`] or neither, plus the number of helpers within the phase.
    state: AtomicUsize,
    /// Serial number of the phase.
    phase: AtomicUsize,
    /// The work of the phase, written by the leader while the state is [`OPENING`].
    task: UnsafeCell<Option<Task>>,
    /// The next item of each thread's share.
    next: Vec<Counter>,
    /// Whether the leader has finished, so that no phase follows.
    is_over: AtomicBool,
    has_panicked: AtomicBool,
}

// SAFETY: `task` is written only by the thread that changed `state` from 0 to `OPENING`, and read
// only by threads that then joined the open phase. `state` is 0 again only when all of them have
// left.
unsafe impl Sync for Team {}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("threads", &self.next.len()).finish_non_exhaustive()
    }
}

impl Team {
    /// A team of all threads of the current pool.
    pub(super) fn new() -> Team {
        let counter = |_| Counter::default();
        Team {
            state: AtomicUsize::new(0),
            phase: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            next: (0..rayon::current_num_threads()).map(counter).collect(),
            is_over: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.next.len()
    }

    /// Runs `work` on this thread, while the others wait for the phases that it opens.
    pub(super) fn lead<R>(&self, work: impl FnOnce() -> R) -> R {
        if self.threads() == 1 {
            return work();
        }
        let leader = rayon::current_thread_index();
        self.is_over.store(false, Ordering::Release);
        rayon::in_place_scope(|scope| {
            scope.spawn_broadcast(|_, context| {
                let thread = context.index();
                if Some(thread) != leader && thread < self.threads() {
                    self.help(thread);
                }
            });
            let _over = OnDrop(|| self.is_over.store(true, Ordering::Release));
            work()
        })
    }

    /// Runs `run` for each item, on all threads. Each thread starts with its own share, a range of
    /// items that is the same in every phase with as many items, and then helps with the other
    /// shares.
    ///
    /// # Panics
    /// When `run` panics.
    pub(super) fn for_each<T: Send>(
        &self,
        items: impl IntoIterator<Item = T>,
        run: impl Fn(T) + Sync,
    ) {
        // A thread runs a phase within a phase alone.
        if self.threads() == 1 || !self.change(0, OPENING) {
            return items.into_iter().for_each(run);
        }
        let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
        self.run_phase(items.len(), &|index: usize| {
            let item = items[index].lock().unwrap_or_else(PoisonError::into_inner).take();
            item.into_iter().for_each(&run);
        });
    }

    /// Opens a phase, takes part in it, and closes it. The state must be [`OPENING`].
    fn run_phase(&self, count: usize, run: Work<'_>) {
        for (thread, next) in self.next.iter().enumerate() {
            next.0.store(self.share(thread, count), Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes. Helpers call `run` within this phase only, and `close`
        // ends the phase before this function returns or unwinds.
        let run = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(run) };
        let task = Task { run, count };
        // SAFETY: see the implementation of `Sync`.
        unsafe { *self.task.get() = Some(task) };
        self.phase.fetch_add(1, Ordering::Relaxed);
        self.state.store(OPEN, Ordering::Release);
        let close = OnDrop(|| {
            self.state.fetch_and(!OPEN, Ordering::Relaxed);
            let mut spins = 0;
            while self.state.load(Ordering::Acquire) != 0 {
                wait(&mut spins);
            }
        });
        self.work(rayon::current_thread_index().unwrap_or(0), task);
        drop(close);
        assert!(
            !self.has_panicked.swap(false, Ordering::Relaxed),
            "a computing thread has panicked"
        );
    }

    /// Takes part in all phases until the leader has finished.
    fn help(&self, thread: usize) {
        let (mut last, mut spins) = (None, 0);
        while !self.is_over.load(Ordering::Acquire) {
            let state = self.state.load(Ordering::Relaxed);
            let phase = self.phase.load(Ordering::Relaxed);
            let is_new = state & OPEN != 0 && last != Some(phase);
            if !is_new || !self.change(state, state + 1) {
                wait(&mut spins);
                continue;
            }
            let _leave = OnDrop(|| {
                if std::thread::panicking() {
                    self.has_panicked.store(true, Ordering::Relaxed);
                }
                self.state.fetch_sub(1, Ordering::Release);
            });
            // SAFETY: see the implementation of `Sync`.
            if let Some(task) = unsafe { *self.task.get() } {
                self.work(thread, task);
            }
            (last, spins) = (Some(phase), 0);
        }
    }

    /// Changes the state if it is still `from`, and reports whether it was.
    fn change(&self, from: usize, to: usize) -> bool {
        self.state.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Runs items until none is left, those of the thread's own share first.
    fn work(&self, thread: usize, Task { run, count }: Task) {
        let threads = self.threads();
        for owner in (thread..threads).chain(0..thread) {
            let (next, end) = (&self.next[owner].0, self.share(owner + 1, count));
            while next.load(Ordering::Relaxed) < end {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index < end {
                    run(index);
                }
            }
        }
    }

    /// First item of a thread's share.
    fn share(&self, thread: usize, count: usize) -> usize {
        thread * count / self.threads()
    }
}

fn wait(spins: &mut usize) {
    *spins += 1;
    if *spins < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// Runs a closure when it is dropped, also during a panic.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn in_pool(threads: usize, test: impl FnOnce(&Team) + Send) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| test(&Team::new()));
    }

    #[test]
    fn every_item_runs_exactly_once() {
        for threads in [1, 2, 5] {
            in_pool(threads, |team| {
                for count in (0..40).chain([1000]) {
                    let mut done = vec![0; count];
                    team.lead(|| {
                        for _ in 0..10 {
                            team.for_each(done.iter_mut().enumerate(), |(index, done)| {
                                *done += index + 1;
                            });
                        }
                    });
                    let expected: Vec<usize> = (0..count).map(|index| 10 * (index + 1)).collect();
                    assert_eq!(done, expected);
                }
            });
        }
    }

    #[test]
    fn a_phase_within_a_phase_runs_all_its_items() {
        in_pool(3, |team| {
            let mut rows = vec![vec![0; 7]; 9];
            team.lead(|| {
                team.for_each(rows.iter_mut(), |row| {
                    team.for_each(row.iter_mut(), |item| *item += 1);
                });
            });
            assert_eq!(rows, vec![vec![1; 7]; 9]);
        });
    }

    #[test]
    fn a_panic_reaches_the_leader_and_the_team_stays_usable() {
        in_pool(3, |team| {
            for bad in [0, 50, 99] {
                let all = || team.for_each(0..100, |item| assert!(item != bad, "a bad item"));
                assert!(catch_unwind(AssertUnwindSafe(|| team.lead(all))).is_err());
            }
            let done = AtomicUsize::new(0);
            team.lead(|| team.for_each(0..100, |_| _ = done.fetch_add(1, Ordering::Relaxed)));
            assert_eq!(done.into_inner(), 100);
        });
    }
}
