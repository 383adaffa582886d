//! The only folder that names RocksDB. Everything above speaks of rows and of a few named documents.
//!
//! Rows live in the default column family, and come there as whole sorted files; what describes them (format,
//! groups, steps) in the family `damo`, under readable keys.

mod batch;
mod blame;
mod checkpoint;
pub(crate) mod documents;
pub(crate) mod fate;
pub(crate) mod file_names;
pub(crate) mod incoming;
mod inventory;
pub(crate) mod key;
mod log_file;
mod missing;
mod options;
mod predecessor;
mod ranges;
pub(crate) mod readers;
mod regular;
pub(crate) mod room;
pub(crate) mod row;
mod snapshot;
mod sst;
mod wreck;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rust_rocksdb::{
    Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DB, DEFAULT_COLUMN_FAMILY_NAME,
    Direction, Env, Error as RocksError, ErrorKind, FlushOptions, IngestExternalFileOptions,
    IteratorMode, Options, ReadOptions, SstFileWriter, compaction_filter::Decision,
};

use crate::error::{Error, Result, Status};
use crate::locks::Mutex;
pub(crate) use batch::Batch;
use documents::{FAMILY, FORMAT};
use fate::Fate;
use file_names::CURRENT;
use inventory::KnownFiles;
pub(crate) use inventory::{INVENTORY, Inventory, NEW_INVENTORY, boot, check_without};
use key::KEY_LEN;
use options::{Logs, METADATA_PART, Metadata};
pub(crate) use options::{MAX_OPEN_FILES, Opening, Resources, background_threads};
pub(crate) use predecessor::{PREDECESSOR, check_not_predecessor};
pub(crate) use ranges::KeyRange;
pub(crate) use regular::check_regular;
pub(crate) use snapshot::Snapshot;
pub(crate) use sst::{Entry, SstFile, Unreadable};
pub(crate) use wreck::{Live, Wreck};

/// What one MultiGet reads at most: enough to share work between neighbours, little enough to bound the memory that
/// its results pin.
const MULTI_GET_KEYS: usize = 1024;
const MULTI_GET_BYTES: usize = 4 << 20;

/// An open database.
pub(crate) struct Rocks {
    db: DB,
    cache: Cache,
    metadata: Metadata,
    /// Kept here, because the crate's own defaults are thread-locals, which are gone while a thread ends.
    read_options: ReadOptions,
    sst_options: Options,
    /// The largest number that a call may have been given, as the inventory says it.
    last: AtomicU64,
    /// The latest time that was used, until a document has it; 0 then.
    time: AtomicU64,
    /// What the inventory was written of last; held while it is written.
    listed: Mutex<KnownFiles>,
    /// Set when a write has failed: RocksDB may refuse to work until it resumes.
    has_failed: AtomicBool,
    /// Errors of RocksDB's own threads that have been dealt with.
    seen_errors: AtomicU64,
}

/// A file of rows that is being written, by ascending keys.
pub(crate) struct SstWriter<'a> {
    writer: SstFileWriter<'a>,
}

/// What a directory's database is.
pub(crate) enum DatabaseKind {
    Damo,
    /// A first opening of ours that was killed, in an earlier release.
    Begun,
    /// A damo of another release, with what it says of its format.
    OtherFormat(Vec<u8>),
    /// One of damo-embedding, the earlier implementation.
    Predecessor,
    ForeignRocksDb,
}

