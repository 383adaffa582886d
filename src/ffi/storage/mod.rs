//! `damo_storage`: the directory that holds everything. One file a verb.

// In the order of the header. rustfmt sorts only what has no blank line in between.
mod flush;

mod set_executor;

mod compact;
mod describe;
mod forget_client;
mod row_count;
mod stat;
mod verify;

mod checkpoint;
mod load_from_checkpoint;

mod dump;
mod dump_with_progress;

mod import;
mod import_counted;
mod import_report;
mod import_with;

use std::ffi::c_char;
use std::path::Path;

use super::{arguments, damo_params, exit, guard, own_stack};
use crate::error::Result;
use crate::storage::Storage;

pub use checkpoint::*;
pub use compact::*;
pub use describe::*;
pub use dump::*;
pub use dump_with_progress::*;
pub use flush::*;
pub use forget_client::*;
pub use import::*;
pub use import_counted::*;
pub use import_report::*;
pub use import_with::*;
pub use load_from_checkpoint::*;
pub use row_count::*;
pub use set_executor::*;
pub use stat::*;
pub use verify::*;

/// A directory that holds everything: rows, optimizer state, groups, steps.
///
/// One process at a time has it open for writing. It stays open until its handle and those of all
/// its embeddings and iterators are freed, in any order. Free them before the process exits.
///
/// May be used by many threads at once.
pub struct damo_storage {
    pub(super) inner: Storage,
}

/// Opens the directory data_dir, or creates it. Free the handle with damo_storage_free.
///
/// - data_dir: the directory. Parents that do not exist are created, too.
/// - ttl_seconds: the time to live (TTL) of a row; 0: rows never expire.
/// - options: may be NULL. Names (defaults):
///
/// ```text
///     cache_bytes   memory for rows, indexes and filters, at least 64 KiB (a quarter of the
///                   memory that the process may have: docs/parameters.md). It is taken as rows
///                   come. The library stays within it and a constant (docs/performance.md),
///                   however large the table is. A running call needs memory beside it for its
///                   keys and gradients, and for its rows if they are more than the cache holds
///     durability    "process": a call that returned survives anything that kills the process (the
///                   default);
///                   "power": and a power failure of the machine;
///                   "checkpoint": only what damo_storage_flush or closing has written is sure to
///                   survive; the fastest
///     threads       threads that share the work of a large call, 1..1024 (the number of cores).
///                   Beside them there are one that writes, one that prefetches, the readers, and
///                   RocksDB's
///     readers       the most threads that read rows from disk for a call, 1..1024 (64). The
///                   calling thread is one of them. The others are made when calls need rows that
///                   are not in memory. With 1 a call reads for itself. A process with several
///                   storages may give each 64 divided by their number
///     mapped_reads  "auto", the default: rows are read from mapped files where the page cache has
///                   them. That takes less of the processor. The pages that are mapped count as the
///                   process's memory, up to a quarter of the memory that it may have: the
///                   machine's, or the smallest limit of its cgroups;
///                   "off": all rows are read by system calls
///     io_uring      "auto", the default: what is not in the page cache is read by io_uring, with
///                   many reads in flight for each thread;
///                   "off", and where the system refuses io_uring: each of the readers' threads has
///                   one read in flight
///     read_only     true: nothing in data_dir is changed, see below (false)
/// ```
///
/// A row that has not been updated for ttl_seconds is gone, at once and for every call: lookup
/// makes a fresh one. Its disk space comes back as files are merged. The TTL belongs to this
/// opening, not to the data: under a longer TTL, rows that a merge has not dropped yet become
/// visible again.
///
/// With read_only not one byte of data_dir changes.
/// - data_dir may be a checkpoint, a directory without write permission, a storage whose process
///   was killed, or one that is open elsewhere.
/// - The storage shows what opening finds on disk, together with the calls in the journal.
///   damo_storage_describe tells as of which time.
/// - Lookups create no rows: a key without a row reads as its first weights. Calls that change rows
///   return NOT_SUPPORTED.
/// - A group may be opened with other parameters, which damo_storage_describe does not show. It
///   gets no name.
/// - Links to the files, and what the journal's calls change, are kept in the folder for temporary
///   files (TMPDIR).
/// - Each SST file takes a descriptor, through which it stays readable when another process merges
///   it away. If the limit of descriptors is too low for all, the oldest files go without. A call
///   that needs such a file after it was merged away returns IO, and the message says so.
///
/// A process that has the storage open with durability "checkpoint" keeps no journal. Then
/// read_only shows what a kill would leave at that moment. Each row is as it was at some moment
/// since the last flush: a call may be there with some of its rows only, and the global step is an
/// older one. damo_storage_checkpoint refuses to make a checkpoint of that. With the other
/// durabilities each call is there whole or not at all.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: data_dir is NULL, a file, holds something else than a damo storage, or is
///   where another storage has its own files; a negative ttl_seconds; a wrong option.
/// - BUSY: another handle, here or in another process, has it open. With read_only: another process
///   was making it, or was changing it during each look, for 5 seconds; open it again in a moment.
/// - NOT_FOUND: with read_only, there is no storage.
/// - IO: it cannot be created, read or written, or threads cannot be made.
/// - CORRUPTION: its files are damaged.
/// - NOT_SUPPORTED: its format is of a later release.
/// - FORKED: this process was forked after its parent had opened a storage.
/// - OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_new(
    data_dir: *const c_char,
    ttl_seconds: i64,
    options: *const damo_params,
) -> *mut damo_storage {
    guard::handle("damo_storage_new", || {
        // SAFETY: the contract of `arguments`.
        let (data_dir, options) = unsafe {
            (arguments::path(data_dir, "data_dir")?, arguments::params(options, "options")?)
        };
        exit::before_opening()?;
        let opened = own_stack::run(|| Storage::open(data_dir, ttl_seconds, options));
        exit::after_opening();
        Ok(damo_storage { inner: opened? })
    })
}

/// Frees a storage handle. NULL is a no-op.
///
/// The directory is closed, and its lock released, once the handles of its embeddings and iterators
/// are freed, too. Closing cannot report an error. Call damo_storage_flush before, which can.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_free(storage: *mut damo_storage) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(storage) }
}

/// The first two arguments of a call that takes a file or directory.
///
/// # Safety
/// The contract of `arguments`.
unsafe fn with_path<'a>(
    storage: *const damo_storage,
    path: *const c_char,
) -> Result<(&'a Storage, &'a Path)> {
    // SAFETY: the caller's promise.
    unsafe { Ok((&arguments::handle(storage, "storage")?.inner, arguments::path(path, "path")?)) }
}
