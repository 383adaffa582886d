//! `damo_filter`: a counting Bloom filter, which decides which keys get rows.

use std::sync::Arc;

use super::{arguments, damo_params, guard};
use crate::error::damo_status;
use crate::filter::Filter;

/// A counting Bloom filter in a file: how often each key has been seen, for damo_embedding_set_filter or for use by
/// itself.
///
/// It is told in a few bytes a key (below), at the price of a small share of keys that pass for seen too early, and never too
/// late. Counts are in the file, mapped into memory: they survive whatever kills the process, and with damo_filter_sync
/// the machine losing power. One handle at a time, of all processes, has a file. May be used by many threads at once: no
/// addition is lost.
pub struct damo_filter {
    pub(super) inner: Arc<Filter>,
}

/// Opens a filter, making its file when there is none. Free the handle with damo_filter_free. Parameters (defaults):
///
/// ```text
///     path       the file; the folder must be there. While a file is being made, <path>.damo-new is there, too
///     capacity   keys that may be counted, 1..2^40 (2^28). Beyond it nothing fails, but more keys pass for seen
///     count      how often a key must have been added for damo_filter_check to say so, 1..15 (15)
///     fpr        the share of keys that may pass for seen though they were never added, when capacity keys have been
///                added count times, 1e-6..0.5 (1e-3)
///     reload     true: a file that is there is opened; false: it is replaced by a fresh one, whatever it is (true)
///     verify     true: freeing the filter writes a checksum of the counters into its file, and
///                opening compares it; false: neither (true). Each of the two reads the file and
///                takes 0.1 to 0.5 seconds a gigabyte
/// ```
///
/// That checksum protects counters while the filter is closed, and in checkpoints. While it is
/// open, and after the process was killed, nothing tells whether a counter is what was written. If
/// a disk changes one unnoticed, some keys are admitted earlier or later than they should be;
/// there is no other harm.
///
/// A key of the capacity takes 5.4 bytes for an fpr of 1e-2, 8.7 for 1e-3, 12.9 for 1e-4 and 25.7 for 1e-6: 2.3 GB for the
/// defaults. The disk's room is taken at once, so that a disk that is full later does no harm, and memory as keys are
/// added; it is the system's page cache and does not count towards cache_bytes. Do not cut off a file that is open: the
/// system ends the process for that, as it does when the disk cannot read a page of it.
///
/// Returns NULL and sets the last error: INVALID_ARGUMENT when a parameter is wrong, the path is no file or not a
/// filter's, the filter there has another capacity, count or fpr, or the path is one that a storage has for its own
/// files (in its folders journal and incoming, or a name like those of its files); BUSY when another handle, here or in another
/// process, has the file; CORRUPTION when it is damaged, cut off or empty, or its counters are not
/// those that it was closed with; NOT_SUPPORTED for a format of a later release;
/// IO when it cannot be created or read, or the disk has no room; OUT_OF_MEMORY. A file that is refused stays as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_new(params: *const damo_params) -> *mut damo_filter {
    guard::handle("damo_filter_new", || {
        // SAFETY: the contract of `arguments`.
        let params = unsafe { arguments::params(params, "params")? };
        Ok(damo_filter { inner: Arc::new(Filter::open(params)?) })
    })
}

/// Adds num to how often key of group has been seen. Counting ends at the parameter count.
///
/// Errors: INVALID_ARGUMENT for a NULL handle and a group above 65535; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_add(
    filter: *const damo_filter,
    group: u32,
    key: i64,
    num: u32,
) -> damo_status {
    guard::status("damo_filter_add", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(filter, "filter") }?.inner.add(group, key, num)
    })
}

/// Adds num to each of keys; one that is given twice is added twice. Several times as fast as one call a key.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length and a group above 65535; FORKED. Nothing was
/// added then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_add_batch(
    filter: *const damo_filter,
    group: u32,
    keys: *const i64,
    keys_len: usize,
    num: u32,
) -> damo_status {
    guard::status("damo_filter_add_batch", || {
        // SAFETY: the contract of `arguments`.
        let (filter, keys) =
            unsafe { (arguments::handle(filter, "filter")?, arguments::slice(keys, keys_len, "keys")?) };
        filter.inner.add_batch(group, keys, num)
    })
}

/// As damo_filter_add_batch, with a number for each key: adds nums[i] for keys[i]. A key that is
/// given twice gets both.
///
/// Errors: as damo_filter_add_batch; INVALID_ARGUMENT when nums_len is not keys_len.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_add_counts(
    filter: *const damo_filter,
    group: u32,
    keys: *const i64,
    keys_len: usize,
    nums: *const u32,
    nums_len: usize,
) -> damo_status {
    guard::status("damo_filter_add_counts", || {
        // SAFETY: the contract of `arguments`.
        let (filter, keys, nums) = unsafe {
            (
                arguments::handle(filter, "filter")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(nums, nums_len, "nums")?,
            )
        };
        filter.inner.add_counts(group, keys, nums)
    })
}

/// Writes to *admitted whether key of group has been seen often enough: true once it was added count times, always; for
/// a key that was not, true with a probability of fpr at most.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or admitted, and a group above 65535; FORKED. Nothing is written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_check(
    filter: *const damo_filter,
    group: u32,
    key: i64,
    admitted: *mut bool,
) -> damo_status {
    guard::status("damo_filter_check", || {
        // A byte, since what the caller's variable holds before need not be a bool.
        // SAFETY: the contract of `arguments`; C's bool is a byte.
        let (filter, admitted) = unsafe {
            (arguments::handle(filter, "filter")?, arguments::out(admitted.cast::<u8>(), "admitted")?)
        };
        *admitted = u8::from(filter.inner.check(group, key)?);
        Ok(())
    })
}

/// As damo_filter_check for each of keys: admitted has one byte a key, admitted_len of them, which become 1 or 0.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, overlapping buffers, an admitted_len that is
/// not keys_len, and a group above 65535; FORKED. Nothing is written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_check_batch(
    filter: *const damo_filter,
    group: u32,
    keys: *const i64,
    keys_len: usize,
    admitted: *mut u8,
    admitted_len: usize,
) -> damo_status {
    guard::status("damo_filter_check_batch", || {
        let admitted_buffer = (admitted.cast_const(), admitted_len, "admitted");
        arguments::check_apart((keys, keys_len, "keys"), admitted_buffer)?;
        // SAFETY: the contract of `arguments`.
        let (filter, keys, admitted) = unsafe {
            (
                arguments::handle(filter, "filter")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice_mut(admitted, admitted_len, "admitted")?,
            )
        };
        filter.inner.check_batch(group, keys, admitted)
    })
}

/// Returns once every addition that returned before is on disk, for the machine losing power. The system writes
/// by itself too, within a minute or so; damo_storage_flush does it for the filters of the storage's embeddings.
///
/// Errors: INVALID_ARGUMENT for a NULL handle; IO when the disk refuses; FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_sync(filter: *const damo_filter) -> damo_status {
    guard::long_call("damo_filter_sync", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(filter, "filter") }?.inner.sync()
    })
}

/// Frees a filter. NULL is a no-op. Its file is let go of once no embedding has it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_free(filter: *mut damo_filter) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(filter) }
}
