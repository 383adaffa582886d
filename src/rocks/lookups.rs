//! Lookups: the list of files that single rows are read from, and how old it is. `file_list` makes
//! it.
//!
//! Two counts say how old a list is. `changes` counts what must be in a list before the next read:
//! files that the writer has added, and deletions of groups. Only damo's own calls cause these, so
//! they are counted where they happen, and a read compares two numbers and asks RocksDB nothing.
//! `merges` counts what a list may lack: a merge leaves the same newest rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rust_rocksdb::event_listener::{CompactionJobInfo, EventListener, FlushJobInfo};
use rustix::process::{Resource, getrlimit};

use super::lookup_files::LookupFiles;
use crate::locks::Mutex;

/// The most files that a list has open. Most files have 256 MiB.
const MOST_FILES: usize = 512;
/// A part of the descriptors that the process may have.
const FILES_PART: u64 = 8;
/// More threads than this open files no faster: a disk reads them in long pieces.
const MOST_OPENING_THREADS: usize = 4;
/// How long files that a merge has deleted stay open at least when the writer adds none.
const PATIENCE: Duration = Duration::from_secs(1);
/// The load that needs files of fewer bytes opens them itself: it reads about a hundredth of them.
/// Tests that compare reads have all files opened so.
const AT_ONCE: u64 = if cfg!(feature = "check-index") { u64::MAX } else { 64 << 20 };

/// How many descriptors an old list and a new one may have together before files of the old one are
/// closed.
fn most_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / FILES_PART).unwrap_or(usize::MAX)
}

/// The files, as far as they are known.
pub(super) struct Lookups {
    pub(super) known: Mutex<Known>,
    /// Earlier lists that loads may still read.
    retired: Mutex<Vec<Arc<LookupFiles>>>,
    /// Held while the list is made, and while a change is counted.
    pub(super) listing: Mutex<()>,
    /// How many changes there were, plus one. Set with `listing` locked.
    changes: AtomicU64,
    /// How many merges and flushes there were.
    pub(super) merges: Arc<AtomicU64>,
    /// How many keys were asked for, up to `FEW` of `file_list`.
    pub(super) asked: AtomicUsize,
    /// Bytes that the files' fences and filters take, and what RocksDB's cache may take.
    pub(super) bytes: AtomicUsize,
    pub(super) cache_bytes: AtomicUsize,
    /// Bytes of the fences and filters that were read for the list that is being made.
    pub(super) opening_bytes: AtomicUsize,
    /// Set when these bytes have changed.
    pub(super) has_changed: AtomicBool,
    /// Held while these bytes are told to the cache's budget.
    pub(super) lending: Mutex<()>,
    /// Bytes that fences and filters may take.
    pub(super) room: usize,
    /// How many files a list may have open.
    pub(super) most_files: usize,
    /// How many files both lists may have open together before files of the old one are closed.
    pub(super) most_descriptors: usize,
    /// The size of all files when less than half of it had room.
    pub(super) too_large: AtomicU64,
    /// Set while a thread opens files (`preparation`). Set with `listing` locked; then nobody else
    /// makes a list.
    pub(super) is_preparing: AtomicBool,
    /// Set when the database is about to be closed: no more files are opened.
    pub(super) is_stopped: Arc<AtomicBool>,
    /// Files of so many bytes are not opened by loads.
    pub(super) at_once: u64,
    /// How many threads open files for loads that do not wait.
    pub(super) opening_threads: usize,
    /// Makes the next lists panic.
    #[cfg(test)]
    pub(super) panics: AtomicBool,
    /// How many filters were read.
    #[cfg(test)]
    pub(super) filters_read: AtomicUsize,
    /// Held by a test that keeps the next file from being opened.
    #[cfg(test)]
    pub(super) pause: Mutex<()>,
}

/// The list, and which changes it has seen.
#[derive(Default)]
pub(super) struct Known {
    /// The counts before the list was made.
    pub(super) changes: u64,
    pub(super) merges: u64,
    /// None where RocksDB has to be asked.
    pub(super) files: Option<Arc<LookupFiles>>,
    /// The list could not be made. The files are only kept for the next list, and RocksDB is asked.
    pub(super) is_kept_only: bool,
    /// When it was noticed that the list is old.
    pub(super) old_since: Option<Instant>,
}

