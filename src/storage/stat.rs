//! Stat: statistics by name.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Storage;
use crate::cache::GroupCache;
use crate::engine::Engine;
use crate::engine::counters::Counts;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::params::find_name;

type Read = fn(&Storage) -> Result<u64>;

const STATS: [(&str, Read); 31] = [
    ("groups", |storage| Ok(storage.engine().groups.lock().len() as u64)),
    ("rows_estimate", |storage| storage.engine().rocks()?.estimated_rows()),
    ("rows_in_memory", |storage| Ok(over_caches(storage.engine(), |cache| cache.rows() as u64))),
    ("dirty_rows", |storage| Ok(storage.engine().dirty().0)),
    ("rows_read", |storage| counted(storage, |counts| &counts.rows_read)),
    ("rows_created", |storage| counted(storage, |counts| &counts.rows_created)),
    ("rows_updated", |storage| counted(storage, |counts| &counts.rows_updated)),
    ("steps_skipped", |storage| counted(storage, |counts| &counts.steps_skipped)),
    ("rows_loaded", |storage| counted(storage, |counts| &counts.rows_loaded)),
    ("rows_loaded_by_rocksdb", |storage| counted(storage, |counts| &counts.rows_loaded_by_rocksdb)),
    ("blocks_read_mapped", |storage| counted(storage, |counts| &counts.blocks_read_mapped)),
    ("blocks_read_by_io_uring", |storage| {
        counted(storage, |counts| &counts.blocks_read_by_io_uring)
    }),
    ("blocks_read_by_pread", |storage| counted(storage, |counts| &counts.blocks_read_by_pread)),
    ("rows_written", |storage| counted(storage, |counts| &counts.rows_written)),
    ("rows_merged", |storage| {
        let engine = storage.engine();
        let before = counted(storage, |counts| &counts.rows_merged)?;
        Ok(before + engine.rocks()?.rows_merged())
    }),
    ("expired_rows", |storage| Ok(storage.engine().expiry.expired())),
    ("cache_hits", |storage| counted(storage, |counts| &counts.cache_hits)),
    ("cache_misses", |storage| counted(storage, |counts| &counts.cache_misses)),
    ("evictions", |storage| Ok(over_caches(storage.engine(), GroupCache::evictions))),
    ("waited_us", |storage| Ok(storage.engine().counters.sum(Counts::waited_us))),
    ("waited_for_journal_us", |storage| counted(storage, |counts| &counts.waited_for_journal_us)),
    ("waited_for_room_us", |storage| counted(storage, |counts| &counts.waited_for_room_us)),
    ("waited_for_cut_us", |storage| counted(storage, |counts| &counts.waited_for_cut_us)),
    ("slowed_us", |storage| counted(storage, |counts| &counts.slowed_us)),
    ("writer_waited_us", |storage| counted(storage, |counts| &counts.writer_waited_us)),
    ("sorted_runs", |storage| storage.engine().rocks()?.sorted_runs()),
    ("index_bytes", |storage| Ok(storage.engine().rocks()?.index_bytes())),
    ("cache_bytes", |storage| Ok(storage.engine().options.cache_bytes as u64)),
    ("bytes_in_memory", |storage| {
        let engine = storage.engine();
        Ok(engine.budget.used() as u64 + engine.rocks()?.bytes_in_memory()?)
    }),
    ("bytes_on_disk", |storage| bytes_in(storage.dir())),
    ("journal_bytes", journal_bytes),
];

impl Storage {
    /// The names that [`Storage::stat`] accepts.
    pub fn stat_names() -> Vec<&'static str> {
        STATS.iter().map(|(name, _)| *name).collect()
    }

    /// One statistic: a count, or a number of bytes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an unknown name; `IO` when the directory cannot be read.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let _call = self.begin_call()?;
        let (_, read) = STATS[find_name("a statistic", name, &Storage::stat_names(), &[])?];
        read(self).map_err(|error| self.in_dir(error))
    }
}

fn counted(storage: &Storage, count: impl Fn(&Counts) -> &AtomicU64) -> Result<u64> {
    Ok(storage.engine().counters.sum(|counts| count(counts).load(Ordering::Relaxed)))
}

fn over_caches(engine: &Engine, of: fn(&GroupCache) -> u64) -> u64 {
    engine.groups().iter().filter_map(|group| group.cache()).map(|cache| of(&cache)).sum()
}

/// Bytes of the calls that an opening after a kill would replay.
fn journal_bytes(storage: &Storage) -> Result<u64> {
    let engine = storage.engine();
    if !engine.is_read_only() {
        return Ok(engine.journal().map_or(0, |journal| journal.bytes()));
    }
    // The journal of the storage that is looked at, not that of the likeness.
    let folder = storage.dir().join(JOURNAL);
    if !folder.exists() {
        return Ok(0);
    }
    crate::journal::bytes_in(&folder).map_err(|error| unreadable(&folder, &error))
}

/// The sum of the sizes of a directory's files.
fn bytes_in(dir: &Path) -> Result<u64> {
    bytes_on_disk(dir).map_err(|error| unreadable(dir, &error))
}

fn unreadable(dir: &Path, error: &std::io::Error) -> Error {
    Error::io(format!("'{}' cannot be read: {error}", dir.display()))
}

/// As `bytes_in`, with the system's errors. RocksDB and the writer remove files at any time, so a
/// file that vanishes counts nothing. A folder that this user may not read, such as a file system's
/// lost+found, is not damo's and counts nothing either.
fn bytes_on_disk(dir: &Path) -> std::io::Result<u64> {
    let unless_gone = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let unless_others = |error: std::io::Error| match error.kind() {
        ErrorKind::PermissionDenied => Ok(0),
        _ => unless_gone(error),
    };
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_on_disk(&entry.path()).or_else(unless_others)?,
            Ok(found) => found.len(),
            Err(error) => unless_gone(error)?,
        };
    }
    Ok(bytes)
}
