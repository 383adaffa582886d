//! Threads that help callers with the pieces of their work.
//!
//! A caller works on its pieces itself, and threads that have nothing else to do help. Whoever is
//! free takes the next piece. Once all pieces are taken, the caller waits for helpers that are in
//! the middle of one, and for no others. So it never waits for the work of another caller.
//!
//! A caller at work counts as a busy thread, and gets no more helpers than there are idle ones. So
//! once as many calls are under way as there are workers, the next gets none.
#![allow(unsafe_code)]

use std::any::Any;
use std::collections::VecDeque;
use std::hint;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, Builder, JoinHandle};

use crate::error::{Error, Result};
use crate::file_size_limit::start_thread;
use crate::locks::{Condvar, Mutex};
use crate::threads;

/// How often a thread looks for work, and a caller for its last helper, before it does anything
/// else: some microseconds.
const LOOKS: usize = 64;
/// How often a thread looks for work after that, with its core offered to others each time. Then it
/// sleeps.
const YIELDS: usize = 32;
/// A sleeping thread takes microseconds to wake. So whoever has work for many wakes two, and each
/// of these two more.
const WOKEN: usize = 2;

/// The threads. Dropping this ends them.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Told when there is work, and when the threads are to end.
    changed: Condvar,
    /// Jobs in the queue.
    jobs: AtomicUsize,
    /// Callers at work, and threads that help.
    busy: AtomicUsize,
}

#[derive(Default)]
struct Queue {
    /// Those that want more helpers, oldest first.
    jobs: VecDeque<Arc<Job>>,
    has_stopped: bool,
}

/// The work of a caller.
struct Job {
    /// Does the piece with a number. It may be called until this job's `Present` is dropped.
    work: *const (dyn Fn(usize) + Sync),
    count: usize,
    /// The next piece to be taken.
    next: AtomicUsize,
    /// Helpers that are wanted beside those that came. Changes with the queue locked.
    wanted: AtomicUsize,
    /// Helpers at work. Rises with the queue locked.
    helpers: AtomicUsize,
    /// Told when the last helper leaves.
    left: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: several threads may call what `work` points to at once, since it is Sync. It outlives
// every call: dropping `Present` waits for the job's helpers, and `Workers::run` does so first.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

/// A job that threads may find. Dropping this withdraws it, and waits for its helpers.
struct Present<'a> {
    shared: &'a Shared,
    job: Arc<Job>,
}

