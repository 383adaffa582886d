//! The process: calls that are under way, whether it ends, and whether it was forked.
//!
//! Calls are counted so that the end of the process can wait for them and refuse the ones that come later.
//!
//! While a process exits, RocksDB's static objects are destroyed; a thread that is inside RocksDB then crashes, and
//! prints. So the exit handler of the C library comes here first.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};

/// The process that has started RocksDB, or 0 if none has. It is never reset: RocksDB's background threads outlive its
/// databases, and in a child that is forked while they exist RocksDB waits for them for ever. Looked at before any lock,
/// since in such a child a lock may be held by a thread that does not exist there.
static OWNER: AtomicU32 = AtomicU32::new(0);

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
    pub(crate) fn begin() -> Result<Call> {
        // Counted before looking, as `end_calls` sets before counting: one of the two sees the other.
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
pub(crate) fn is_ending() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// To be called while the process ends, before RocksDB's exit handlers: waits for calls under way and refuses later
/// ones. Storages that are let go of from then on are abandoned instead of closed.
pub(crate) fn end_calls() {
    EXITING.store(true, Ordering::SeqCst);
    let started = Instant::now();
    while UNDER_WAY.load(Ordering::SeqCst) > 0 && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

/// To be called before RocksDB is: from then on this process has its threads, or may have.
pub(crate) fn touch_rocksdb() {
    OWNER.store(std::process::id(), Ordering::SeqCst);
}

/// True once this process has, or may have, RocksDB's threads.
pub fn has_touched_rocksdb() -> bool {
    OWNER.load(Ordering::SeqCst) == std::process::id()
}

/// True in a process that was forked after its parent had touched RocksDB.
pub fn is_forked_child() -> bool {
    ![0, std::process::id()].contains(&OWNER.load(Ordering::SeqCst))
}

/// # Errors
/// `FORKED` in a child of a process that has, or may have, RocksDB's threads.
pub(crate) fn check_not_forked() -> Result<()> {
    if !is_forked_child() {
        return Ok(());
    }
    let (owner, pid) = (OWNER.load(Ordering::SeqCst), std::process::id());
    Err(Error::forked(format!(
        "this is process {pid}, forked after process {owner} had opened a storage; open storages in processes \
             that were forked before that, or that are started anew (exec, Python's 'spawn')"
    )))
}

/// Refuses to go on in a child that was forked after its parent had opened the `kind` at `path`.
///
/// # Errors
/// `FORKED`.
pub(crate) fn check_opener(opener: u32, kind: &str, path: &Path) -> Result<()> {
    let pid = std::process::id();
    if pid == opener {
        return Ok(());
    }
    Err(Error::forked(format!(
        "the {kind} '{}' was opened by process {opener} and this is its forked child {pid}; open \
         {kind}s after forking, or use them in the parent only",
        path.display()
    )))
}
