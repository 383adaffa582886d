//! `damo_iterator`: every row of one moment, and what else reads all of them.

use super::{arguments, damo_storage, guard};
use crate::embedding::MAX_GROUP;
use crate::error::{Error, Result, damo_status};
use crate::locks::Mutex;
use crate::storage::{Record, Rows, Storage};

/// As a group: all groups.
pub const DAMO_ALL_GROUPS: u32 = 4_294_967_295;

/// Every row of a group, or of all, as they were when it was made, in order of group and key.
///
/// Keeps its storage open; while there is one, what is deleted and overwritten takes space, and no checkpoint can be
/// loaded. May be used by many threads, which each get other rows, but see damo_iterator_next about data.
pub struct damo_iterator {
    rows: Mutex<(Rows, Option<Record>)>,
    /// Asked before the lock: in a forked child a thread that is not there may hold it for ever.
    storage: Storage,
}

/// Begins to read all rows of group, or of all groups with DAMO_ALL_GROUPS. Free the iterator with damo_iterator_free. What is
/// changed later is not seen; other calls go on.
///
/// Returns NULL and sets the last error: INVALID_ARGUMENT for a NULL handle and a group above 65535; NOT_FOUND for a
/// group that is not registered (those that are are named); IO, OUT_OF_MEMORY, POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_iterator_new(storage: *const damo_storage, group: u32) -> *mut damo_iterator {
    guard::handle("damo_iterator_new", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        let rows = storage.inner.rows(read_group(group)?)?;
        Ok(damo_iterator { rows: Mutex::new((rows, None)), storage: storage.inner.clone() })
    })
}

/// Goes to the next row: *found becomes true, and the record is written in the order of the row's own description; at the end
/// *found becomes false and nothing else is written. Pointers may be NULL, except found, for what is not wanted.
///
/// update_time is milliseconds since 1970, update_num the gradients applied so far, dim the number of weights. *data
/// becomes the address of *data_len floats: dim weights, then the optimizer's state (m or z, v or n, v_max). They are the
/// iterator's, and there until its next use or its end.
///
/// Errors: INVALID_ARGUMENT for a NULL iterator or found; IO, CORRUPTION naming the row, OUT_OF_MEMORY, and the same again ever
/// after, since the rows that come next are not known; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_iterator_next(
    iterator: *const damo_iterator,
    found: *mut bool,
    group: *mut u32,
    key: *mut i64,
    update_time: *mut i64,
    update_num: *mut i64,
    dim: *mut usize,
    data: *mut *const f32,
    data_len: *mut usize,
) -> damo_status {
    guard::status("damo_iterator_next", || {
        // SAFETY: the contract of `arguments`.
        let iterator = unsafe { arguments::handle(iterator, "iterator") }?;
        // SAFETY: the contract of `arguments`.
        let (found, group, key, update_time) = unsafe {
            (
                // A byte, since what C has there need not be a bool yet.
                arguments::out(found.cast::<u8>(), "found")?,
                arguments::optional_out(group, "group")?,
                arguments::optional_out(key, "key")?,
                arguments::optional_out(update_time, "update_time")?,
            )
        };
        // SAFETY: the contract of `arguments`.
        let (update_num, dim, data, data_len) = unsafe {
            (
                arguments::optional_out(update_num, "update_num")?,
                arguments::optional_out(dim, "dim")?,
                arguments::optional_out(data, "data")?,
                arguments::optional_out(data_len, "data_len")?,
            )
        };
        iterator.storage.check_process()?;
        let mut rows = iterator.rows.lock();
        let (rows, record) = &mut *rows;
        *record = rows.next_row()?;
        *found = u8::from(record.is_some());
        let Some(record) = record else { return Ok(()) };
        set(group, u32::from(record.group));
        set(key, record.key);
        // Times have 48 bits and counts 56, so the casts are exact.
        set(update_time, record.update_time as i64);
        set(update_num, record.update_num as i64);
        set(dim, record.dim);
        set(data, record.data.as_ptr());
        set(data_len, record.data.len());
        Ok(())
    })
}

/// Frees an iterator. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_iterator_free(iterator: *mut damo_iterator) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(iterator) }
}

/// Counts the rows that group, or all groups with DAMO_ALL_GROUPS, has now, and writes their number to *rows. Reads them all; for
/// a quick estimate see damo_storage_stat. Other calls go on meanwhile.
///
/// Errors: as damo_iterator_new; CORRUPTION naming the row.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_row_count(
    storage: *const damo_storage,
    group: u32,
    rows: *mut u64,
) -> damo_status {
    guard::long_call("damo_storage_row_count", || {
        // SAFETY: the contract of `arguments`.
        let (storage, rows) =
            unsafe { (arguments::handle(storage, "storage")?, arguments::out(rows, "rows")?) };
        *rows = storage.inner.row_count(read_group(group)?)?;
        Ok(())
    })
}

/// Reads everything that is stored, and compares every checksum and the form of every row. *rows, which may be NULL, becomes the
/// number of rows. Other calls go on meanwhile.
///
/// Errors: INVALID_ARGUMENT for a NULL handle; CORRUPTION naming the file or the row that is damaged; IO, OUT_OF_MEMORY,
/// POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_storage_verify(storage: *const damo_storage, rows: *mut u64) -> damo_status {
    guard::long_call("damo_storage_verify", || {
        // SAFETY: the contract of `arguments`.
        let (storage, rows) =
            unsafe { (arguments::handle(storage, "storage")?, arguments::optional_out(rows, "rows")?) };
        let verified = storage.inner.verify()?;
        set(rows, verified.rows);
        Ok(())
    })
}

fn read_group(group: u32) -> Result<Option<u16>> {
    match u16::try_from(group) {
        Ok(group) => Ok(Some(group)),
        Err(_) if group == DAMO_ALL_GROUPS => Ok(None),
        Err(_) => Err(Error::invalid(format!(
            "group is {group}; a number from 0 to {MAX_GROUP}, or DAMO_ALL_GROUPS, is needed"
        ))),
    }
}

fn set<T>(out: Option<&mut T>, value: T) {
    if let Some(out) = out {
        *out = value;
    }
}
