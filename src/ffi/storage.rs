//! `damo_storage`: the directory that holds everything.

use std::ffi::c_char;

use super::{arguments, damo_params, exit, guard, own_stack};
use crate::error::damo_status;
use crate::storage::Storage;

/// A directory that holds everything: rows, optimizer state, groups, steps.
///
/// One process at a time. Stays open until its handle and those of all its embeddings are freed, in any order; free
/// them before the process exits. May be used by many threads at once.
pub struct damo_storage {
    pub(super) inner: Storage,
}

/// Opens the directory data_dir, creating it when it is not there. Free the handle with damo_storage_free.
///
/// A row that has not been updated for ttl_seconds is gone, at once and for every call: lookup
/// makes a fresh one, and the space comes back as files are merged. 0: rows never expire. The time
/// to live belongs to this opening, not to the data: under a longer one, rows that a merge has not
/// dropped yet become visible again.
///
/// options may be NULL; names (defaults):
///
/// ```text
///     cache_bytes   memory for rows, and for the indexes and filters of what is on disk, at least 64 KiB (1 GiB). The
///                   library stays within it and a constant (docs/performance.md), however large the table; while a
///                   call runs it needs memory for its own keys and gradients beside it, and when the rows of one
///                   call are more than the cache holds, for those
///     durability    "process": a call that returned survives whatever kills the process (the default);
///                   "power": and the machine losing power;
///                   "checkpoint": only what damo_storage_flush or closing has written survives for certain; the fastest
///     threads       that share the work of a large call (the number of cores). Beside them there are one that writes, one
///                   that prefetches, up to 64 that wait for the disk, and RocksDB's
///     read_only     true: the storage is only looked at, see below (false)
/// ```
///
/// With read_only not one byte of data_dir changes. It may be a checkpoint, a directory without
/// write permission, a storage that was killed, or one that is open elsewhere. The storage shows
/// what opening finds on disk, with the calls in the journal; damo_storage_describe tells as of
/// when that is. Lookups create no rows: a key without one reads as its initial weights. Calls that
/// change rows return NOT_SUPPORTED. A group may be opened with other parameters, which
/// damo_storage_describe does not show, but gets no name. Links to the files, and what the
/// journal's calls change, are kept in the folder for temporary files (TMPDIR). Each SST file takes
/// a descriptor, by which it stays readable when another process merges it away. If the limit of
/// descriptors is too low for all, the oldest files go without. A call that needs such a file after
/// it was merged away returns IO, and the message says so.
///
/// A process that has the storage open with durability "checkpoint" keeps no journal. Then
/// read_only shows what a kill would leave at that moment: each row as it was at some moment since
/// the last flush, so that a call may be there with some of its rows, and the global step is an
/// older one. damo_storage_checkpoint refuses to make a checkpoint of that. With the other
/// durabilities each call is there whole or not at all.
///
/// Returns NULL and sets the last error:
///
/// ```text
///     INVALID_ARGUMENT   data_dir is a file, holds something else than a damo storage, or is where
///                        another storage has its own files; an option is wrong
///     BUSY               another handle, here or in another process, has it open. With read_only:
///                        another process has been making it, or changing it during each look, for
///                        5 seconds; open it again in a moment
///     NOT_FOUND          with read_only: there is no storage
///     IO                 it cannot be created, read or written
///     CORRUPTION         its files are damaged
///     NOT_SUPPORTED      its format is of a later release
///     FORKED             this process was forked after its parent had opened a storage
///     OUT_OF_MEMORY      there is no memory for it
/// ```
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_new(
    data_dir: *const c_char,
    ttl_seconds: i64,
    options: *const damo_params,
) -> *mut damo_storage {
    guard::handle("damo_storage_new", || {
        // SAFETY: the contract of `arguments`.
        let (data_dir, options) =
            unsafe { (arguments::path(data_dir, "data_dir")?, arguments::params(options, "options")?) };
        exit::before_opening()?;
        let opened = own_stack::run(|| Storage::open(data_dir, ttl_seconds, options));
        exit::after_opening();
        Ok(damo_storage { inner: opened? })
    })
}

