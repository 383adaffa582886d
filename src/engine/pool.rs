//! The threads that share the work of one large call.

use crate::error::Result;
use crate::journal::Helpers;
use crate::locks::Mutex;
use crate::workers::Workers;

/// The threads that help callers: one fewer than `threads`, since the caller works, too.
pub(crate) struct Pool {
    workers: Option<Workers>,
    threads: usize,
}

/// A thread with fewer keys takes longer to wake than it saves.
const KEYS_A_THREAD: usize = 2048;

impl Pool {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        let workers = if threads > 1 { Some(Workers::start(threads - 1)?) } else { None };
        Ok(Pool { workers, threads })
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
        let Some(workers) = self.workers.as_ref().filter(|_| threads > 1) else {
            return items.iter_mut().try_for_each(work);
        };
        let (items, error) = (Mutex::new(items.iter_mut()), Mutex::new(None));
        workers.run(threads - 1, threads, &|_| {
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
}

impl Helpers for Pool {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        match &self.workers {
            Some(workers) => workers.run(self.threads - 1, count, work),
            None => (0..count).for_each(work),
        }
    }
}
