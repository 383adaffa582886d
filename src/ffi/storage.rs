//! `damo_storage`: the directory that holds everything.

use std::ffi::c_char;

use super::{arguments, damo_params, exit, guard, own_stack};
use crate::error::damo_status;
use crate::storage::Storage;

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
///     cache_bytes   memory for rows and RocksDB's indexes and filters, at least 64 KiB (1 GiB).
///                   The library stays within it and a constant (docs/performance.md), however
///                   large the table is. A running call needs memory beside it for its keys and
///                   gradients, and for its rows if they are more than the cache holds
///     durability    "process": a call that returned survives anything that kills the process (the
///                   default);
///                   "power": and a power failure of the machine;
///                   "checkpoint": only what damo_storage_flush or closing has written is sure to
///                   survive; the fastest
///     threads       threads that share the work of a large call, 1..1024 (the number of cores).
///                   Beside them there are one that writes, one that prefetches, up to 64 that wait
///                   for the disk, and RocksDB's
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

/// Makes every call that returned before this one durable, whatever the option durability.
///
/// It also makes durable what the filters of the storage's embeddings have counted. Other calls go
/// on meanwhile.
///
/// After an error nothing that was stored before is lost. Flushing can be tried again.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle.
/// - IO: the disk refuses.
/// - POISONED: a group is; its rows are then not written.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_flush(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_flush", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.flush()
    })
}

/// Writes what has changed, and then merges everything on disk into one sorted run.
///
/// Rows that were overwritten or deleted then take no more space, and a row that is not in memory
/// takes one read. It takes as long as reading and writing the table; other calls go on meanwhile.
/// The storage merges in parts by itself while the table changes, so nobody needs to call this.
///
/// Errors: as damo_storage_flush, and
/// - NOT_SUPPORTED: the storage is open with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_compact(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_compact", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.compact()
    })
}

/// Writes one statistic to *value.
///
/// Names (those from rows_read to waited_us count since the storage was opened):
///
/// ```text
///     groups            groups registered
///     rows_estimate     rows on disk, all groups: RocksDB's estimate. It counts a row each time it
///                       is written, until a merge (damo_storage_compact makes it exact)
///     rows_in_memory    rows in the cache, and keys that are known to have no row
///     dirty_rows        those of them that are not on disk as they are
///     rows_read         keys asked for by lookup and peek
///     rows_created      rows made by lookup and apply_gradients
///     rows_updated      optimizer steps taken
///     rows_loaded       keys looked for on disk
///     rows_written      rows written back to disk in the background
///     expired_rows      rows whose time to live was over, made anew or dropped by a merge
///     cache_hits        keys of lookup and peek that were in memory
///     cache_misses      keys of lookup and peek that were not: read from disk or created
///     evictions         rows that left the cache for others
///     waited_us         microseconds that calls waited for the background writer
///     bytes_in_memory   bytes held for rows, indexes and filters
///     bytes_on_disk     the sizes of the files in data_dir, also with read_only
///     journal_bytes     the journal's part of these, which the next opening after a kill needs
/// ```
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle, name or value; an unknown name (the message lists the known
///   ones).
/// - IO, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_stat(
    storage: *const damo_storage,
    name: *const c_char,
    value: *mut u64,
) -> damo_status {
    guard::status("damo_storage_stat", || {
        // SAFETY: the contract of `arguments`.
        let (storage, name, value) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::text(name, "name")?,
                arguments::out(value, "value")?,
            )
        };
        *value = storage.inner.stat(name)?;
        Ok(())
    })
}

/// Writes everything the storage holds except its rows, as a JSON object, into buffer.
///
/// ```text
///     dir           the directory, absolute
///     read_only     null, or with the option read_only an object of
///                   - as_of_ms: the latest time on record in the storage, milliseconds since 1970;
///                     what came later is not seen
///                   - is_open_elsewhere: whether the storage was open when it was looked at, here
///                     or in another process, which may then have more in memory
///     checkpoint    the checkpoint id: of the checkpoint last made, loaded, or opened as this
///                   storage. 32 hexadecimal digits, different for each checkpoint; null if there
///                   was none
///     groups        a list, one object a group, in order of number:
///                   - group: the number
///                   - name: a string, or null
///                   - dim
///                   - row_len: floats of a row, with the optimizer's state
///                   - step
///                   - optimizer, initializer, scheduler (or null): what the group was last opened
///                     with, each an object of name and params
/// ```
///
/// - buffer: gets the JSON and a NUL. NULL with buffer_len 0 asks for the length only; then
///   buffer_len = *json_len + 1 is enough, unless other threads open groups or train meanwhile
///   (steps get longer).
/// - json_len: becomes the length without the NUL, also when the buffer is too small. May be NULL.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a buffer that is too small,
///   which is left unchanged.
/// - IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_describe(
    storage: *const damo_storage,
    buffer: *mut c_char,
    buffer_len: usize,
    json_len: *mut usize,
) -> damo_status {
    guard::status("damo_storage_describe", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        let description = storage.inner.describe()?;
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::give_json(&description, buffer, buffer_len, json_len) }
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
