//! Calls that are under way, so that the end of the process can wait for them and refuse the ones that come later.
//!
//! While a process exits, RocksDB's static objects are destroyed; a thread that is inside RocksDB then crashes, and
//! prints. So the exit handler of the C library comes here first.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{directory, rocks};
use crate::error::{Error, Result, Status};

/// Set when RocksDB's own exit handlers are about to run.
static EXITING: AtomicBool = AtomicBool::new(false);

/// Calls inside RocksDB, over all threads.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// How long the end of the process waits for calls under way: longer than any should take, shorter than a supervisor's
/// patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call; the process does not end before it is dropped, within limits.
#[derive(Debug)]
pub struct Call(());

impl Call {
    /// # Errors
    /// `EXITING` when the process is ending.
    pub(super) fn begin() -> Result<Call> {
        // Counted before looking, as `process_is_exiting` sets before counting: one of the two sees the other.
        UNDER_WAY.fetch_add(1, Ordering::SeqCst);
        let call = Call(());
        if EXITING.load(Ordering::SeqCst) {
            return Err(Error::new(
                Status::Exiting,
                "the process is ending, and this call comes after damo's exit handler; call before",
            ));
        }
        Ok(call)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// True once the process is ending: long work should stop.
pub(super) fn is_exiting() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Makes RocksDB register its exit handlers, so that a handler registered afterwards runs before them.
pub fn load_rocksdb() {
    rocks::load();
}

/// To be called while the process ends, before RocksDB's exit handlers: waits for calls under way and refuses later
/// ones. Storages that are let go of from then on are abandoned instead of closed.
pub fn process_is_exiting() {
    EXITING.store(true, Ordering::SeqCst);
    let started = Instant::now();
    while UNDER_WAY.load(Ordering::SeqCst) > 0 && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
    if directory::has_touched_rocksdb() && directory::none_is_open() {
        // Nothing needs it but tools that look for what is left: these threads take their leave.
        rocks::end_threads();
        thread::sleep(Duration::from_millis(1));
    }
}
