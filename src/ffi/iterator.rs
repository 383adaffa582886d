//! `damo_iterator`: every row of one moment.

use std::mem::ManuallyDrop;

use super::{arguments, damo_storage, guard};
use crate::engine::rows::Record;
use crate::error::{Result, damo_status};
use crate::limits::not_a_group;
use crate::locks::Mutex;
use crate::storage::Rows;
use crate::storage::Storage;

/// As a group: all groups.
pub const DAMO_ALL_GROUPS: u32 = 4_294_967_295;

/// Every row of a group, or of all groups, of one moment, in order of group and key.
///
/// Keeps its storage open. While it lives, rows that are deleted or overwritten keep their disk
/// space, and no checkpoint can be loaded.
///
/// May be used by many threads, which each get different rows. See damo_iterator_next for how long
/// data is valid.
pub struct damo_iterator {
    rows: ManuallyDrop<Mutex<(Rows, Option<Record>)>>,
    /// Checked before `rows` is locked: in a forked child the lock's owner may not exist.
    storage: Storage,
}

impl Drop for damo_iterator {
    fn drop(&mut self) {
        // A child may have been forked in the middle of a call of another thread, which had just
        // freed the row before. It leaks what it has.
        if !self.rows.is_locked() {
            // SAFETY: it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.rows) };
        }
    }
}

/// Begins to read all rows as they are now. Free the iterator with damo_iterator_free.
///
/// - group: a number in 0..65535, or DAMO_ALL_GROUPS.
///
/// Later changes are not seen. Other calls go on.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL handle; a group above 65535.
/// - NOT_FOUND: the group is not registered (the message names those that are).
/// - IO, OUT_OF_MEMORY, POISONED, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_iterator_new(
    storage: *const damo_storage,
    group: u32,
) -> *mut damo_iterator {
    guard::handle("damo_iterator_new", || {
        // SAFETY: the contract of `arguments`.
        let storage = unsafe { arguments::handle(storage, "storage") }?;
        let rows = storage.inner.rows(read_group(group)?)?;
        let rows = ManuallyDrop::new(Mutex::new((rows, None)));
        Ok(damo_iterator { rows, storage: storage.inner.clone() })
    })
}

/// Frees an iterator. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_iterator_free(iterator: *mut damo_iterator) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(iterator) }
}

/// Reads the next row.
///
/// - found: becomes true, or false at the end, where nothing else is written.
///
/// Every other pointer may be NULL:
/// - group, key: become those of the row.
/// - update_time: becomes the time of the row's last write, milliseconds since 1970.
/// - update_num: becomes the number of gradients applied so far.
/// - dim: becomes the number of weights.
/// - data: becomes the address of *data_len floats: the dim weights, then the optimizer's state (m
///   or z, v or n, v_max). They belong to the iterator and are valid until its next use or its end.
/// - data_len: becomes the number of these floats.
///
/// After IO, CORRUPTION and OUT_OF_MEMORY every later call returns the same error, since the rows
/// that come next are not known.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL iterator or found.
/// - CORRUPTION: a row is damaged (the message names it).
/// - IO, OUT_OF_MEMORY, FORKED.
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
                arguments::out_bool(found, "found")?,
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
        arguments::give(group, u32::from(record.group));
        arguments::give(key, record.key);
        // Times have 48 bits and counts 56, so the casts are exact.
        arguments::give(update_time, record.update_time as i64);
        arguments::give(update_num, record.update_num as i64);
        arguments::give(dim, record.dim);
        arguments::give(data, record.data.as_ptr());
        arguments::give(data_len, record.data.len());
        Ok(())
    })
}

/// None for all groups.
pub(super) fn read_group(group: u32) -> Result<Option<u16>> {
    match u16::try_from(group) {
        Ok(group) => Ok(Some(group)),
        Err(_) if group == DAMO_ALL_GROUPS => Ok(None),
        Err(_) => Err(not_a_group(group, ", or DAMO_ALL_GROUPS, is needed")),
    }
}
