//! The threads that a host lends: work runs on them instead of on damo's own.
//!
//! Many hosts have a pool whose threads spin while they wait (OpenMP, TBB, PyTorch). A second pool
//! beside it fights for the same cores: work of 1 ms then takes 5 ms.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::locks::{Mutex, RwLock};
use crate::process;

/// Runs work on a host's threads.
pub(crate) trait Executor: Send + Sync {
    /// The most threads that it has at present; 0 if it has none to lend.
    fn threads(&self) -> usize;

    /// Runs `work` on up to `threads` threads at once, and returns when it has returned everywhere.
    /// `work` does not panic.
    fn run(&self, threads: usize, work: &(dyn Fn() + Sync));
}

/// The executor of all storages that have none of their own.
pub(crate) static OF_PROCESS: Lent = Lent::new();

/// Holds an executor or none: one for the process, and one for each storage.
pub(crate) struct Lent {
    /// The process that has ever set one; 0: none has. A forked child has none of the threads, and
    /// the lock may be held there by a thread that does not exist.
    owner: AtomicU32,
    /// Locked for reading while it is used.
    executor: RwLock<Option<Box<dyn Executor>>>,
    /// Callers that use it.
    busy: AtomicUsize,
}

impl Lent {
    pub(crate) const fn new() -> Lent {
        Lent { owner: AtomicU32::new(0), executor: RwLock::new(None), busy: AtomicUsize::new(0) }
    }

    /// Replaces the executor. Waits for the calls that use the one before. In a forked child the
    /// parent's counts as taken back.
    ///
    /// # Errors
    /// `FORKED` when the parent of this process has set one, and another one is set.
    pub(crate) fn set(&self, executor: Option<Box<dyn Executor>>) -> Result<()> {
        let owner = self.owner.load(Ordering::Acquire);
        if owner == 0 && executor.is_none() {
            return Ok(());
        }
        if owner != 0 && owner != process::id() {
            return match executor {
                None => Ok(()),
                Some(_) => Err(Error::forked(
                    "this process was forked after its parent had lent threads; lend them in a \
                     process that was started anew, or lend none: damo has threads of its own",
                )),
            };
        }
        let mut place = self.executor.write();
        // Also when it is taken back: a forked child must not touch the lock, whoever held it.
        self.owner.store(process::id(), Ordering::Release);
        *place = executor;
        Ok(())
    }

    /// Does `work` for each number below `count`, on the caller's thread and on threads of the
    /// executor, `threads` in all. Its storage uses `most` threads at most. A caller that uses the
    /// executor counts as a busy thread of it: where there are as many callers as threads, each
    /// works alone. False if there is no executor, if it has no threads to lend, or if it is just
    /// being replaced: nothing is done then.
    ///
    /// # Panics
    /// When `work` has panicked. Some of the numbers may then be left.
    pub(crate) fn run(
        &self,
        (threads, most): (usize, usize),
        count: usize,
        work: &(dyn Fn(usize) + Sync),
    ) -> bool {
        let owner = self.owner.load(Ordering::Acquire);
        if owner == 0 || owner != process::id() {
            return false;
        }
        // Does not wait for the lock. Whoever holds it for writing waits for other calls, and one
        // of these may be waiting for this call.
        let Some(executor) = self.executor.try_read() else { return false };
        let Some(executor) = executor.as_deref().filter(|executor| executor.threads() > 0) else {
            return false;
        };
        let pieces = Pieces { work, count, next: AtomicUsize::new(0), panic: Mutex::new(None) };
        let others = self.busy.fetch_add(1, Ordering::Relaxed);
        let idle = most.min(executor.threads()).saturating_sub(others);
        let threads = threads.min(idle).min(count);
        if threads > 1 {
            executor.run(threads, &|| pieces.take());
        }
        // Those that the executor has left: it may have had no thread.
        pieces.take();
        self.busy.fetch_sub(1, Ordering::Relaxed);
        if let Some(panic) = pieces.panic.into_inner() {
            resume_unwind(panic);
        }
        true
    }
}

