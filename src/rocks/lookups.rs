//! Lookups: the list of files that single rows are read from, and as of when it is. `file_list`
//! makes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

use super::lookup_files::LookupFiles;
use crate::locks::Mutex;

/// No count of changes that RocksDB gives.
pub(super) const NEVER: u64 = u64::MAX;

/// The files, as far as they are known.
pub(super) struct Lookups {
    pub(super) known: Mutex<Known>,
    /// Held while the list is made.
    pub(super) listing: Mutex<()>,
    /// How many keys were asked for, up to `FEW` of `file_list`.
    pub(super) asked: AtomicUsize,
    /// Bytes that the files' fences and filters take.
    pub(super) bytes: AtomicUsize,
    /// Set when these bytes have changed.
    pub(super) has_changed: AtomicBool,
    /// Bytes that fences and filters may take.
    pub(super) room: usize,
    /// The size of all files when they took more.
    pub(super) too_large: AtomicU64,
}

pub(super) struct Known {
    /// RocksDB's count of changes before the list was made.
    pub(super) version: u64,
    /// None where RocksDB has to be asked.
    pub(super) files: Option<Arc<LookupFiles>>,
    /// When it was noticed that files have changed since.
    pub(super) changed: Option<Instant>,
}

impl Lookups {
    pub(super) fn new(room: usize) -> Lookups {
        Lookups {
            known: Mutex::new(Known { version: NEVER, files: None, changed: None }),
            listing: Mutex::default(),
            asked: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            has_changed: AtomicBool::new(false),
            room,
            too_large: AtomicU64::new(u64::MAX),
        }
    }

    /// Has the list made anew before the next read. Call it when rows were deleted in memory.
    pub(super) fn forget(&self) {
        self.known.lock().version = NEVER;
    }

    /// The files, if nothing has changed since. The inner None: RocksDB has to be asked.
    pub(super) fn of(&self, version: u64) -> Option<Option<Arc<LookupFiles>>> {
        let known = self.known.lock();
        (known.version == version).then(|| known.files.clone())
    }
}
