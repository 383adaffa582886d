//! `damo_table`: a serving table, without a storage.

use std::ffi::c_char;

use super::arguments::Reading;
use super::{arguments, guard};
use crate::error::damo_status;
use crate::table::{Table, merge};

/// A table that damo_storage_dump wrote in the format "table", open for lookups.
///
/// Needs no storage. Any number of processes and threads may have the same file open; they share its memory. A process that
/// is forked may go on using it.
pub struct damo_table {
    inner: Table,
}

/// Opens the table in the file path: maps it into memory and reads all of it once, to compare it with its checksums (several
/// GB a second, once it is in memory). Free the handle with damo_table_free.
///
/// The file may be replaced by a new one meanwhile, as a dump does it, and be deleted: the handle keeps what it has opened.
/// Nobody may write to it or truncate it in place; that ends the process with a signal or gives wrong weights.
///
/// Returns NULL and sets the last error: NOT_FOUND when there is no such file; INVALID_ARGUMENT for a NULL or empty path, a
/// directory, a file that is no table, and an increment, which damo_table_merge makes a table of; CORRUPTION for a file that
/// is empty, truncated or changed, saying where; NOT_SUPPORTED for a table of a later version; IO when it cannot be read;
/// OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_open(path: *const c_char) -> *mut damo_table {
    guard::handle("damo_table_open", || {
        // SAFETY: the contract of `arguments`.
        let path = unsafe { arguments::path(path, "path") }?;
        Ok(damo_table { inner: Table::open(path)? })
    })
}

/// Writes the weights of keys into weights: keys_len x dim floats, in key order. A key that has no row reads as zeros.
///
/// found may be NULL; otherwise it has keys_len bytes, which become 1 for a key with a row and 0 for one without.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, overlapping buffers, and a weights_len that is
/// not keys_len x dim; NOT_FOUND for a group that the table does not have (it lists those it has). Nothing is written then.
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

/// Writes the number of weights a row of the group has to *dim.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or dim; NOT_FOUND for a group that the table does not have (it lists those it
/// has).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_dim(
    table: *const damo_table,
    group: u32,
    dim: *mut usize,
) -> damo_status {
    guard::status("damo_table_dim", || {
        // SAFETY: the contract of `arguments`.
        let (table, dim) = unsafe { (arguments::handle(table, "table")?, arguments::out(dim, "dim")?) };
        *dim = table.inner.dim(group)?;
        Ok(())
    })
}

/// Writes the number of rows of the group to *rows.
///
/// Errors: as damo_table_dim.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_rows(
    table: *const damo_table,
    group: u32,
    rows: *mut u64,
) -> damo_status {
    guard::status("damo_table_rows", || {
        // SAFETY: the contract of `arguments`.
        let (table, rows) = unsafe { (arguments::handle(table, "table")?, arguments::out(rows, "rows")?) };
        *rows = table.inner.rows(group)?;
        Ok(())
    })
}

/// Writes the table's number to *number: where in the life of its storage it was taken. An increment with the changes since
/// this number can be merged into it.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_number(table: *const damo_table, number: *mut u64) -> damo_status {
    guard::status("damo_table_number", || {
        // SAFETY: the contract of `arguments`.
        let (table, number) =
            unsafe { (arguments::handle(table, "table")?, arguments::out(number, "number")?) };
        *number = table.inner.number();
        Ok(())
    })
}

/// Writes to path the table that base becomes with the changes in increment. It is, byte for byte, what a dump of the whole
/// storage would have been, and appears under its name only when it is whole. path may be that of base; handles that have
/// base open keep what they have opened.
///
/// base is a table and increment the changes since its number: several increments are merged one after the other, in
/// order. Needs some tens of MB of memory, however large the files.
///
/// Errors: as damo_table_open for base and increment, but that an increment is wanted in its place; INVALID_ARGUMENT when
/// increment has the changes since another number (both are named), when value types or dims differ, and for a path that
/// cannot be a file's; BUSY when path is being written already; IO. What was under path is then as it was.
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

/// Frees a table. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_table_free(table: *mut damo_table) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(table) }
}
