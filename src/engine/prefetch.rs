//! Prefetch: brings rows that will be needed into memory while the caller does something else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::Engine;
use super::rows::OpenGroup;
use crate::error::Result;
use crate::locks::{Condvar, Mutex};
use crate::memory::room_for;
use crate::process::Call;
use crate::threads;

/// The most keys that wait. A prefetch that would exceed it is silently dropped: no caller waits
/// for one.
const MAX_WAITING: usize = 16 << 20;
/// Keys, and floats of their rows, that are loaded at a time. A caller who misses waits for no more
/// than these, and memory holds no more besides the cache.
const PIECE: usize = 4096;
const PIECE_FLOATS: usize = 1 << 20;

/// The prefetching thread, made when it is first needed, and its queue.
pub(crate) struct Prefetcher {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<(Arc<OpenGroup>, Vec<i64>)>,
    waiting: usize,
    stopping: bool,
}

impl Prefetcher {
    pub(crate) fn new(engine: &Arc<Engine>) -> Prefetcher {
        Prefetcher { engine: Arc::clone(engine), shared: Arc::default(), thread: Mutex::new(None) }
    }

    /// Queues keys, or forgets them when too many wait already.
    ///
    /// # Errors
    /// `IO` when the thread cannot be made; `OUT_OF_MEMORY`.
    pub(crate) fn add(&self, table: &Arc<OpenGroup>, keys: &[i64]) -> Result<()> {
        let mut copy = room_for(keys.len())?;
        copy.extend_from_slice(keys);
        {
            let mut queue = self.shared.queue.lock();
            if queue.waiting + copy.len() > MAX_WAITING {
                return Ok(());
            }
            queue.waiting += copy.len();
            queue.batches.push_back((Arc::clone(table), copy));
        }
        self.shared.ready.notify_one();
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let (engine, shared) = (Arc::clone(&self.engine), Arc::clone(&self.shared));
            *thread = Some(threads::start("damo-prefetch", "the prefetching thread", move || {
                shared.work(&engine);
            })?);
        }
        Ok(())
    }

    /// Ends the thread, and forgets what is queued.
    pub(crate) fn stop(&self) {
        {
            let mut queue = self.shared.queue.lock();
            queue.stopping = true;
            queue.batches.clear();
        }
        self.shared.ready.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            drop(thread.join());
        }
    }

    /// Detaches the thread; in a forked child it does not exist.
    pub(crate) fn abandon(&self) {
        if let Some(mut thread) = self.thread.try_lock() {
            std::mem::forget(thread.take());
        }
    }
}

impl Shared {
    fn work(&self, engine: &Engine) {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopping {
                return;
            }
            let Some((table, mut keys)) = queue.batches.pop_front() else {
                self.ready.wait(&mut queue);
                continue;
            };
            queue.waiting -= keys.len();
            drop(queue);
            // Neighbours on disk are read together.
            keys.sort_unstable();
            keys.dedup();
            for piece in keys.chunks((PIECE_FLOATS / table.row_len()).clamp(1, PIECE)) {
                let Ok(_call) = Call::begin() else { return };
                let _contents = engine.contents.read();
                if engine.check_not_lost().is_err() || self.queue.lock().stopping {
                    return;
                }
                // A prefetch is a hint: errors come out when the rows are used.
                let _ = threads::catch("the prefetching thread", || table.bring_in(engine, piece));
            }
            queue = self.queue.lock();
        }
    }
}