impl Rocks {
    /// Tells what `dir`, which exists and has a `CURRENT`, holds, without changing it.
    pub(crate) fn find(dir: &Path) -> Result<DatabaseKind> {
        let families = DB::list_cf(&Options::default(), dir).map_err(|error| translate(&error))?;
        let is_ours = |name: &String| name == FAMILY || name == DEFAULT_COLUMN_FAMILY_NAME;
        let has_meta = families.iter().any(|family| family == FAMILY);
        if has_meta && families.iter().all(is_ours) {
            return Ok(DatabaseKind::Damo);
        }
        let mut options = Options::default();
        options::bound_files(&mut options);
        let db = match DB::open_cf_for_read_only(&options, dir, &families, false) {
            Err(_) if !has_meta && predecessor::has_traces(dir) => {
                return Ok(DatabaseKind::Predecessor);
            }
            opened => opened.map_err(|error| translate(&error))?,
        };
        if let Some(meta) = db.cf_handle(FAMILY) {
            // More families than this release has: a later damo says so in its format.
            let format = db.get_cf_opt(meta, FORMAT, &ReadOptions::default());
            let format = format.map_err(|error| translate(&error))?;
            return Ok(format.map_or(DatabaseKind::ForeignRocksDb, DatabaseKind::OtherFormat));
        }
        // A first opening that was killed between making the database and its second family.
        let is_predecessor = match (families.len(), db.iterator(IteratorMode::Start).next()) {
            (1, None) => return Ok(DatabaseKind::Begun),
            (1, Some(Ok((key, value)))) => predecessor::is_row(&key, &value),
            (1, Some(Err(_))) => predecessor::has_traces(dir),
            _ => false,
        };
        Ok(if is_predecessor { DatabaseKind::Predecessor } else { DatabaseKind::ForeignRocksDb })
    }

    /// Opens the database in `dir`, or makes it. `fate` is asked for each row that is merged. The
    /// files of `kept` may be needed in place of some that are missing.
    pub(crate) fn open(
        dir: &Path,
        opening: Opening,
        options: &Resources,
        kept: &[PathBuf],
        fate: impl Fn(&[u8]) -> Fate + Clone + Send + Sync + 'static,
    ) -> Result<Rocks> {
        let open_with =
            |metadata, logs| Rocks::open_with(dir, opening, options, metadata, logs, fate.clone());
        let open = |metadata| match open_with(metadata, Logs::Tracked) {
            // Sequence numbers are compared first, so no document is missing.
            Err(error) if error.message().contains("Mismatched size of the WAL") => {
                open_with(metadata, Logs::Whole)
            }
            Err(error) if error.message().contains("create_if_missing is false") => {
                Err(Error::io(format!(
                    "'{}' cannot be looked at: {}",
                    dir.join(CURRENT).display(),
                    error.message()
                )))
            }
            outcome => outcome,
        };
        let rocks = missing::open_with_kept(dir, kept, || open(Metadata::Held))
            .map_err(|error| blame::name_files(dir, error))?;
        let room = options.cache_bytes / METADATA_PART;
        if rocks.metadata_bytes()? <= room as u64 {
            return Ok(rocks);
        }
        drop(rocks);
        open(Metadata::Cached(room)).map_err(|error| blame::name_files(dir, error))
    }

