//! The directory that holds everything: rows, groups and their steps; in memory what is used, in the journal what has
//! changed, on disk all of it.
//!
//! Knows nothing of C. Only `rocks` names RocksDB. `table` has what an embedding does with its rows; `writer` brings
//! changed rows to disk behind everybody's back; `replay` makes the calls of a killed process again.

mod checkpoint;
mod compact;
mod describe;
mod directory;
mod dump;
mod ending;
mod filters;
mod first_opening;
mod flush;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod groups;
mod import;
mod open;
mod options;
mod prefetch;
mod read_only;
mod record;
mod row_count;
mod rows;
mod salvage;
mod scan;
mod stat;
mod test_clock;
mod verify;

use std::path::Path;
use std::sync::Arc;

pub use crate::engine::Engine;
pub use crate::engine::group::{Group, GroupConfig, Recipe};
pub use crate::engine::options::StorageOptions;
pub use crate::engine::rows::{Duplicates, Record, Summed};
pub use describe::GroupDescription;
pub use dump::{DumpFormat, DumpOptions, Dumped};
pub(crate) use ending::{end_threads, load_rocksdb};
pub use filters::Filters;
pub use import::{FieldOrder, Format, ImportOptions, Imported, Layout, Refusal, Refused};
pub use rows::Rows;
pub use salvage::{Salvaged, salvage};
pub use verify::Verified;

use crate::engine::prefetch::Prefetcher;
use crate::engine::writer::WriterThread;
use crate::error::{Error, Result};
use crate::locks::{Mutex, RwLockReadGuard};
use crate::process::{Call, check_opener};
use directory::Directory;
use dump::bases::Bases;
use read_only::Likeness;

/// An open storage. Clones share it; it closes when the last clone and the last embedding are gone.
#[derive(Clone)]
pub struct Storage {
    handle: Arc<Handle>,
}

/// What a storage that is open with `read_only` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// The latest time on record in it, milliseconds since 1970. What came later is not seen.
    pub as_of_ms: u64,
    /// Whether it was open when it was looked at, in another process or here: memory may have more.
    pub is_open_elsewhere: bool,
}

struct Handle {
    engine: Arc<Engine>,
    filters: Filters,
    /// Behind an Arc for the thread of a dump.
    bases: Arc<Bases>,
    /// What became of the latest import.
    last_import: Mutex<Option<Imported>>,
    /// Held while a checkpoint is made or loaded, so that there is one at a time, and while a
    /// filter is attached. Taken before `contents`, which is taken before `rounds`.
    checkpoints: Mutex<()>,
    prefetcher: Prefetcher,
    writer: Option<WriterThread>,
    pid: u32,
    /// Given back once the database is closed: dropped after `engine`.
    dir: Directory,
    /// With `read_only`: what is open in place of the storage's own directory.
    likeness: Option<Arc<Likeness>>,
    /// Closing is a call too. Last, so that it ends when everything else is gone.
    closing: Option<Call>,
}

impl Storage {
    /// The directory, absolute and without symbolic links.
    pub fn dir(&self) -> &Path {
        self.handle.likeness.as_ref().map_or(self.handle.dir.path(), |likeness| likeness.original())
    }

    /// The same error, with the names that files have in the directory that was opened.
    pub(crate) fn in_dir(&self, error: Error) -> Error {
        match &self.handle.likeness {
            Some(likeness) => likeness.in_original(error),
            None => error,
        }
    }

    /// # Errors
    /// `BUSY` where what is only looked at may have rows of calls of which others are not there.
    fn check_whole_calls(&self) -> Result<()> {
        self.handle.likeness.as_ref().map_or(Ok(()), |likeness| likeness.check_whole_calls())
    }

    /// Runs a call. Its errors name files as they are in the directory that was opened.
    ///
    /// # Errors
    /// `FORKED`, `EXITING`; those of the call.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        let _call = self.begin_call()?;
        call(self.engine()).map_err(|error| self.in_dir(error))
    }

    /// For a storage that is open with `read_only`: what is seen of it.
    pub fn seen(&self) -> Option<Seen> {
        let likeness = self.handle.likeness.as_ref()?;
        let as_of_ms = match self.engine().expiry.restored_ms() {
            // An earlier release has kept no record of it.
            0 => likeness.changed_ms(),
            recorded => recorded,
        };
        Some(Seen { as_of_ms, is_open_elsewhere: likeness.is_in_use() })
    }

    /// What tables work on.
    pub fn engine(&self) -> &Engine {
        &self.handle.engine
    }

    /// The filters that embeddings have now.
    pub fn filters(&self) -> &Filters {
        &self.handle.filters
    }

    /// Every registered group, by id.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.handle.engine.groups()
    }

    /// Removes the directory once the storage is closed, before anybody else can open it. One that
    /// has a group, or cannot be told to have none, stays.
    pub fn discard_if_empty(self) {
        let is_empty = self.begin_call().is_ok() && self.groups().is_empty();
        if is_empty && self.handle.likeness.is_none() {
            self.handle.dir.remove_when_done();
        }
    }

    /// Every call starts here, before any lock, and keeps what it gets until it returns. Refuses to go on where RocksDB
    /// cannot: in a child forked after opening, whose threads and locks did not come along, and while the process ends.
    ///
    /// # Errors
    /// `FORKED`, `EXITING`.
    pub(crate) fn begin_call(&self) -> Result<StorageCall<'_>> {
        self.check_process()?;
        let call = Call::begin()?;
        let contents = self.engine().contents.read();
        self.engine().check_not_lost()?;
        Ok(StorageCall { _contents: contents, _call: call })
    }

    /// Refuses to go on in a child that was forked after opening.
    ///
    /// # Errors
    /// `FORKED`.
    pub(crate) fn check_process(&self) -> Result<()> {
        check_opener(self.handle.pid, "storage", self.dir())
    }
}

/// A call on a storage: neither the process nor a checkpoint that is loaded gets in between.
pub(crate) struct StorageCall<'a> {
    _contents: RwLockReadGuard<'a, ()>,
    _call: Call,
}

/// Databases that must not be closed, kept where leak checkers find them.
static ABANDONED: Mutex<Vec<Arc<Engine>>> = Mutex::new(Vec::new());

impl Drop for Handle {
    fn drop(&mut self) {
        let own = self.pid == std::process::id();
        self.closing = if own { Call::begin().ok() } else { None };
        if self.closing.is_some() {
            self.prefetcher.stop();
            if let Some(writer) = self.writer.take() {
                writer.stop();
            }
            // An error cannot be told from here; callers who need to know call flush first. What the journal has
            // is not lost: the next opening makes those calls again.
            let _ = self.engine.close();
            return;
        }
        // RocksDB may still use it.
        std::mem::forget(self.likeness.take());
        // Threads that are not there in a forked child, and that the end of the process will not wait for.
        self.prefetcher.abandon();
        if let Some(writer) = self.writer.take() {
            std::mem::forget(writer);
        }
        if let Some(mut abandoned) = ABANDONED.try_lock() {
            abandoned.push(Arc::clone(&self.engine));
        } else {
            // In a forked child the lock may be held for ever.
            std::mem::forget(Arc::clone(&self.engine));
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Storage({})", self.dir().display())
    }
}
