//! `damo_storage_stat`: one statistic by its name.

use std::ffi::c_char;

use super::damo_storage;
use crate::error::damo_status;
use crate::ffi::{arguments, guard};

/// Writes one statistic to *value.
///
/// Names (those from rows_read to writer_waited_us count since the storage was opened):
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
///     steps_skipped     calls of apply_gradients that the option non_finite "skip" skipped; a call
///                       of a damo_step counts once
///     rows_loaded       keys looked for on disk
///     rows_loaded_by_rocksdb
///                       of these, keys that RocksDB was asked for, since damo's own reader cannot
///                       read a file, or has no memory for its index and filter. The first 1,024
///                       keys after opening are among them
///     blocks_read_mapped
///                       blocks of SST files that were read from mapped files
///     blocks_read_by_io_uring
///                       blocks that were read by io_uring
///     blocks_read_by_pread
///                       blocks that were read by pread, a system call for each
///     rows_written      rows written back to disk in the background
///     rows_merged       rows that merges have written. Divided by rows_written it tells how often
///                       a row is rewritten
///     expired_rows      rows whose time to live was over, made anew or dropped by a merge
///     cache_hits        keys of lookup and peek that were in memory
///     cache_misses      keys of lookup and peek that were not: read from disk or created
///     evictions         rows that left the cache for others
///     waited_us         microseconds that calls waited for the background writer: the sum of the
///                       next four
///     waited_for_journal_us
///                       until the journal was shorter (durability "process" and "power")
///     waited_for_room_us
///                       until rows that were being written could leave the cache
///     waited_for_cut_us
///                       until rows were on disk that a dump, a checkpoint, an iterator or a count
///                       reads, since copies of those that changed meanwhile took too much memory
///     slowed_us         in short pauses, since calls bring rows in faster than they are written
///     writer_waited_us  microseconds that the background writer waited for merges
///     sorted_runs       sorted runs of files on disk. A row that is not in memory may be in any of
///                       them
///     index_bytes       bytes that indexes and filters of SST files take now, and RocksDB's cache.
///                       They may take up to half of cache_bytes
///     cache_bytes       the value of the option cache_bytes: the given one, or else the default
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
