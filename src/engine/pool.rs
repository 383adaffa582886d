//! The threads that share the work of one large call.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};
use crate::file_size_limit::block;

/// A pool of `threads` threads. With one thread there is no pool, and the caller does the work.
pub(crate) struct Pool {
    pool: Option<ThreadPool>,
    threads: usize,
}

/// With fewer keys, waking other threads takes longer than the work.
const PARALLEL_KEYS: usize = 4096;

impl Pool {
    /// # Errors
    /// `IO` when the threads cannot be made.
    pub(crate) fn new(threads: usize) -> Result<Pool> {
        if threads == 1 {
            return Ok(Pool { pool: None, threads });
        }
        let _writes_that_return = block();
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|index| format!("damo-worker-{index}"))
            .build()
            .map_err(|error| {
                Error::io(format!("{threads} threads cannot be made here: {error}"))
            })?;
        Ok(Pool { pool: Some(pool), threads })
    }

    /// How many parts a call with this many keys is best divided into.
    pub(crate) fn parts(&self, keys: usize) -> usize {
        if keys < PARALLEL_KEYS { 1 } else { self.threads }
    }

    /// Does `work` on every item; on all threads when the call has many keys.
    ///
    /// # Errors
    /// An error of `work`. Other items may then not have been worked on.
    pub(crate) fn each<T: Send>(
        &self,
        keys: usize,
        items: &mut [T],
        work: impl Fn(&mut T) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        match &self.pool {
            Some(pool) if keys >= PARALLEL_KEYS && items.len() > 1 => {
                pool.install(|| items.par_iter_mut().with_max_len(1).try_for_each(work))
            }
            _ => items.iter_mut().try_for_each(work),
        }
    }
}
