//! The process: which calls are under way, whether it is ending, and whether it was forked.
//!
//! Calls are counted. The end of the process waits for those under way, and refuses later ones.
//!
//! When a process exits, RocksDB's static objects are destroyed. A thread that is inside RocksDB at
//! that moment crashes, and prints. So damo's exit handler runs before RocksDB's, and calls
//! [`end_calls`].

mod id;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result, Status};
use crate::stripes::Striped;
pub use id::id;

/// The process that has started RocksDB, or 0 if none has. It is never reset, since RocksDB's
/// background threads outlive its databases. In a child that is forked while they exist, RocksDB
/// waits for them for ever. Read it before taking any lock: in such a child a lock may be held by a
/// thread that does not exist there.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Set when the process is ending, just before RocksDB's own exit handlers run.
static EXITING: AtomicBool = AtomicBool::new(false);

/// The calls under way. A call ends where it began, whichever thread drops it.
static UNDER_WAY: Striped<AtomicUsize> = Striped::new();

/// How long the end of the process waits for calls under way. It is longer than any call should
/// take, and shorter than a supervisor's patience.
const PATIENCE: Duration = Duration::from_secs(5);

/// A call under way. The process does not end before it is dropped, or `PATIENCE` is over.
#[derive(Debug)]
pub struct Call(&'static AtomicUsize);

impl Call {
    /// # Errors
    /// `EXITING` when the process is ending.
    pub(crate) fn begin() -> Result<Call> {
        // First count, then look; `end_calls` first sets the flag, then counts. So one of the two
        // sees the other.
        let under_way = UNDER_WAY.own();
        under_way.fetch_add(1, Ordering::SeqCst);
        let call = Call(under_way);
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
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the process is ending. Long work should stop.
pub(crate) fn is_ending() -> bool {
    EXITING.load(Ordering::SeqCst)
}

/// Waits for calls under way, and refuses later ones. Call it while the process ends, before
/// RocksDB's exit handlers. Storages dropped from now on are abandoned instead of closed.
pub(crate) fn end_calls() {
    EXITING.store(true, Ordering::SeqCst);
    let started = Instant::now();
    let are_under_way = || UNDER_WAY.all().any(|calls| calls.load(Ordering::SeqCst) > 0);
    while are_under_way() && started.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Notes that this process has RocksDB's threads, or may have. Call it before calling RocksDB.
pub(crate) fn touch_rocksdb() {
    OWNER.store(id(), Ordering::SeqCst);
}

/// Whether this process has RocksDB's threads, or may have.
pub fn has_touched_rocksdb() -> bool {
    OWNER.load(Ordering::SeqCst) == id()
}

/// Whether this process was forked after its parent had touched RocksDB.
pub fn is_forked_child() -> bool {
    ![0, id()].contains(&OWNER.load(Ordering::SeqCst))
}

/// # Errors
/// `FORKED` in a child of a process that has, or may have, RocksDB's threads.
pub(crate) fn check_not_forked() -> Result<()> {
    if !is_forked_child() {
        return Ok(());
    }
    let (owner, pid) = (OWNER.load(Ordering::SeqCst), id());
    Err(Error::forked(format!(
        "this is process {pid}, forked after process {owner} had opened a storage; open storages \
         in processes \
             that were forked before that, or that are started anew (exec, Python's 'spawn')"
    )))
}

/// Refuses to go on in a child that was forked after its parent had opened the `kind` at `path`.
///
/// # Errors
/// `FORKED`.
pub(crate) fn check_opener(opener: u32, kind: &str, path: &Path) -> Result<()> {
    let pid = id();
    if pid == opener {
        return Ok(());
    }
    Err(Error::forked(format!(
        "the {kind} '{}' was opened by process {opener} and this is its forked child {pid}; open \
         {kind}s after forking, or use them in the parent only",
        path.display()
    )))
}
