//! `damo_filter`: a counting Bloom filter, which decides which keys get rows.

use std::sync::Arc;

use super::{arguments, damo_params, guard};
use crate::error::damo_status;
use crate::filter::Filter;

/// A counting Bloom filter in a file: how often each key has been seen.
///
/// Attach it with damo_embedding_set_filter, or use it by itself. It takes a few bytes a key
/// (damo_filter_new lists how many). The price: a small share of keys pass for seen too early. No
/// key passes too late.
///
/// The counters are in the file, mapped into memory. They survive anything that kills the process
/// and, after damo_filter_sync, a power failure of the machine.
///
/// A file is open in one handle at a time, over all processes. The handle may be used by many
/// threads at once: no addition is lost.
///
/// A checkpoint has a copy of each filter of the embeddings that were open. After it was loaded, or
/// opened as a storage, the copies whose counts no attached filter has taken wait in the
/// directory's folder filters:
/// - The first filter that is attached to a group of that copy takes its counts in place of its
///   own, whatever the path of either.
/// - A filter gets no counts of a copy that its group did not have.
/// - If the group had several filters, the filter gets the counts of the one at the same path, if
///   there is one.
/// - A filter takes the counts of one copy only: groups that had a filter each need a filter each
///   again.
/// - A storage that is open with read_only gives no counts.
///
/// A filter's file says whose counts it has taken. A filter that is made anew at the same path has
/// taken none, and gets the counts that still wait. A copy of the file has what the file had.
pub struct damo_filter {
    pub(super) inner: Arc<Filter>,
}

/// Opens a filter, and makes its file if there is none. Free the handle with damo_filter_free.
///
/// Parameters (defaults):
///
/// ```text
///     path       the file, in a folder that exists. While the file is being made, <path>.damo-new
///                exists, too
///     capacity   the number of keys to be counted, 1..2^40 (2^28). Beyond it nothing fails, but
///                more keys pass for seen
///     count      the number of additions after which damo_filter_check admits a key, 1..15 (15)
///     fpr        the false positive rate: the share of keys that pass though they were never
///                added, once capacity keys were added count times, 1e-6..0.5 (1e-3)
///     reload     true: open a file that exists; false: replace it by a fresh one, whatever it is
///                (true)
///     verify     true: freeing the filter writes a checksum of the counters into the file, and
///                opening compares it; false: neither (true). Each of the two reads the file, which
///                takes 0.1 to 0.5 seconds a gigabyte
/// ```
///
/// The checksum protects the counters while the filter is closed, and in checkpoints. While the
/// filter is open, and after the process was killed, nothing tells whether a counter is what was
/// written. If a disk changes one unnoticed, some keys are admitted earlier or later than they
/// should be. There is no other harm.
///
/// Size: each key of the capacity takes 5.4 bytes for an fpr of 1e-2, 8.7 for 1e-3, 12.9 for 1e-4
/// and 25.7 for 1e-6. The defaults take 2.3 GB.
/// - Disk space is reserved at once, so that a disk that fills up later does no harm.
/// - Memory is taken as keys are added. It is the system's page cache and does not count towards
///   cache_bytes.
///
/// Do not truncate a file that is open: the system then ends the process, as it does when the disk
/// cannot read a page of the file.
///
/// Returns NULL on failure and sets the last error. A file that is refused stays as it is.
/// - INVALID_ARGUMENT: a wrong parameter; a path that is no file, or the file of something else
///   than a filter; a filter with another capacity, count or fpr; a path that a storage keeps for
///   its own files (in its folders journal and incoming, or a name like those of its files).
/// - BUSY: another handle, here or in another process, has the file open.
/// - CORRUPTION: the file is damaged, truncated or empty, or the counters differ from those with
///   which it was closed.
/// - NOT_SUPPORTED: the format is of a later release.
/// - IO: the file cannot be created or read, or the disk is full.
/// - OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_new(params: *const damo_params) -> *mut damo_filter {
    guard::handle("damo_filter_new", || {
        // SAFETY: the contract of `arguments`.
        let params = unsafe { arguments::params(params, "params")? };
        Ok(damo_filter { inner: Arc::new(Filter::open(params)?) })
    })
}

/// Frees a filter. NULL is a no-op. The file is closed once no embedding uses it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_free(filter: *mut damo_filter) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(filter) }
}

/// Adds num to the count of key in group. A count ends at the parameter count.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a group above 65535.
/// - FORKED.
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

/// Adds num to the count of each of keys. Several times as fast as one call a key.
///
/// - keys: keys_len keys of group. A key that is given twice is added twice.
///
/// Errors, after which nothing was added:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a group above 65535.
/// - FORKED.
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
        let (filter, keys) = unsafe {
            (arguments::handle(filter, "filter")?, arguments::slice(keys, keys_len, "keys")?)
        };
        filter.inner.add_batch(group, keys, num)
    })
}

/// Adds nums[i] to the count of keys[i], for each key.
///
/// - keys: keys_len keys of group. A key that is given twice gets both numbers.
/// - nums: keys_len numbers.
///
/// After an error nothing was added.
///
/// Errors: as damo_filter_add_batch, and
/// - INVALID_ARGUMENT: a nums_len that is not keys_len.
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

/// Writes to *admitted whether key of group has been seen often enough.
///
/// - A key that was added count times: always true.
/// - Any other key: true with a probability of at most fpr, as long as no more than capacity keys
///   were added.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle or admitted; a group above 65535.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_check(
    filter: *const damo_filter,
    group: u32,
    key: i64,
    admitted: *mut bool,
) -> damo_status {
    guard::status("damo_filter_check", || {
        // SAFETY: the contract of `arguments`.
        let (filter, admitted) = unsafe {
            (arguments::handle(filter, "filter")?, arguments::out_bool(admitted, "admitted")?)
        };
        *admitted = u8::from(filter.inner.check(group, key)?);
        Ok(())
    })
}

/// Checks each of keys as damo_filter_check does, and writes the answers to admitted.
///
/// - keys: keys_len keys of group.
/// - admitted: keys_len bytes. Each becomes 1 or 0.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; an
///   admitted_len that is not keys_len; a group above 65535.
/// - FORKED.
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

/// Makes every addition that returned before this call durable, also against a power failure.
///
/// The system writes the file by itself, too, within a minute or so. damo_storage_flush does the
/// same for the filters of the storage's embeddings.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle.
/// - IO: the disk refuses.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_filter_sync(filter: *const damo_filter) -> damo_status {
    guard::long_call("damo_filter_sync", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(filter, "filter") }?.inner.sync()
    })
}
