//! The only room that knows RocksDB. Everything above speaks of rows and of a few documents.
//!
//! Rows are in the default column family, and come there as whole SST files. The documents that
//! describe them (format, groups, steps) are in the family `damo`, under readable keys. Of a group
//! this room knows only the number, and of optimizers nothing.

mod admission;
mod batch;
mod blame;
pub(crate) mod block_reader;
#[cfg(feature = "check-index")]
mod check_lookups;
mod checkpoint;
pub(crate) mod documents;
#[cfg(feature = "check-index")]
mod dropped;
pub(crate) mod fate;
mod file_list;
pub(crate) mod file_names;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
pub(crate) mod incoming;
mod inventory;
pub(crate) mod key;
mod live_files;
mod log_file;
mod lookup_files;
mod lookups;
mod merge_counts;
mod merged;
mod missing;
#[cfg(not(target_os = "linux"))]
mod no_ring;
mod open;
mod options;
mod pace;
mod predecessor;
mod preparation;
mod ranges;
mod read;
pub(crate) mod read_batch;
pub(crate) mod readers;
mod regular;
#[cfg(target_os = "linux")]
mod ring;
pub(crate) mod room;
pub(crate) mod row;
mod snapshot;
mod sst;
mod sst_writer;
mod wreck;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rust_rocksdb::{
    Cache, ColumnFamily, CompactOptions, DB, DEFAULT_COLUMN_FAMILY_NAME, Env, Error as RocksError,
    ErrorKind, FlushOptions, Options, ReadOptions,
};

use crate::error::{Error, Result, Status};
use crate::locks::Mutex;
use crate::seqno::{AtomicSeqno, Seqno};
pub(crate) use batch::Batch;
use documents::FAMILY;
use inventory::KnownFiles;
pub(crate) use inventory::{INVENTORY, Inventory, NEW_INVENTORY, boot, check_without};
use lookups::Lookups;
use merge_counts::MergeCounts;
pub(crate) use open::DatabaseKind;
use options::Metadata;
pub(crate) use options::{MAX_OPEN_FILES, Opening, Resources, background_threads};
pub(crate) use predecessor::{PREDECESSOR, check_not_predecessor};
use preparation::Preparation;
pub(crate) use ranges::KeyRange;
pub(crate) use regular::check_regular;
pub(crate) use snapshot::Snapshot;
pub(crate) use sst::{Entry, SstFile, Unreadable};
pub(crate) use sst_writer::SstWriter;
pub(crate) use wreck::{Live, Wreck};

/// The levels that RocksDB has by default.
const LEVELS: usize = 7;

/// An open database.
pub(crate) struct Rocks {
    db: DB,
    cache: Cache,
    metadata: Metadata,
    /// Kept here, since the crate's own defaults are thread-locals, which are gone while a thread
    /// ends.
    read_options: ReadOptions,
    /// For rows. The blocks that are read stay in RocksDB's cache, above all indexes and filters.
    row_read_options: ReadOptions,
    /// Those of the rows' column family, for the SST files that the writer makes.
    row_options: Options,
    /// The largest sequence number that a call may have been given; the inventory has it.
    last: AtomicSeqno,
    /// The latest time that was used, for the inventory; 0 once a document has it.
    time: AtomicU64,
    /// The files as the inventory last listed them; held while it is written.
    listed: Mutex<KnownFiles>,
    /// Set when a write has failed. RocksDB may refuse to work until it resumes.
    has_failed: AtomicBool,
    /// How many errors of RocksDB's own threads have been dealt with.
    seen_errors: AtomicU64,
    /// How many files scans have open.
    files_of_scans: AtomicUsize,
    /// The files that single rows are read from.
    lookups: Arc<Lookups>,
    /// The thread that opens many files for the list.
    preparation: Preparation,
    /// What merges have written.
    merge_counts: MergeCounts,
    /// The threads of one merge that `compact` makes.
    merge_threads: usize,
    #[cfg(feature = "check-index")]
    dropped: dropped::Dropped,
}

