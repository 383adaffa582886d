//! What the end of a process needs of RocksDB.

use std::thread;
use std::time::Duration;

use super::directory;
use crate::{process, rocks};

/// Makes RocksDB register its exit handlers, so that a handler registered afterwards runs before
/// them.
pub(crate) fn load_rocksdb() {
    rocks::load();
}

/// Ends RocksDB's threads if no storage is open. Call it once calls have ended.
pub(crate) fn end_threads() {
    if process::has_touched_rocksdb() && directory::none_is_open() {
        // Nothing needs the threads to be gone but tools that look for leaks.
        rocks::end_threads();
        thread::sleep(Duration::from_millis(1));
    }
}
