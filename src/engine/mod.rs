//! What the parts of an open storage share.

pub(crate) mod clear;
mod clears;
pub(crate) mod counters;
pub(crate) mod cut;
pub(crate) mod database;
pub(crate) mod expiry;
pub mod group;
pub(crate) mod journal_document;
pub(crate) mod moment;
pub mod names;
pub mod options;
pub(crate) mod pool;
pub(crate) mod prefetch;
mod recover;
pub(crate) mod refusals;
pub(crate) mod registry;
pub(crate) mod replace;
pub(crate) mod replay;
pub mod rows;
pub(crate) mod seqno;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cache::Budget;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::locks::{Mutex, RwLock};
use crate::rocks::Rocks;
use crate::rocks::incoming::Incoming;
use crate::rocks::readers::Readers;
use counters::Counters;
use expiry::Expiry;
use group::Group;
use moment::Moment;
use options::{Durability, StorageOptions};
use pool::Pool;
use writer::signal::Signal;

/// The inside of an open storage.
pub struct Engine {
    /// Behind an Arc for the threads that read; None once loading a checkpoint has failed after the point of no return.
    pub(crate) rocks: RwLock<Option<Arc<Rocks>>>,
    pub(crate) dir: PathBuf,
    pub(crate) options: StorageOptions,
    pub(crate) groups: Mutex<BTreeMap<u16, Arc<Group>>>,
    pub(crate) counters: Counters,
    pub(crate) budget: Arc<Budget>,
    pub(crate) pool: Pool,
    pub(crate) readers: Readers,
    pub(crate) writer: Signal,
    /// Set once the calls of an earlier process have been replayed, unless the durability is "checkpoint".
    pub(crate) journal: OnceLock<Journal>,
    /// The number of the last call of earlier openings, for rows that change without a journal.
    pub(crate) last_number: AtomicU64,
    /// Set once opening has succeeded: before that, closing must leave the directory as it was.
    pub(crate) is_open: AtomicBool,
    /// Held for reading from a call's record in the journal to its last row.
    pub(crate) stepping: RwLock<()>,
    /// Set when `rocks` is None for good.
    pub(crate) is_lost: AtomicBool,
    /// Held for reading by every call; for writing while a checkpoint takes the place of everything.
    pub(crate) contents: RwLock<()>,
    /// Held while changed rows are brought to disk.
    pub(crate) rounds: Mutex<()>,
    /// Shared with RocksDB's threads.
    pub(crate) expiry: Arc<Expiry>,
    /// The number of the latest cut: no row that a lookup makes from then on has a smaller one.
    pub(crate) cut_number: AtomicU64,
    /// While a cut is brought to disk.
    pub(crate) cut_is_open: AtomicBool,
    /// How far numbers have been set aside, where no journal keeps count.
    pub(crate) reserved_numbers: Mutex<u64>,
    /// Files of rows on their way into the table.
    pub(crate) incoming: Incoming,
}

impl Engine {
    /// What has happened since the storage was opened.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// The database.
    ///
    /// # Errors
    /// `IO` when it was lost while loading a checkpoint, or could not be opened again after it had
    /// failed.
    pub(crate) fn rocks(&self) -> Result<Arc<Rocks>> {
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
    pub(crate) fn check_not_lost(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Acquire) { Err(self.lost()) } else { Ok(()) }
    }

    pub(crate) fn lost(&self) -> Error {
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
    pub(crate) fn moment(&self) -> Moment<'_> {
        self.moment_at(self.expiry.now_ms())
    }

    fn moment_at(&self, now: u64) -> Moment<'_> {
        Moment {
            now,
            cutoff: self.expiry.cutoff_at(now),
            cut_number: &self.cut_number,
            expiry: &self.expiry,
        }
    }

    /// Bytes of rows that are kept as they were at a cut.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.groups().iter().filter_map(|group| group.cache()).map(|cache| cache.kept_bytes()).sum()
    }

    /// Whether what a call writes must be there after losing power.
    fn syncs(&self) -> bool {
        self.options.durability == Durability::Power
    }

    /// Every registered group, by id.
    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Takes memory back from groups that have more than their share, for those that had less. No group is left with
    /// less than its share: while the others' rows wait to be written, it would have none at all.
    fn give_back_excess(&self) {
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
    pub(crate) fn dirty(&self) -> (u64, usize) {
        let caches = self.groups().into_iter().filter_map(|group| group.cache());
        caches.fold((0, 0), |(rows, bytes), cache| {
            let dirty = cache.dirty_rows();
            (rows + dirty as u64, bytes + dirty * (4 * cache.row_len() + 32))
        })
    }
}
