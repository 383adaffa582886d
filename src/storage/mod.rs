//! The storage: the handle of a directory, and what `damo_storage_*` does, a verb a file.
//!
//! It knows what lies in the directory, and nothing of C. The `engine` has the rows between a call
//! and the disk: what an embedding does with them, write-back rounds, replay. Only `rocks` names
//! RocksDB.

mod checkpoint;
mod compact;
mod default_cache;
mod describe;
mod directory;
mod dump;
mod filters;
mod first_opening;
mod flush;
mod forget_client;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod groups;
mod import;
mod open;
mod options;
mod prefetch;
mod process_end;
mod read_only;
mod record;
mod row_count;
mod rows;
mod salvage;
mod scan;
mod set_executor;
mod stat;
mod test_clock;
mod verify;

use std::path::Path;
use std::sync::Arc;

pub use crate::engine::Engine;
pub use crate::engine::group::{Group, GroupConfig, Recipe};
pub use crate::engine::options::StorageOptions;
pub use crate::engine::rows::{Duplicates, Record, Summed};
pub use describe::{ClientDescription, GroupDescription};
pub use dump::{DumpFormat, DumpOptions, Dumped};
pub use filters::Filters;
pub use import::{FieldOrder, Format, ImportOptions, Imported, Layout, Refusal, Refused};
pub(crate) use process_end::{end_threads, load_rocksdb};
pub use rows::Rows;
pub use salvage::{Salvaged, salvage};
pub use verify::Verified;

use crate::engine::prefetch::Prefetcher;
use crate::engine::writer::WriterThread;
use crate::error::{Error, Result};
use crate::locks::{Mutex, RwLockReadGuard};
use crate::process::{self, Call, check_opener};
use default_cache::Promise;
use directory::Directory;
use dump::bases::Bases;
use read_only::Likeness;

/// An open storage. Clones share it. It closes when the last clone is gone, those that embeddings
/// and scans hold included.
#[derive(Clone)]
pub struct Storage {
    handle: Arc<Handle>,
}

/// What is seen of a storage that is open with `read_only`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// The latest time that its documents have, milliseconds since 1970. Later changes are not
    /// seen.
    pub as_of_ms: u64,
    /// Whether it was open when it was looked at, in another process or here. Its memory may then
    /// have more.
    pub is_open_elsewhere: bool,
}

struct Handle {
    engine: Arc<Engine>,
    filters: Filters,
    /// Behind an Arc for the thread of a dump.
    bases: Arc<Bases>,
    /// The report of the latest import.
    last_import: Mutex<Option<Imported>>,
    /// Held while a checkpoint is made or loaded, one at a time, and while a filter is attached.
    /// Taken before `contents`, which is taken before `rounds`.
    checkpoints: Mutex<()>,
    prefetcher: Prefetcher,
    writer: Option<WriterThread>,
    pid: u32,
    /// Given back once the database is closed: dropped after `engine`.
    dir: Directory,
    /// So that storages which are opened later leave this one its memory.
    _promise: Promise,
    /// With `read_only`: the directory that is open in place of the storage's own.
    likeness: Option<Arc<Likeness>>,
    /// Closing is a call too. The last field, so that the call ends when everything else is gone.
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
    /// `BUSY` with `read_only` when the disk may have parts of calls: some of their rows, not all.
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
            // Documents of an earlier release have no time.
            0 => likeness.changed_ms(),
            recorded => recorded,
        };
        Some(Seen { as_of_ms, is_open_elsewhere: likeness.is_in_use() })
    }

    /// What open groups work on.
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

    /// Removes the directory once the storage is closed, before anybody else can open it. A storage
    /// with a group stays, and one of which this cannot be told.
    pub fn discard_if_empty(self) {
        let is_empty = self.begin_call().is_ok() && self.groups().is_empty();
        if is_empty && self.handle.likeness.is_none() {
            self.handle.dir.remove_when_done();
        }
    }

    /// Begins a call. Every call starts here, before it takes a lock, and keeps the result until it
    /// returns. This refuses calls where RocksDB cannot work: in a child forked after opening,
    /// which has neither the parent's threads nor its file locks, and while the process ends.
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

/// A call on a storage. While it lasts, the process's exit handler waits for it, and no loaded
/// checkpoint takes the place of what is stored.
pub(crate) struct StorageCall<'a> {
    _contents: RwLockReadGuard<'a, ()>,
    _call: Call,
}

/// Databases that must not be closed, kept where leak checkers find them.
static ABANDONED: Mutex<Vec<Arc<Engine>>> = Mutex::new(Vec::new());

impl Drop for Handle {
    fn drop(&mut self) {
        let own = self.pid == process::id();
        self.closing = if own { Call::begin().ok() } else { None };
        if self.closing.is_some() {
            self.prefetcher.stop();
            if let Some(writer) = self.writer.take() {
                writer.stop();
            }
            // An error cannot be returned from here; callers who need to know call flush first.
            // What the journal has is not lost: the next opening replays it.
            let _ = self.engine.close();
            return;
        }
        // RocksDB may still use the likeness.
        std::mem::forget(self.likeness.take());
        // These threads do not exist in a forked child, and the end of the process does not wait
        // for them.
        self.prefetcher.abandon();
        if let Some(writer) = self.writer.take() {
            std::mem::forget(writer);
        }
        if let Some(mut abandoned) = ABANDONED.try_lock() {
            abandoned.push(Arc::clone(&self.engine));
        } else {
            // In a forked child, a thread of the parent may hold the lock for ever.
            std::mem::forget(Arc::clone(&self.engine));
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Storage({})", self.dir().display())
    }
}
