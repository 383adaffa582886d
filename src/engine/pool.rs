//! The threads that share the work of one large call.
//!
//! Calls that are at work at the same time divide the threads among them. A call alone has all of
//! them. Where there are as many calls as threads, each call works alone: a helper would only take
//! the core of another call, and its caller would wait for it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::executor::{Lent, OF_PROCESS};
use crate::journal::Helpers;
use crate::locks::Mutex;
use crate::stripes::Apart;
use crate::threads;
use crate::workers::Workers;

/// The threads that help callers: those that the host lends, or damo's own.
pub(crate) struct Pool {
    /// What the host lends to this storage.
    pub(crate) lent: Lent,
    /// One fewer than `threads`, since the caller works, too.
    workers: Option<Workers>,
    threads: usize,
    /// Calls that are at work. Calls of few keys are not counted.
    at_work: Apart<AtomicUsize>,
}

/// A call that is at work. Dropping this ends it.
#[must_use]
pub(crate) struct AtWork<'a>(Option<&'a AtomicUsize>);

/// A call at work that waits. Dropping this ends the wait.
#[must_use]
pub(crate) struct Waiting<'a>(Option<&'a AtomicUsize>);

/// Which threads may help.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Help {
    /// Those that the host lends, if it does; otherwise damo's own.
    LentOrOwn,
    /// damo's own. For work that waits for another call, or that other calls wait for: a host may
    /// finish one call's work before it begins another's, so a lent thread could wait for ever.
    Own,
}

/// A thread with fewer keys takes longer to wake than it saves.
const KEYS_A_THREAD: usize = 2048;
/// A call with no more keys than these is not counted. It is soon over, and many threads that make
/// such calls would take the counter from each other.
const UNCOUNTED_KEYS: usize = 256;

impl Pool {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        let workers = if threads > 1 { Some(Workers::start(threads - 1)?) } else { None };
        Ok(Pool { lent: Lent::new(), workers, threads, at_work: Apart::default() })
    }

    /// Counts a call with this many keys as at work, until what this returns is dropped.
    pub(crate) fn begin_work(&self, keys: usize) -> AtWork<'_> {
        let is_counted = self.threads > 1 && keys > UNCOUNTED_KEYS;
        let counter = is_counted.then_some(&self.at_work.0);
        add_one(counter);
        AtWork(counter)
    }

    /// How many threads a call with this many keys gets at present: as many as the keys are worth,
    /// and no more than its share.
    pub(crate) fn threads_for(&self, keys: usize) -> usize {
        let worth = (keys / KEYS_A_THREAD).clamp(1, self.threads);
        if worth > 1 { worth.min(self.share_of_a_call()) } else { 1 }
    }

    /// The threads of each call, if the calls at work divide them. Rounded up: whoever asks for
    /// help gets no more threads than are idle.
    fn share_of_a_call(&self) -> usize {
        self.threads.div_ceil(self.at_work.0.load(Ordering::Relaxed).max(1))
    }

    /// Does `work` on every item: the caller, and as many other threads as it gets.
    ///
    /// # Errors
    /// An error of `work`. Other items may then not have been worked on.
    pub(crate) fn each<T: Send>(
        &self,
        keys: usize,
        items: &mut [T],
        work: impl Fn(&mut T) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        self.each_on(Help::LentOrOwn, keys, items, work)
    }

    /// As [`Pool::each`], on these threads.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn each_on<T: Send>(
        &self,
        on: Help,
        keys: usize,
        items: &mut [T],
        work: impl Fn(&mut T) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        let threads = self.threads_for(keys).min(items.len());
        if threads <= 1 {
            return items.iter_mut().try_for_each(work);
        }
        let (items, error) = (Mutex::new(items.iter_mut()), Mutex::new(None));
        self.share(on, threads, threads, &|_| {
            loop {
                let Some(item) = items.lock().next() else { return };
                if let Err(new) = work(item) {
                    *error.lock() = Some(new);
                    return;
                }
            }
        });
        error.into_inner().map_or(Ok(()), Err)
    }

    /// Does `work` for each number below `count`, on up to `threads` threads. damo's own threads
    /// use no lent ones: an OpenMP library would start as many for each of them.
    fn share(&self, on: Help, threads: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let is_done = on == Help::LentOrOwn
            && threads > 1
            && !threads::is_own()
            && [&self.lent, &OF_PROCESS]
                .into_iter()
                .any(|lent| lent.run((threads, self.threads), count, work));
        if is_done {
            return;
        }
        match &self.workers {
            Some(workers) => workers.run(threads - 1, count, work),
            None => (0..count).for_each(work),
        }
    }
}

