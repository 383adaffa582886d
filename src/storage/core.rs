//! What the parts of an open storage share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::expiry::Expiry;
use super::exports::Exports;
use super::filters::Filters;
use super::group::Group;
use super::import::Imported;
use super::incoming::Incoming;
use super::options::{Durability, StorageOptions};
use super::pool::Pool;
use super::readers::Readers;
use super::rocks::Rocks;
use super::round::{Round, Scope};
use super::writer::Writer;
use crate::cache::Budget;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::locks::{Mutex, RwLock};

/// The inside of an open storage.
pub struct Core {
    /// Behind an Arc for the threads that read; None once loading a checkpoint has failed after the point of no return.
    pub(super) rocks: RwLock<Option<Arc<Rocks>>>,
    pub(super) dir: PathBuf,
    pub(super) options: StorageOptions,
    pub(super) groups: Mutex<BTreeMap<u16, Arc<Group>>>,
    pub(super) counters: Counters,
    pub(super) filters: Filters,
    pub(super) budget: Arc<Budget>,
    pub(super) pool: Pool,
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    /// Set once the calls of an earlier process have been replayed, unless the durability is "checkpoint".
    pub(super) journal: OnceLock<Journal>,
    /// The number of the last call of earlier openings, for rows that change without a journal.
    pub(super) last_number: AtomicU64,
    /// Set once opening has succeeded: before that, closing must leave the directory as it was.
    pub(super) is_open: AtomicBool,
    /// Held for reading from a call's record in the journal to its last row.
    pub(super) stepping: RwLock<()>,
    /// Set when `rocks` is None for good.
    pub(super) is_lost: AtomicBool,
    /// Held while a checkpoint is made or loaded, so that there is one at a time, and while a
    /// filter is attached. Taken before `contents`, which is taken before `rounds`.
    pub(super) checkpoints: Mutex<()>,
    /// Held for reading by every call; for writing while a checkpoint takes the place of everything.
    pub(super) contents: RwLock<()>,
    /// Held while changed rows are brought to disk.
    pub(super) rounds: Mutex<()>,
    /// Shared with RocksDB's threads.
    pub(super) expiry: Arc<Expiry>,
    /// The number of the latest cut: no row that a lookup makes from then on has a smaller one.
    pub(super) cut_number: AtomicU64,
    /// While a cut is brought to disk.
    pub(super) cut_is_open: AtomicBool,
    /// Dumps that increments may follow.
    pub(super) exports: Mutex<Exports>,
    /// What became of the latest import.
    pub(super) last_import: Mutex<Option<Imported>>,
    /// How far numbers have been set aside, where no journal keeps count.
    pub(super) reserved_numbers: Mutex<u64>,
    /// Files of rows on their way into the table.
    pub(super) incoming: Incoming,
}

/// What has happened since the storage was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Keys asked for by lookup and peek.
    pub rows_read: AtomicU64,
    /// Rows that did not exist and were made.
    pub rows_created: AtomicU64,
    /// Optimizer steps taken.
    pub rows_updated: AtomicU64,
    /// Keys of lookup and peek that were in memory.
    pub cache_hits: AtomicU64,
    /// Keys of lookup and peek that were not.
    pub cache_misses: AtomicU64,
    /// Keys looked for on disk.
    pub rows_loaded: AtomicU64,
    /// Rows written to disk behind the callers' backs.
    pub rows_written: AtomicU64,
    /// Microseconds that calls have waited for the writer.
    pub waited_us: AtomicU64,
}

/// When a call looks at rows: what has expired by then is not there.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    /// Milliseconds since 1970.
    pub(super) now: u64,
    /// Rows that were last updated before this have expired.
    pub(super) cutoff: u64,
    pub(super) core: &'a Core,
}

impl Moment<'_> {
    /// What a row that is made now is numbered with. To be asked with the row's shard locked: what is made after a cut
    /// has passed the shard is then not older than the cut.
    pub(super) fn number(&self) -> u64 {
        self.core.cut_number.load(Ordering::Acquire)
    }
}

