//! Prefetch: rows that will be needed are brought into memory while the caller does something else.

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

/// Keys that wait at most; a caller who asks for more is not waiting for them, and is told nothing.
const MAX_WAITING: usize = 16 << 20;
/// Keys that are loaded at a time, and floats of their rows, so that a caller who misses waits for no more than those, and
/// memory holds no more beside the cache.
const PIECE: usize = 4096;
const PIECE_FLOATS: usize = 1 << 20;

/// The thread, made when it is first needed, and what it has to do.
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

    /// Queues keys; when too many wait already, these are forgotten.
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

    /// Ends the thread; what is still queued is forgotten.
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

    /// Leaves the thread alone, which may not be there any more.
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
                // It was a hint: what is wrong comes out when the rows are used.
                let _ = threads::catch("the prefetching thread", || table.bring_in(engine, piece));
            }
            queue = self.queue.lock();
        }
    }
}