impl Known {
    fn usable(&self) -> Option<Arc<LookupFiles>> {
        self.files.clone().filter(|_| !self.is_kept_only)
    }
}

impl Lookups {
    /// `room` is what fences and filters may take, and `cache_bytes` what RocksDB's cache has.
    pub(super) fn new(room: usize, cache_bytes: usize, threads: usize) -> Lookups {
        let most_descriptors = most_descriptors();
        Lookups {
            known: Mutex::default(),
            retired: Mutex::default(),
            listing: Mutex::default(),
            // A list that was never made has seen none.
            changes: AtomicU64::new(1),
            merges: Arc::default(),
            asked: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            cache_bytes: AtomicUsize::new(cache_bytes),
            opening_bytes: AtomicUsize::new(0),
            has_changed: AtomicBool::new(false),
            lending: Mutex::default(),
            room,
            most_files: most_descriptors.min(MOST_FILES),
            most_descriptors,
            too_large: AtomicU64::new(u64::MAX),
            is_preparing: AtomicBool::new(false),
            is_stopped: Arc::default(),
            at_once: AT_ONCE,
            opening_threads: threads.min(MOST_OPENING_THREADS),
            #[cfg(test)]
            panics: AtomicBool::new(false),
            #[cfg(test)]
            filters_read: AtomicUsize::new(0),
            #[cfg(test)]
            pause: Mutex::default(),
        }
    }

    /// What counts merges and flushes.
    pub(super) fn listener(&self) -> impl EventListener + 'static {
        Merges(Arc::clone(&self.merges))
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Counts a change. `listing` is locked.
    pub(super) fn set_changes(&self, changes: u64) {
        self.changes.store(changes, Ordering::Release);
    }

    /// Has the list made anew before the next read.
    pub(super) fn count_change(&self) {
        let _listing = self.listing.lock();
        self.set_changes(self.changes() + 1);
    }

    pub(super) fn is_preparing(&self) -> bool {
        self.is_preparing.load(Ordering::Acquire)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// The files, if the list has seen so many changes. The inner None: RocksDB has to be asked.
    pub(super) fn as_of(&self, changes: u64) -> Option<Option<Arc<LookupFiles>>> {
        let known = self.known.lock();
        (known.changes >= changes).then(|| known.usable())
    }

    /// Takes an earlier list, for [`Lookups::close_retired`]. Loads may still read it.
    pub(super) fn retire(&self, files: Option<Arc<LookupFiles>>) {
        self.retired.lock().extend(files);
    }

    /// Closes the files of earlier lists that no load reads any more, and that no later list has.
    /// The system takes long to close deleted files. So loads do not, and nobody does with
    /// `listing` locked.
    pub(super) fn close_retired(&self) {
        // Nobody can get at a list that only this has.
        let is_unused = |files: &mut Arc<LookupFiles>| Arc::strong_count(files) == 1;
        let unused: Vec<_> = self.retired.lock().extract_if(.., is_unused).collect();
        // The lock is released by now.
        drop(unused);
    }

    /// Whether somebody reads files, so that the list has to follow their changes.
    pub(super) fn is_used(&self) -> bool {
        self.known.lock().files.is_some()
    }

    /// Whether there were merges since the list was made.
    pub(super) fn is_behind(&self) -> bool {
        let known = self.known.lock();
        let is_used = known.files.is_some() || known.is_kept_only;
        is_used && known.merges != self.merges.load(Ordering::Acquire)
    }

    /// Whether the list has been old for a while: the writer has added no file meanwhile, or none
    /// could be made. Files in it that a merge has deleted still take space on the disk.
    pub(super) fn is_left_old(&self) -> bool {
        let mut known = self.known.lock();
        let is_old = known.is_kept_only
            || known.changes != self.changes()
            || known.merges != self.merges.load(Ordering::Acquire);
        if known.files.is_none() || !is_old {
            known.old_since = None;
            return false;
        }
        known.old_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE
    }
}

/// Counts merges and flushes, on RocksDB's threads.
struct Merges(Arc<AtomicU64>);

impl EventListener for Merges {
    fn on_compaction_completed(&self, _: &CompactionJobInfo) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    fn on_flush_completed(&self, _: &FlushJobInfo) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}
