//! The threads that share the work of one large call.

use crate::error::Result;
use crate::executor::{Lent, OF_PROCESS};
use crate::journal::Helpers;
use crate::locks::Mutex;
use crate::threads;
use crate::workers::Workers;

/// The threads that help callers: those that the host lends, or damo's own.
pub(crate) struct Pool {
    /// What the host lends to this storage.
    pub(crate) lent: Lent,
    /// One fewer than `threads`, since the caller works, too.
    workers: Option<Workers>,
    threads: usize,
}

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

impl Pool {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        let workers = if threads > 1 { Some(Workers::start(threads - 1)?) } else { None };
        Ok(Pool { lent: Lent::new(), workers, threads })
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
            && (self.lent.run(threads, count, work) || OF_PROCESS.run(threads, count, work));
        if is_done {
            return;
        }
        match &self.workers {
            Some(workers) => workers.run(threads - 1, count, work),
            None => (0..count).for_each(work),
        }
    }
}

impl Helpers for Pool {
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.share(Help::LentOrOwn, self.threads, count, work);
    }

    fn each_awaited(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        self.share(Help::Own, self.threads, count, work);
    }
}