impl Rocks {
    /// Notes that calls up to this sequence number may have been made, for the inventory.
    pub(crate) fn note_last(&self, last: Seqno) {
        self.last.fetch_max(last, Ordering::AcqRel);
    }

    /// Sets the latest time that was used, for the inventory; 0 when a document has it.
    pub(crate) fn set_time(&self, time: u64) {
        self.time.store(time, Ordering::Release);
    }

    /// The largest sequence number that a call may have been given.
    pub(crate) fn last(&self) -> Seqno {
        self.last.load(Ordering::Acquire)
    }

    /// Makes RocksDB go on after an error whose cause has passed.
    ///
    /// # Errors
    /// What still keeps RocksDB from working.
    pub(crate) fn resume(&self) -> Result<()> {
        let errors = self.background_errors();
        self.db.resume().map_err(|error| translate(&error))?;
        self.seen_errors.store(errors, Ordering::Release);
        self.has_failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether something has failed since opening, or since it last resumed.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
            || self.background_errors() != self.seen_errors.load(Ordering::Acquire)
    }

    fn background_errors(&self) -> u64 {
        self.number("rocksdb.background-errors").unwrap_or(0)
    }

    /// The outcome of a write; a failure is noted.
    fn written<T>(&self, outcome: std::result::Result<T, RocksError>) -> Result<T> {
        outcome.map_err(|error| {
            self.has_failed.store(true, Ordering::Release);
            translate(&error)
        })
    }

    /// Closes the database, and lists its files as they are afterwards.
    ///
    /// # Errors
    /// `IO`. The database is closed all the same, and the inventory says that it is open.
    pub(crate) fn close(self) -> Result<()> {
        let (dir, last) = (self.db.path().to_owned(), self.last.load(Ordering::Acquire));
        let time = self.time.load(Ordering::Acquire);
        let mut known = std::mem::take(&mut *self.listed.lock());
        drop(self);
        Inventory::take_again(&dir, true, last, &mut known)?.at(time).write(&dir)
    }

    /// Lists RocksDB's files as they are now.
    ///
    /// # Errors
    /// `IO`.
    pub(crate) fn write_inventory(&self) -> Result<()> {
        // One at a time, so that an earlier list does not replace a later one.
        let mut known = self.listed.lock();
        let (last, time) = (self.last.load(Ordering::Acquire), self.time.load(Ordering::Acquire));
        Inventory::take_again(self.db.path(), false, last, &mut known)?
            .at(time)
            .write(self.db.path())
    }