/// Returns once every change of every call that returned before is on disk, whatever the durability, and what the filters
/// of the storage's embeddings have counted. Other calls go on meanwhile.
///
/// Errors: INVALID_ARGUMENT for a NULL handle; IO when the disk refuses (nothing that was stored before is lost, and
/// flushing can be tried again); OUT_OF_MEMORY; POISONED when a group is, whose rows are then not written; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_flush(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_flush", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.flush()
    })
}

/// Writes what has changed, then merges everything on disk into one sorted run: what was overwritten or deleted no longer
/// takes space, and reading a row that is not in memory takes one read. Takes as long as reading and writing the table;
/// other calls go on meanwhile. It is done in parts by itself while the table changes, so nobody needs to call this.
///
/// Errors: as damo_storage_flush.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_compact(storage: *const damo_storage) -> damo_status {
    guard::long_call("damo_storage_compact", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(storage, "storage") }?.inner.compact()
    })
}

/// Writes one statistic to *value. Names:
///
/// ```text
///     groups            groups registered
///     rows_estimate     rows on disk, all groups: RocksDB's estimate, which counts a row again each time it is
///                       written until it is merged (damo_storage_compact makes it exact)
///     rows_in_memory    rows in the cache; keys that are known to have no row count, too
///     dirty_rows        those of them that the disk does not have as they are
///     rows_read         keys asked for by lookup and peek since opening; the following ones are since opening, too
///     rows_created      rows made by lookup and apply_gradients
///     rows_updated      optimizer steps taken
///     rows_loaded       keys looked for on disk
///     rows_written      rows written to disk in the background
///     expired_rows      rows whose time to live was over, and that were made anew or merged away
///     cache_hits        keys of lookup and peek that were in memory
///     cache_misses      keys of lookup and peek that were not: read from disk or created
///     evictions         rows that left the cache for others
///     waited_us         microseconds that calls waited for the background writer
///     bytes_in_memory   held for rows, indexes and filters
///     bytes_on_disk     sizes of the directory's files; with read_only, too, those of data_dir
///     journal_bytes     of these the journal, which a killed process needs at its next opening
/// ```
///
/// Errors: INVALID_ARGUMENT for a NULL handle, name or value, and an unknown name (the known ones are listed); IO;
/// FORKED.
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

/// Writes what the storage holds, but for its rows, as a JSON object into buffer, with a NUL at the end:
///
/// ```text
///     dir           its directory, absolute
///     read_only     null; with the option read_only an object of as_of_ms and is_open_elsewhere.
///                   as_of_ms: the latest time on record in the storage, milliseconds since 1970;
///                   what came later is not seen. is_open_elsewhere: whether it was open when it
///                   was looked at, here or in another process; there may be more in memory then
///     checkpoint    the id of the checkpoint that was made or loaded last, or that this storage
///                   was opened from: 32 hexadecimal digits, others for each checkpoint; null if
///                   there was none
///     groups        a list, one object a group, in order of number: group (the number), name (or
///                   null), dim, row_len (floats with the optimizer's state), step, and what it was
///                   opened with last: optimizer, initializer and scheduler (or null), each an
///                   object of name and params
/// ```
///
/// *json_len becomes the length of the JSON without the NUL, also when the buffer is too small; json_len may be NULL. Call
/// it with buffer NULL and buffer_len 0 to learn the length; buffer_len = *json_len + 1 then suffices, unless other threads open
/// groups or train meanwhile (steps get longer).
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, and a buffer that is too small, whose content is
/// then unchanged; IO, CORRUPTION, FORKED.
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

/// Frees a storage handle. NULL is a no-op. The directory is closed, and its lock released, once the handles of
/// its embeddings are freed too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_free(storage: *mut damo_storage) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(storage) }
}