/// The work of a call.
struct Pieces<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    count: usize,
    /// The next piece to be taken.
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Pieces<'_> {
    /// Does pieces until all are taken, or one has panicked.
    fn take(&self) {
        let take = || {
            loop {
                let piece = self.next.fetch_add(1, Ordering::Relaxed);
                if piece >= self.count {
                    return;
                }
                (self.work)(piece);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(take)) {
            // Nobody begins another piece.
            self.next.store(self.count, Ordering::Relaxed);
            *self.panic.lock() = Some(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Runs work on `offered` threads, whatever was asked for.
    struct Host {
        offered: usize,
        runs: Arc<AtomicUsize>,
    }

    impl Executor for Host {
        fn threads(&self) -> usize {
            4
        }

        fn run(&self, threads: usize, work: &(dyn Fn() + Sync)) {
            assert!((2..=4).contains(&threads));
            self.runs.fetch_add(1, Ordering::Relaxed);
            thread::scope(|scope| {
                for _ in 0..self.offered {
                    scope.spawn(work);
                }
            });
        }
    }

    #[test]
    fn each_number_is_worked_on_once_by_any_number_of_threads() {
        let (lent, runs) = (Lent::new(), Arc::new(AtomicUsize::new(0)));
        assert!(!lent.run((4, 4), 10, &|_| panic!("there is no executor")));
        for offered in [0, 1, 3, 9] {
            lent.set(Some(Box::new(Host { offered, runs: Arc::clone(&runs) }))).unwrap();
            for count in 0..30 {
                let done: Vec<_> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                assert!(lent.run((6, 6), count, &|number| {
                    done[number].fetch_add(1, Ordering::Relaxed);
                }));
                assert!(done.into_iter().all(|times| times.into_inner() == 1));
            }
        }
        assert_eq!(runs.load(Ordering::Relaxed), 4 * 28, "0 or 1 piece does not use the executor");
        lent.set(None).unwrap();
        assert!(!lent.run((4, 4), 10, &|_| panic!("it was taken back")));
    }

    #[test]
    fn a_panic_of_a_piece_is_that_of_the_call() {
        let lent = Lent::new();
        lent.set(Some(Box::new(Host { offered: 2, runs: Arc::default() }))).unwrap();
        for panicking in [0, 7, 19] {
            let call = || {
                lent.run((4, 4), 20, &|number| assert!(number != panicking, "piece {number}"));
            };
            let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
            assert_eq!(*panic.downcast_ref::<String>().unwrap(), format!("piece {panicking}"));
        }
        assert_eq!(lent.busy.into_inner(), 0);
    }

    #[test]
    fn as_many_callers_as_threads_work_alone() {
        let (lent, runs) = (Lent::new(), Arc::new(AtomicUsize::new(0)));
        lent.set(Some(Box::new(Host { offered: 1, runs: Arc::clone(&runs) }))).unwrap();
        lent.busy.store(3, Ordering::Relaxed);
        assert!(lent.run((4, 4), 9, &|_| {}));
        assert!(lent.run((2, 3), 9, &|_| {}));
        assert_eq!(runs.load(Ordering::Relaxed), 0);
        lent.busy.store(2, Ordering::Relaxed);
        // Two threads are idle: the caller and another one.
        assert!(lent.run((2, 4), 9, &|_| {}));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        lent.busy.store(0, Ordering::Relaxed);
        lent.run((4, 4), 9, &|_| {});
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn taking_it_back_waits_for_the_calls_that_use_it() {
        let (lent, begun, over) = (Lent::new(), AtomicBool::new(false), AtomicUsize::new(0));
        lent.set(Some(Box::new(Host { offered: 1, runs: Arc::default() }))).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                lent.run((2, 2), 2, &|_| {
                    begun.store(true, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(20));
                    over.fetch_add(1, Ordering::SeqCst);
                });
            });
            while !begun.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            lent.set(None).unwrap();
            assert_eq!(over.load(Ordering::SeqCst), 2);
        });
    }
}