impl AtWork<'_> {
    /// Does not count the call until what this returns is dropped. It waits for something else than
    /// a core, so others may have its threads.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        take_one(self.0);
        Waiting(self.0)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        take_one(self.0);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        add_one(self.0);
    }
}

fn add_one(counter: Option<&AtomicUsize>) {
    if let Some(counter) = counter {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn take_one(counter: Option<&AtomicUsize>) {
    if let Some(counter) = counter {
        counter.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Helpers for Pool {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.share(Help::LentOrOwn, self.share_of_a_call(), count, work);
    }

    fn each_awaited(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.share(Help::Own, self.share_of_a_call(), count, work);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const MANY: usize = 1 << 20;

    fn shared(pool: &Pool, calls: &[AtWork<'_>]) -> (usize, usize) {
        (calls.len(), pool.threads_for(MANY))
    }

    #[test]
    fn calls_at_work_divide_the_threads() {
        for threads_of_pool in [1, 2, 3, 5] {
            let pool = Pool::new(threads_of_pool).unwrap();
            let mut calls = Vec::new();
            assert_eq!(shared(&pool, &calls), (0, threads_of_pool));
            for count in 1..=8 {
                calls.push(pool.begin_work(MANY));
                let share = threads_of_pool.div_ceil(count);
                assert_eq!(shared(&pool, &calls), (count, share));
            }
            calls.truncate(1);
            assert_eq!(shared(&pool, &calls), (1, threads_of_pool));
        }
    }

    #[test]
    fn a_call_gets_no_more_threads_than_its_keys_are_worth() {
        let pool = Pool::new(6).unwrap();
        let of = |keys| pool.threads_for(keys);
        assert_eq!([0, 1, 4095, 4096, 6144, MANY].map(of), [1, 1, 1, 2, 3, 6]);
        let _call = [pool.begin_work(MANY), pool.begin_work(MANY)];
        assert_eq!([4095, 4096, 6144, MANY].map(of), [1, 2, 3, 3]);
    }

    #[test]
    fn small_calls_and_waiting_calls_leave_their_threads_to_others() {
        let pool = Pool::new(4).unwrap();
        let small = [1, 39, UNCOUNTED_KEYS].map(|keys| pool.begin_work(keys));
        assert_eq!(pool.threads_for(MANY), 4);
        let calls = [pool.begin_work(UNCOUNTED_KEYS + 1), pool.begin_work(MANY)];
        assert_eq!(pool.threads_for(MANY), 2);
        let waits = (small[0].wait(), calls[0].wait());
        assert_eq!(pool.threads_for(MANY), 4);
        drop(waits);
        assert_eq!(pool.threads_for(MANY), 2);
        drop((small, calls));
        assert_eq!(pool.at_work.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_call_that_panics_is_at_work_no_more() {
        let pool = Pool::new(2).unwrap();
        let call = || {
            let call = pool.begin_work(MANY);
            let _wait = call.wait();
            panic!("the call");
        };
        catch_unwind(AssertUnwindSafe(call)).unwrap_err();
        assert_eq!(pool.at_work.0.load(Ordering::Relaxed), 0);
    }

    /// Whether every piece is worked on by the thread that asks.
    fn works_alone(pool: &Pool, on: Help) -> bool {
        let (caller, others) = (threads::token(), AtomicUsize::new(0));
        let mut items = [0; 64];
        pool.each_on(on, MANY, &mut items, |item| {
            *item += 1;
            let is_other = threads::token() != caller;
            others.fetch_add(usize::from(is_other), Ordering::Relaxed);
            std::thread::sleep(std::time::Duration::from_micros(100));
            Ok(())
        })
        .unwrap();
        assert_eq!(items, [1; 64]);
        others.into_inner() == 0
    }

    #[test]
    fn as_many_calls_as_threads_work_alone() {
        let pool = Pool::new(3).unwrap();
        let calls = [0; 3].map(|_| pool.begin_work(MANY));
        for on in [Help::Own, Help::LentOrOwn] {
            assert!((0..20).all(|_| works_alone(&pool, on)));
        }
        drop(calls);
        let _alone = pool.begin_work(MANY);
        assert!(!(0..1000).all(|_| works_alone(&pool, Help::Own)), "no thread ever helped");
    }
}
