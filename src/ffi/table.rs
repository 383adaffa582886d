//! `damo_table`: a serving table, without a storage.

use std::ffi::c_char;

use super::arguments::Reading;
use super::{arguments, guard};
use crate::error::damo_status;
use crate::table::{Table, merge};

/// A table that damo_storage_dump wrote in the format "table", open for lookups.
///
/// It needs no storage. Any number of processes and threads may have the same file open; they share
/// its memory. A forked process may continue to use it.
pub struct damo_table {
    inner: Table,
}

/// Opens the table in the file path. Free it with damo_table_free.
///
/// It maps the file into memory and reads all of it once, to compare it with its checksums: several
/// GB a second once it is in memory.
///
/// A new file may replace the file, as a dump does, or the file may be deleted: the handle keeps
/// what it has opened. Nobody may write to the file or truncate it in place: that ends the process
/// with a signal, or gives wrong weights.
///
/// Returns NULL on failure and sets the last error:
/// - NOT_FOUND: no such file.
/// - INVALID_ARGUMENT: a NULL or empty path; a directory; a file that is no table; an increment,
///   which damo_table_merge makes a table of.
/// - CORRUPTION: the file is empty, truncated or changed (the message says where).
/// - NOT_SUPPORTED: a table of a later version.
/// - IO: the file cannot be read.
/// - OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_open(path: *const c_char) -> *mut damo_table {
    guard::handle("damo_table_open", || {
        // SAFETY: the contract of `arguments`.
        let path = unsafe { arguments::path(path, "path") }?;
        Ok(damo_table { inner: Table::open(path)? })
    })
}

/// Frees a table. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_free(table: *mut damo_table) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(table) }
}

/// Writes the weights of keys into weights. A key without a row reads as zeros.
///
/// - keys: keys_len keys of group.
/// - weights: keys_len x dim floats, in key order.
/// - found: keys_len bytes, or NULL. Each becomes 1 for a key with a row and 0 for one without.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
///   weights_len that is not keys_len x dim.
/// - NOT_FOUND: the table does not have the group (the message lists those it has).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_lookup(
    table: *const damo_table,
    group: u32,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
    found: *mut u8,
) -> damo_status {
    guard::status("damo_table_lookup", || {
        // SAFETY: the contract of `arguments`.
        let table = unsafe { arguments::handle(table, "table") }?;
        table.inner.check_weights(group, keys_len, weights_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, found } =
            unsafe { arguments::reading((keys, keys_len), (weights, weights_len), found) }?;
        table.inner.lookup(group, keys, weights, found)
    })
}

/// Writes the number of weights in a row of the group to *dim.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or dim.
/// - NOT_FOUND: the table does not have the group (the message lists those it has).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_dim(
    table: *const damo_table,
    group: u32,
    dim: *mut usize,
) -> damo_status {
    guard::status("damo_table_dim", || {
        // SAFETY: the contract of `arguments`.
        let (table, dim) =
            unsafe { (arguments::handle(table, "table")?, arguments::out(dim, "dim")?) };
        *dim = table.inner.dim(group)?;
        Ok(())
    })
}

/// Writes the number of rows of the group to *rows.
///
/// Errors: as damo_table_dim, for rows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_rows(
    table: *const damo_table,
    group: u32,
    rows: *mut u64,
) -> damo_status {
    guard::status("damo_table_rows", || {
        // SAFETY: the contract of `arguments`.
        let (table, rows) =
            unsafe { (arguments::handle(table, "table")?, arguments::out(rows, "rows")?) };
        *rows = table.inner.rows(group)?;
        Ok(())
    })
}

/// Writes the table's number to *number: the sequence number of the last call that it has.
///
/// An increment since this number can be merged into the table.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_number(
    table: *const damo_table,
    number: *mut u64,
) -> damo_status {
    guard::status("damo_table_number", || {
        // SAFETY: the contract of `arguments`.
        let (table, number) =
            unsafe { (arguments::handle(table, "table")?, arguments::out(number, "number")?) };
        *number = table.inner.number();
        Ok(())
    })
}

/// Merges a table and the increment after it into a new table.
///
/// - base: a table.
/// - increment: the changes since base's number. Merge several increments one after the other, in
///   order.
/// - path: the file to write. It may be base: handles that have base open keep what they have
///   opened.
///
/// The new table is, byte for byte, what a dump of the whole storage would have been. It appears
/// under its name only when it is whole. Merging needs some tens of MB of memory, however large the
/// files are.
///
/// After an error the file at path is as it was.
///
/// Errors: as damo_table_open for base and increment, but increment must be an increment, and
/// - INVALID_ARGUMENT: increment continues another number (the message names both); value types or
///   dims differ; a path that cannot be a file's, or is inside a storage's directory.
/// - BUSY: path is being written, here or in another process.
/// - IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_merge(
    base: *const c_char,
    increment: *const c_char,
    path: *const c_char,
) -> damo_status {
    guard::long_call("damo_table_merge", || {
        // SAFETY: the contract of `arguments`.
        let (base, increment, path) = unsafe {
            (
                arguments::path(base, "base")?,
                arguments::path(increment, "increment")?,
                arguments::path(path, "path")?,
            )
        };
        merge(base, increment, path).map(drop)
    })
}
