//! The engine: rows between a call and the disk. Calls find, load and change rows in memory; the
//! journal has each call before its rows change; the writer brings changed rows to disk.
//!
//! Knows groups, sequence numbers, expiry, cuts and replay. Does not know what else is in the
//! storage's directory, nor C.
//!
//! Locks are taken in this order: `contents`, a group's `write` and `load`, `rounds`, `stepping`,
//! the writer's `state`, `reserved_seqnos`, the journal's, `groups` and a group's `config`, `name`
//! and `cache`, `rocks`, a shard. docs/architecture.md also has the other rooms' locks in between.
//! No call waits for the writer with `rounds`, `stepping` or a shard held: the writer needs those.

pub(crate) mod clear;
mod clears;
pub(crate) mod clients;
pub(crate) mod counters;
pub(crate) mod cut;
pub(crate) mod database;
pub(crate) mod expiry;
mod forget_client;
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
pub(crate) mod replace_database;
pub(crate) mod replay;
mod rights;
pub(crate) mod row_rules;
pub mod rows;
pub(crate) mod seqno;
mod turns;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::cache::Budget;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::locks::{Mutex, RwLock};
use crate::rocks::Rocks;
use crate::rocks::incoming::Incoming;
use crate::rocks::readers::Readers;
use crate::seqno::{AtomicSeqno, Seqno};
use crate::stripes::CallLock;
use counters::Counters;
use expiry::Expiry;
use group::Group;
use moment::Moment;
use options::{Durability, StorageOptions};
use pool::Pool;
use writer::signal::Signal;

/// What the parts of an open storage share.
pub struct Engine {
    /// The database, shared with the threads that read from it. None while it could not be opened
    /// again after an error, and for good once `is_lost` is set.
    pub(crate) rocks: RwLock<Option<Arc<Rocks>>>,
    /// The storage's directory.
    pub(crate) dir: PathBuf,
    /// How the storage was opened.
    pub(crate) options: StorageOptions,
    /// Every registered group, by its id.
    pub(crate) groups: Mutex<BTreeMap<u16, Arc<Group>>>,
    /// What has happened since opening.
    pub(crate) counters: Counters,
    /// The memory that all groups share.
    pub(crate) budget: Arc<Budget>,
    /// The threads that share the work of one large call.
    pub(crate) pool: Pool,
    /// The threads that read rows from disk.
    pub(crate) readers: Readers,
    /// The signal between callers and the writer's thread.
    pub(crate) writer: Signal,
    /// The journal. Set once the calls of an earlier process have been replayed, unless the
    /// durability is "checkpoint".
    pub(crate) journal: OnceLock<Journal>,
    /// The last call's sequence number where no journal counts calls; with a journal, that of the
    /// last call before it was started.
    pub(crate) last_seqno: AtomicSeqno,
    /// Set once opening has succeeded. Before that, closing must leave the directory as it was.
    pub(crate) is_open: AtomicBool,
    /// Makes sure that no call is between its journal entry and its last row. Every change holds it
    /// for reading in between; a round or a cut holds it for writing, for a moment.
    pub(crate) stepping: CallLock,
    /// Set when the database is gone for good: loading a checkpoint has failed after the point of
    /// no return.
    pub(crate) is_lost: AtomicBool,
    /// Keeps everything stored from being replaced. Every call holds it for reading; a loaded
    /// checkpoint that takes the storage's place holds it for writing.
    pub(crate) contents: CallLock,
    /// Held during a write-back round or a cut: one at a time.
    pub(crate) rounds: Mutex<()>,
    /// Which rows have expired; shared with RocksDB's threads, which merge.
    pub(crate) expiry: Arc<Expiry>,
    /// The latest cut's sequence number. No row that a lookup makes from then on has a smaller one.
    pub(crate) cut_seqno: AtomicSeqno,
    /// Set while a cut is brought to disk.
    pub(crate) cut_is_open: AtomicBool,
    /// Up to where sequence numbers are set aside, where no journal counts. Held while the journal
    /// document is written, which never goes back.
    pub(crate) reserved_seqnos: Mutex<Seqno>,
    /// SST files that RocksDB has not taken over yet.
    pub(crate) incoming: Incoming,
}

impl Engine {
    /// What has happened since opening.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The journal; None during replay, and with the durability "checkpoint".
    pub(crate) fn journal(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// The database.
    ///
    /// # Errors
    /// `IO` when it was lost while loading a checkpoint, or could not be opened again after an
    /// error.
    pub(crate) fn rocks(&self) -> Result<Arc<Rocks>> {
        match self.rocks.read().clone() {
            Some(rocks) => Ok(rocks),
            None if self.is_lost.load(Ordering::Acquire) => Err(self.lost()),
            None => Err(Error::io(format!(
                "the database in '{}' had to be closed after an error, and cannot be opened again \
                 yet; this is tried every second, and by flush",
                self.dir.display()
            ))),
        }
    }

    /// # Errors
    /// `IO` when the database was lost while loading a checkpoint. What is in memory is then not
    /// what is on disk.
    pub(crate) fn check_not_lost(&self) -> Result<()> {
        if self.is_lost.load(Ordering::Acquire) { Err(self.lost()) } else { Ok(()) }
    }

    pub(crate) fn lost(&self) -> Error {
        Error::io(format!(
            "a checkpoint has taken the place of what '{}' had, and could not be opened; free \
             every handle of this storage and open it again",
            self.dir.display()
        ))
    }

    /// The time that rows written now are stamped with, in milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.expiry.now_ms()
    }

    /// The present moment.
    pub(crate) fn moment(&self) -> Moment<'_> {
        self.moment_at(self.expiry.now_ms())
    }

    fn moment_at(&self, now: u64) -> Moment<'_> {
        Moment {
            now,
            cutoff: self.expiry.cutoff_at(now),
            cut_seqno: &self.cut_seqno,
            expiry: &self.expiry,
        }
    }

    /// Bytes of copies of rows that were taken for a cut.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.groups().iter().filter_map(|group| group.cache()).map(|cache| cache.kept_bytes()).sum()
    }

    /// Whether what a call writes must survive losing power.
    fn syncs(&self) -> bool {
        self.options.durability == Durability::Power
    }

    /// Every registered group, by id.
    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Takes memory back from groups that have more than their share, for groups that had less.
    /// Each keeps its share. Otherwise a group could end up with no memory at all, while the
    /// others' rows wait to be written.
    fn give_back_excess(&self) {
        let mut left = self.budget.excess();
        if left == 0 {
            return;
        }
        let share = self.budget.fair_share();
        let mut caches: Vec<_> = self.groups().iter().filter_map(|group| group.cache()).collect();
        // Other threads change these numbers: a sort that read them twice could panic.
        caches.sort_by_cached_key(|cache| std::cmp::Reverse(cache.bytes()));
        for cache in caches {
            let wanted = left.min(cache.bytes().saturating_sub(share));
            if wanted == 0 {
                break;
            }
            left = left.saturating_sub(cache.give_back(wanted));
        }
    }

    /// The dirty rows of all groups, and the bytes of their floats and headers.
    pub(crate) fn dirty(&self) -> (u64, usize) {
        let caches = self.groups().into_iter().filter_map(|group| group.cache());
        caches.fold((0, 0), |(rows, bytes), cache| {
            let dirty = cache.dirty_rows();
            (rows + dirty as u64, bytes + dirty * (4 * cache.row_len() + 32))
        })
    }
}