    /// Bytes of memory that indexes and filters take, and RocksDB's cache.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.lookup_bytes() + self.cache.get_usage() as u64
    }

    /// Bytes of memory that indexes and filters may take now. Rows do not get them.
    pub(crate) fn metadata_bytes(&self) -> Result<u64> {
        let of = |bytes: &AtomicUsize| bytes.load(Ordering::Relaxed) as u64;
        let cache_bytes = of(&self.lookups.cache_bytes);
        let lookup_bytes = match of(&self.lookups.bytes) {
            // More of them are on their way.
            _ if self.lookups.is_preparing() => self.metadata.bytes() as u64,
            0 => self.lookup_bytes_needed()?,
            known => known,
        };
        Ok((lookup_bytes + cache_bytes).min(self.metadata.bytes() as u64))
    }

    /// How many SST files have not been merged yet.
    pub(crate) fn unmerged_files(&self) -> Result<u64> {
        self.number("rocksdb.num-files-at-level0")
    }

    /// How many sorted runs there are: each file of level 0, and each other level with files.
    pub(crate) fn sorted_runs(&self) -> Result<u64> {
        (1..LEVELS).try_fold(self.unmerged_files()?, |runs, level| {
            let files = self.number(&format!("rocksdb.num-files-at-level{level}"))?;
            Ok(runs + files.min(1))
        })
    }

    /// How many rows merges have written since the database was opened.
    pub(crate) fn rows_merged(&self) -> u64 {
        self.merge_counts.rows()
    }

    /// Merges all rows into one sorted run.
    pub(crate) fn compact(&self) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(rust_rocksdb::BottommostLevelCompaction::Force);
        options.set_max_subcompactions(self.merge_threads as i32);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        // The flush may need the space of what was merged.
        self.free_deleted_files();
        // The call itself reports nothing. What stopped it also stops writes, so a flush reports
        // it.
        self.flush()
    }

    /// Reads every SST file, and compares its checksums.
    pub(crate) fn verify_checksums(&self) -> Result<()> {
        self.db.verify_checksum_opt(&self.read_options).map_err(|error| translate(&error))
    }

    /// Brings everything written so far to disk, whatever the durability.
    pub(crate) fn flush(&self) -> Result<()> {
        room::check(self.db.path())?;
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.written(self.db.flush_wal(true))?;
        let families = [self.family(DEFAULT_COLUMN_FAMILY_NAME)?, self.meta()?];
        let flushed = self.db.flush_cfs_opt(&families.each_ref().map(|family| *family), &wait);
        self.files_have_changed();
        self.written(flushed)
    }

    /// RocksDB's estimate of the number of rows; exact after a compaction.
    pub(crate) fn estimated_rows(&self) -> Result<u64> {
        self.number("rocksdb.estimate-num-keys")
    }

    /// Bytes of memtables, the block cache, and the indexes and filters of SST files.
    pub(crate) fn bytes_in_memory(&self) -> Result<u64> {
        Ok(self.index_bytes()
            + self.number("rocksdb.cur-size-all-mem-tables")?
            + self.number("rocksdb.estimate-table-readers-mem")?)
    }

    /// Calls `lend` with [`Rocks::metadata_bytes`] if lookups read other files than at the last
    /// call. If RocksDB does not tell a property, the next call asks again.
    pub(crate) fn lend_changed_metadata(&self, lend: impl FnOnce(u64)) {
        let changed = &self.lookups.has_changed;
        if !changed.load(Ordering::Relaxed) {
            return;
        }
        // So that no call lends older bytes after newer ones.
        let _lending = self.lookups.lending.lock();
        if !changed.swap(false, Ordering::Acquire) {
            return;
        }
        match self.metadata_bytes() {
            Ok(bytes) => lend(bytes),
            Err(_) => changed.store(true, Ordering::Relaxed),
        }
    }

    /// Bytes of memory that lookups without RocksDB take, and the files that are opened for them.
    fn lookup_bytes(&self) -> u64 {
        let of = |bytes: &AtomicUsize| bytes.load(Ordering::Relaxed) as u64;
        of(&self.lookups.bytes) + of(&self.lookups.opening_bytes)
    }

    /// A number of RocksDB's, if it has one.
    fn known_number(&self, property: &str) -> Option<u64> {
        self.db.property_int_value(property).ok().flatten()
    }

    fn number(&self, property: &str) -> Result<u64> {
        let value = self.db.property_int_value(property).map_err(|error| translate(&error))?;
        Ok(value.unwrap_or(0))
    }

    fn meta(&self) -> Result<&ColumnFamily> {
        self.family(FAMILY)
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| Error::corruption(format!("the column family '{name}' is missing")))
    }
}

/// Makes RocksDB's environment, which registers its exit handlers. Starts no thread.
pub(crate) fn load() {
    drop(Options::default());
}

/// Ends the threads that RocksDB keeps for later databases. No database may be open.
pub(crate) fn end_threads() {
    if let Ok(mut environment) = Env::new() {
        environment.set_background_threads(0);
        environment.set_high_priority_background_threads(0);
        environment.set_low_priority_background_threads(0);
        environment.set_bottom_priority_background_threads(0);
    }
}

/// RocksDB's error as damo's. Its kind is the first word of its text.
fn translate(error: &RocksError) -> Error {
    let text = error.to_string();
    let locked = text.contains("lock hold by current process")
        || (text.contains("While lock file") && text.contains("Resource temporarily unavailable"));
    let status = match error.kind() {
        ErrorKind::IOError if locked => Status::Busy,
        ErrorKind::Corruption => return Error::damage(text),
        ErrorKind::NotSupported => Status::NotSupported,
        _ => Status::Io,
    };
    Error::new(status, text)
}