impl Workers {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn start(count: usize) -> Result<Workers> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::default(),
            jobs: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
        });
        let mut workers = Workers { shared, threads: Vec::new() };
        let (beginning, beginnings) = threads::beginnings();
        for index in 0..count {
            let (shared, beginning) = (Arc::clone(&workers.shared), beginning.clone());
            let builder = Builder::new().name(format!("damo-worker-{index}"));
            let work = move || {
                beginning.has_begun();
                shared.serve();
            };
            let thread = start_thread(builder, work).map_err(|error| {
                Error::io(format!("{} threads cannot be made here: {error}", count + 1))
            })?;
            workers.threads.push(thread);
        }
        drop(beginning);
        beginnings.wait();
        Ok(workers)
    }

    /// Does `work` for each number below `count`: the caller, and up to `helpers` threads. Returns
    /// once all is done.
    ///
    /// # Panics
    /// When `work` has panicked. Some of the numbers may then be left.
    pub(crate) fn run(&self, helpers: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let busy = self.shared.busy.fetch_add(1, Ordering::Relaxed);
        let idle = self.threads.len().saturating_sub(busy);
        let helpers = helpers.min(idle).min(count.saturating_sub(1));
        let present = (helpers > 0).then(|| self.shared.offer(helpers, count, work));
        let outcome = catch_unwind(AssertUnwindSafe(|| match &present {
            Some(present) => present.job.take_pieces(),
            None => (0..count).for_each(work),
        }));
        let job = present.as_ref().map(|present| Arc::clone(&present.job));
        drop(present);
        self.shared.busy.fetch_sub(1, Ordering::Relaxed);
        let of_helper = job.and_then(|job| job.panic.lock().take());
        if let Some(panic) = outcome.err().or(of_helper) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.queue.lock().has_stopped = true;
        self.shared.changed.notify_all();
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    /// Lets threads find a job.
    fn offer(&self, helpers: usize, count: usize, work: &(dyn Fn(usize) + Sync)) -> Present<'_> {
        let work: *const (dyn Fn(usize) + Sync + '_) = work;
        // SAFETY: only the lifetime changes. Nobody calls `work` once `Present` is dropped, and
        // `Workers::run` drops that before its borrow ends.
        let work: *const (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(work) };
        let job = Arc::new(Job {
            work,
            count,
            next: AtomicUsize::new(0),
            wanted: AtomicUsize::new(helpers),
            helpers: AtomicUsize::new(0),
            left: Condvar::default(),
            panic: Mutex::new(None),
        });
        {
            let mut queue = self.queue.lock();
            queue.jobs.push_back(Arc::clone(&job));
            self.jobs.store(queue.jobs.len(), Ordering::Relaxed);
        }
        self.wake(helpers);
        Present { shared: self, job }
    }

    fn wake(&self, wanted: usize) {
        for _ in 0..wanted.min(WOKEN) {
            self.changed.notify_one();
        }
    }

    /// Looks for work for a moment. The next piece of work of a call often comes at once, and a
    /// thread that sleeps takes longer to wake than this takes.
    fn linger(&self) {
        for look in 0..LOOKS + YIELDS {
            if self.jobs.load(Ordering::Relaxed) > 0 {
                return;
            }
            if look < LOOKS { hint::spin_loop() } else { thread::yield_now() }
        }
    }

    /// A thread's life.
    fn serve(&self) {
        loop {
            self.linger();
            let mut queue = self.queue.lock();
            while queue.jobs.is_empty() && !queue.has_stopped {
                self.changed.wait(&mut queue);
            }
            let Some(job) = queue.jobs.front().map(Arc::clone) else { return };
            let more = job.wanted.fetch_sub(1, Ordering::Relaxed) - 1;
            if more == 0 {
                queue.jobs.pop_front();
                self.jobs.store(queue.jobs.len(), Ordering::Relaxed);
            }
            job.helpers.fetch_add(1, Ordering::Relaxed);
            drop(queue);
            self.busy.fetch_add(1, Ordering::Relaxed);
            self.wake(more);
            job.help();
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Job {
    /// Does pieces until all are taken. For the caller, and for a thread that is counted as a
    /// helper.
    fn take_pieces(&self) {
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            if piece >= self.count {
                return;
            }
            // SAFETY: `Workers::run`, which has borrowed it, returns only after `Present` was
            // dropped. That takes the job out of the queue, so that no thread becomes a helper any
            // more, and waits until no helper is left.
            let work = unsafe { &*self.work };
            work(piece);
        }
    }

    fn help(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_pieces())) {
            // Nobody begins another piece.
            self.next.store(self.count, Ordering::Relaxed);
            *self.panic.lock() = Some(panic);
        }
        if self.helpers.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The caller checks `helpers` with this locked, so it does not miss the notification.
            drop(self.panic.lock());
            self.left.notify_one();
        }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let Present { shared, job } = self;
        // Normally all pieces are taken. After the caller's panic helpers must begin no other.
        job.next.fetch_max(job.count, Ordering::Relaxed);
        {
            let mut queue = shared.queue.lock();
            queue.jobs.retain(|other| !Arc::ptr_eq(other, job));
            shared.jobs.store(queue.jobs.len(), Ordering::Relaxed);
        }
        for _ in 0..LOOKS {
            if job.helpers.load(Ordering::Acquire) == 0 {
                return;
            }
            hint::spin_loop();
        }
        let mut look = job.panic.lock();
        while job.helpers.load(Ordering::Acquire) > 0 {
            job.left.wait(&mut look);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_number_is_worked_on_once_whatever_others_do() {
        let workers = Workers::start(3).unwrap();
        thread::scope(|scope| {
            for caller in 0..8 {
                let workers = &workers;
                scope.spawn(move || {
                    for round in 0..300 {
                        let count = (round * 7 + caller) % 40;
                        let done: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                        workers.run(caller % 5, count, &|number| {
                            done[number].fetch_add(1, Ordering::Relaxed);
                        });
                        assert!(done.into_iter().all(|times| times.into_inner() == 1));
                    }
                });
            }
        });
    }

    #[test]
    fn threads_help_and_no_caller_waits_for_the_work_of_another() {
        let workers = Workers::start(1).unwrap();
        let (both, is_over) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            // The only thread and this caller are busy until the others are done.
            scope.spawn(|| {
                workers.run(1, 2, &|_| {
                    both.wait();
                    while !is_over.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            });
            while workers.shared.busy.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            let sum = AtomicUsize::new(0);
            for _ in 0..100 {
                workers.run(1, 3, &|number| {
                    sum.fetch_add(number, Ordering::Relaxed);
                });
            }
            assert_eq!(sum.into_inner(), 300);
            is_over.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn a_panic_of_a_piece_is_that_of_the_call_and_the_threads_go_on() {
        let workers = Workers::start(2).unwrap();
        for panicking in [0, 1, 5] {
            let call = || {
                workers.run(2, 6, &|number| {
                    thread::sleep(Duration::from_millis(1));
                    assert!(number != panicking, "piece {number}");
                });
            };
            let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            let message = panic.downcast_ref::<String>().unwrap();
            assert_eq!(*message, format!("piece {panicking}"));
            let sum = AtomicUsize::new(0);
            workers.run(2, 10, &|number| {
                sum.fetch_add(number, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 45);
        }
        // A helper that has found its piece taken leaves a moment after the call.
        let is_quiet = || workers.shared.busy.load(Ordering::SeqCst) == 0;
        let becomes_quiet = (0..10_000).any(|_| {
            is_quiet() || {
                thread::sleep(Duration::from_millis(1));
                false
            }
        });
        assert!(becomes_quiet);
    }
}
