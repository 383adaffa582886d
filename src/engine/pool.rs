//! The threads that share the work of one large call.

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::file_size_limit::block;
use crate::journal::Helpers;
use crate::locks::Mutex;

/// The threads that help callers: one fewer than `threads`, since the caller works, too.
pub(crate) struct Pool {
    pool: Option<ThreadPool>,
    threads: usize,
}

/// A thread with fewer keys takes longer to wake than it saves.
const KEYS_A_THREAD: usize = 2048;

impl Pool {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        if threads == 1 {
            return Ok(Pool { pool: None, threads });
        }
        let _writes_that_return = block();
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|index| format!("damo-worker-{index}"))
            .build()
            .map_err(|error| {
                Error::io(format!("{threads} threads cannot be made here: {error}"))
            })?;
        Ok(Pool { pool: Some(pool), threads })
    }

    /// How many threads a call with this many keys is worth.
    pub(crate) fn threads_for(&self, keys: usize) -> usize {
        (keys / KEYS_A_THREAD).clamp(1, self.threads)
    }

    /// Does `work` on every item: the caller, and as many other threads as the keys are worth.
    ///
    /// # Errors
    /// An error of `work`. Other items may then not have been worked on.
    pub(crate) fn each<T: Send>(
        &self,
        keys: usize,
        items: &mut [T],
        work: impl Fn(&mut T) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        let threads = self.threads_for(keys).min(items.len());
        let Some(pool) = self.pool.as_ref().filter(|_| threads > 1) else {
            return items.iter_mut().try_for_each(work);
        };
        let (items, error) = (Mutex::new(items.iter_mut()), Mutex::new(None));
        let run = || {
            loop {
                let Some(item) = items.lock().next() else { return };
                if let Err(new) = work(item) {
                    *error.lock() = Some(new);
                    return;
                }
            }
        };
        pool.in_place_scope(|scope| {
            (1..threads).for_each(|_| scope.spawn(|_| run()));
            run();
        });
        error.into_inner().map_or(Ok(()), Err)
    }
}

impl Helpers for Pool {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let mut numbers: Vec<usize> = (0..count).collect();
        let worth = count * KEYS_A_THREAD;
        // This work has no errors.
        let _ = Pool::each(self, worth, &mut numbers, |number| {
            work(*number);
            Ok(())
        });
    }
}