impl Core {
    /// What has happened since the storage was opened.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// The database.
    ///
    /// # Errors
    /// `IO` when it was lost while loading a checkpoint, or could not be opened again after it had
    /// failed.
    pub(super) fn rocks(&self) -> Result<Arc<Rocks>> {
        match self.rocks.read().clone() {
            Some(rocks) => Ok(rocks),
            None if self.is_lost.load(Ordering::Acquire) => Err(self.lost()),
            None => Err(Error::io(format!(
                "the database in '{}' had to be closed after an error, and cannot be opened again yet; this is tried every \
                 second, and by flush",
                self.dir.display()
            ))),
        }
    }

    /// # Errors
    /// `IO` when the database was lost while loading a checkpoint: what is in memory is not what is on disk then.
    pub(super) fn check_not_lost(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Acquire) { Err(self.lost()) } else { Ok(()) }
    }

    pub(super) fn lost(&self) -> Error {
        Error::io(format!(
            "a checkpoint has taken the place of what '{}' had, and could not be opened; free every handle of this storage \
             and open it again",
            self.dir.display()
        ))
    }

    /// The time that rows written now get: milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.expiry.now_ms()
    }

    /// This moment.
    pub(super) fn moment(&self) -> Moment<'_> {
        self.moment_at(self.expiry.now_ms())
    }

    pub(super) fn moment_at(&self, now: u64) -> Moment<'_> {
        Moment { now, cutoff: self.expiry.cutoff_at(now), core: self }
    }

    /// Bytes of rows that are kept as they were at a cut.
    pub(super) fn kept_bytes(&self) -> usize {
        self.groups().iter().filter_map(|group| group.cache()).map(|cache| cache.kept_bytes()).sum()
    }

    /// Whether what a call writes must be there after losing power.
    pub(super) fn syncs(&self) -> bool {
        self.options.durability == Durability::Power
    }

    /// Every registered group, by id.
    pub(super) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Waits until more rows can be evicted; true when every row that was dirty has been written.
    ///
    /// # Errors
    /// What keeps the writer from writing.
    pub(super) fn wait_for_room(&self) -> Result<bool> {
        let started = Instant::now();
        let outcome = self.writer.wait_for_room();
        self.counters.waited_us.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        outcome
    }

    /// Takes memory back from groups that have more than their share, for those that had less. No group is left with
    /// less than its share: while the others' rows wait to be written, it would have none at all.
    pub(super) fn give_back_excess(&self) {
        let mut left = self.budget.excess();
        if left == 0 {
            return;
        }
        let share = self.budget.fair_share();
        let mut caches: Vec<_> = self.groups().iter().filter_map(|group| group.cache()).collect();
        caches.sort_by_key(|cache| std::cmp::Reverse(cache.bytes()));
        for cache in caches {
            let wanted = left.min(cache.bytes().saturating_sub(share));
            if wanted == 0 {
                break;
            }
            left = left.saturating_sub(cache.give_back(wanted));
        }
    }

    /// Dirty rows of all groups, and the bytes of their floats and headers.
    pub(super) fn dirty(&self) -> (u64, usize) {
        let caches = self.groups().into_iter().filter_map(|group| group.cache());
        caches.fold((0, 0), |(rows, bytes), cache| {
            let dirty = cache.dirty_rows();
            (rows + dirty as u64, bytes + dirty * (4 * cache.row_len() + 32))
        })
    }

    /// Brings everything to disk for good; the journal is then empty.
    pub(super) fn close(&self) -> Result<()> {
        self.readers.stop();
        let is_poisoned = self.groups().iter().any(|group| group.is_poisoned());
        if is_poisoned || !self.is_open.load(Ordering::Acquire) {
            // What a panic left in memory is in doubt, the journal is not: the next opening starts from that.
            return Ok(());
        }
        // Once more after a failure: its reason may have passed.
        self.write_everything().or_else(|_| self.write_everything())?;
        // In this order: a journal that is there and not needed does no harm, one that is missing does.
        self.write_journal_record(false)?;
        self.journal().map_or(Ok(()), Journal::finish)?;
        match self.rocks.write().take().map(Arc::try_unwrap) {
            Some(Ok(rocks)) => rocks.close(),
            // It closes with whoever else has it, and its files are listed as those of an open one.
            _ => Ok(()),
        }
    }

    fn write_everything(&self) -> Result<()> {
        self.recover()?;
        let rocks = self.rocks()?;
        Round::new(self, &rocks, Scope::All).run()
    }
}