    fn open_with(
        dir: &Path,
        opening: Opening,
        options: &Resources,
        metadata: Metadata,
        logs: Logs,
        fate: impl Fn(&[u8]) -> Fate + Send + Sync + 'static,
    ) -> Result<Rocks> {
        let cache = options::block_cache(metadata);
        let mut row_options = options::rows(&cache, metadata, options);
        row_options.set_compaction_filter("damo.expiry", move |_, _, value| match fate(value) {
            Fate::Stay => Decision::Keep,
            Fate::Go => Decision::Remove,
            Fate::Leave(bytes) => Decision::Change(bytes),
        });
        let families = [
            ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, row_options.clone()),
            ColumnFamilyDescriptor::new(FAMILY, options::meta(&cache)),
        ];
        let db = DB::open_cf_descriptors(&options::database(options, opening, logs), dir, families)
            .map_err(|error| translate(&error))?;
        let mut read_options = ReadOptions::default();
        // Rows go into the cache of rows; their blocks would only push filters and indexes out.
        read_options.fill_cache(false);
        let sst_options = options::new_ssts(row_options);
        Ok(Rocks::new(db, cache, metadata, read_options, sst_options))
    }

    fn new(
        db: DB,
        cache: Cache,
        metadata: Metadata,
        read_options: ReadOptions,
        sst_options: Options,
    ) -> Rocks {
        Rocks {
            db,
            cache,
            metadata,
            read_options,
            sst_options,
            last: AtomicU64::new(0),
            time: AtomicU64::new(0),
            listed: Mutex::default(),
            has_failed: AtomicBool::new(false),
            seen_errors: AtomicU64::new(0),
        }
    }

    /// Says that calls up to this number may have been made, for the inventory.
    pub(crate) fn note_last(&self, last: u64) {
        self.last.fetch_max(last, Ordering::AcqRel);
    }

    /// Says which time was used, for the inventory, until a document has it.
    pub(crate) fn set_time(&self, time: u64) {
        self.time.store(time, Ordering::Release);
    }

    /// The largest number that a call may have been given.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Goes on after an error whose reason has passed.
    ///
    /// # Errors
    /// What still keeps it from working.
    pub(crate) fn resume(&self) -> Result<()> {
        let errors = self.background_errors();
        self.db.resume().map_err(|error| translate(&error))?;
        self.seen_errors.store(errors, Ordering::Release);
        self.has_failed.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether something has failed since it was opened or has resumed.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
            || self.background_errors() != self.seen_errors.load(Ordering::Acquire)
    }

    fn background_errors(&self) -> u64 {
        self.number("rocksdb.background-errors").unwrap_or(0)
    }

    /// The outcome of something that writes.
    fn written<T>(&self, outcome: std::result::Result<T, RocksError>) -> Result<T> {
        outcome.map_err(|error| {
            self.has_failed.store(true, Ordering::Release);
            translate(&error)
        })
    }

    /// Closes the database, and lists its files as they are then.
    ///
    /// # Errors
    /// `IO`. The database is closed all the same; the inventory says that it is open.
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
        // One at a time: a later one must not be replaced by an earlier.
        let mut known = self.listed.lock();
        let (last, time) = (self.last.load(Ordering::Acquire), self.time.load(Ordering::Acquire));
        Inventory::take_again(self.db.path(), false, last, &mut known)?
            .at(time)
            .write(self.db.path())
    }

    /// Bytes of memory that indexes and filters take, or may take.
    pub(crate) fn metadata_bytes(&self) -> Result<u64> {
        match self.metadata {
            Metadata::Cached(bytes) => Ok(bytes as u64),
            Metadata::Held => Ok(options::metadata_bytes(
                self.estimated_rows()?,
                self.number("rocksdb.total-sst-files-size")?,
            )),
        }
    }

    /// Reads rows of `row_bytes` by ascending keys and hands each to `visit` with its position: None when it is not
    /// there.
    fn read_rows(
        &self,
        sorted_keys: &[[u8; KEY_LEN]],
        row_bytes: usize,
        mut visit: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let chunk_len = (MULTI_GET_BYTES / row_bytes).clamp(1, MULTI_GET_KEYS);
        for (chunk_index, chunk) in sorted_keys.chunks(chunk_len).enumerate() {
            let found = self.db.batched_multi_get_pinned_batch_opt(chunk, true, &self.read_options);
            let found = found.map_err(|error| translate(&error))?;
            for (index, value) in found.iter().enumerate() {
                let value = value.map_err(|error| translate(&error))?;
                visit(chunk_index * chunk_len + index, value)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read_meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.db.get_cf_opt(self.meta()?, key, &self.read_options).map_err(|error| translate(&error))
    }

    /// Every document whose key starts with `prefix`, with the rest of its key.
    pub(crate) fn scan_meta(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut documents = Vec::new();
        for entry in self.db.iterator_cf(self.meta()?, IteratorMode::Start) {
            let (key, value) = entry.map_err(|error| translate(&error))?;
            if let Some(rest) = String::from_utf8_lossy(&key).strip_prefix(prefix) {
                documents.push((rest.to_owned(), value.into_vec()));
            }
        }
        Ok(documents)
    }

    /// True when there is neither a row nor a document.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let mut first = [
            self.db.iterator(IteratorMode::Start),
            self.db.iterator_cf(self.meta()?, IteratorMode::Start),
        ];
        match first.iter_mut().find_map(Iterator::next) {
            None => Ok(true),
            Some(entry) => entry.map(|_| false).map_err(|error| translate(&error)),
        }
    }

    /// Whether a group has any row.
    pub(crate) fn has_rows(&self, group: u16) -> Result<bool> {
        let start = key::encode(group, i64::MIN);
        match self.db.iterator(IteratorMode::From(&start, Direction::Forward)).next() {
            None => Ok(false),
            Some(entry) => entry
                .map(|(key, _)| key.starts_with(&start[..2]))
                .map_err(|error| translate(&error)),
        }
    }

    /// Writes a file of rows at `path`, to be made part of the table by [`Rocks::ingest`].
    pub(crate) fn begin_sst(&self, path: &Path) -> Result<SstWriter<'_>> {
        let mut writer = SstFileWriter::create(&self.sst_options);
        writer.open(path).map_err(|error| translate(&error))?;
        Ok(SstWriter { writer })
    }

    /// Makes the rows of a finished file the newest of their keys, all at once and durably; the file is gone from
    /// `path` then.
    pub(crate) fn ingest(&self, path: &Path) -> Result<()> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.written(self.db.ingest_external_file_opts(&options, vec![path]))
    }

    /// Files of rows that have not been merged yet.
    pub(crate) fn unmerged_files(&self) -> Result<u64> {
        self.number("rocksdb.num-files-at-level0")
    }

    /// Merges all rows into one sorted run.
    pub(crate) fn compact(&self) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(rust_rocksdb::BottommostLevelCompaction::Force);
        self.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        // The call itself reports nothing; what stopped it also stops writes.
        self.flush()
    }

    /// Reads every file and compares its checksums.
    pub(crate) fn verify_checksums(&self) -> Result<()> {
        self.db.verify_checksum_opt(&self.read_options).map_err(|error| translate(&error))
    }

    /// Puts everything written so far on disk, whatever the durability.
    pub(crate) fn flush(&self) -> Result<()> {
        room::check(self.db.path())?;
        let mut wait = FlushOptions::default();
        wait.set_wait(true);
        self.written(self.db.flush_wal(true))?;
        let families = [self.family(DEFAULT_COLUMN_FAMILY_NAME)?, self.meta()?];
        self.written(self.db.flush_cfs_opt(&families.each_ref().map(|family| *family), &wait))
    }

    /// RocksDB's own estimate of how many rows there are; exact after a compaction.
    pub(crate) fn estimated_rows(&self) -> Result<u64> {
        self.number("rocksdb.estimate-num-keys")
    }

    /// Memtables, block cache and the tables' indexes and filters.
    pub(crate) fn bytes_in_memory(&self) -> Result<u64> {
        Ok(self.cache.get_usage() as u64
            + self.number("rocksdb.cur-size-all-mem-tables")?
            + self.number("rocksdb.estimate-table-readers-mem")?)
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

impl SstWriter<'_> {
    pub(crate) fn put(&mut self, key: [u8; KEY_LEN], value: &[u8]) -> Result<()> {
        self.writer.put(key, value).map_err(|error| translate(&error))
    }

    pub(crate) fn delete(&mut self, key: [u8; KEY_LEN]) -> Result<()> {
        self.writer.delete(key).map_err(|error| translate(&error))
    }

    /// Ends the file and syncs it.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(|error| translate(&error))
    }
}

/// Makes RocksDB's environment, whose exit handlers are registered then. Starts no thread.
pub(crate) fn load() {
    drop(Options::default());
}

/// Ends the threads that RocksDB keeps for later databases. There must be none open.
pub(crate) fn end_threads() {
    if let Ok(mut environment) = Env::new() {
        environment.set_background_threads(0);
        environment.set_high_priority_background_threads(0);
        environment.set_low_priority_background_threads(0);
        environment.set_bottom_priority_background_threads(0);
    }
}

/// RocksDB's error in the terms of this library. Its kind is the first word of its text.
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
