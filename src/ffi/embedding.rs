//! `damo_embedding`: one group of a storage, as a trainer uses it.

use std::sync::Arc;

use super::arguments::Reading;
use super::{
    arguments, damo_filter, damo_initializer, damo_optimizer, damo_params, damo_storage, guard,
};
use crate::embedding::{Embedding, MAX_UPDATE_NUM};
use crate::error::{Error, damo_status};

/// One group of a storage with its optimizer and initializer: what a trainer calls.
///
/// Keeps its storage open. May be used by many threads at once: each gradient is applied exactly
/// once, and two calls on the same key follow each other in an unspecified order.
pub struct damo_embedding {
    pub(super) inner: Embedding,
}

/// As the group of damo_embedding_new: the group whose name is the option name.
///
/// A name that no group has gets the lowest free number.
pub const DAMO_GROUP_BY_NAME: u32 = 4_294_967_294;

/// Opens a group of a storage, and registers it if it is new. Free it with damo_embedding_free.
///
/// - storage, optimizer, initializer: can be freed before the embedding.
/// - dim: the number of weights in a row, 1..262144.
/// - group: a number in 0..65535, or DAMO_GROUP_BY_NAME.
/// - options: may be NULL. Names (defaults):
///
/// ```text
///     duplicates    what damo_embedding_apply_gradients does with a key that is given twice:
///                   "sequential": one step for each occurrence, in order (the default);
///                   "sum", "mean": one step with the sum or mean of its gradients, as PyTorch and
///                   FBGEMM do
///     name          the group's name: 1 to 255 bytes of UTF-8 without control characters. A group
///                   without a name gets it, for good. It is stored, and part of checkpoints (none)
///     padding_key   a key that reads as zeros, never has a row, and whose gradients are dropped
///                   (none)
/// ```
///
/// A group keeps its dim and its optimizer's name for good. Hyper-parameters, scheduler and
/// initializer may differ at the next opening. Embeddings that have a group open at the same time
/// should have one initializer: after a crash, a row that one of them made and another one trained
/// is made with the other's.
///
/// Returns NULL on failure and sets the last error:
/// - INVALID_ARGUMENT: a NULL handle; a dim or group out of range; a wrong option;
///   DAMO_GROUP_BY_NAME without a name.
/// - ALREADY_EXISTS: the group has another dim, optimizer or name; the name is another group's; all
///   65536 groups are taken.
/// - NOT_FOUND: the group does not exist, and the storage is open with read_only.
/// - NOT_SUPPORTED: a name for a group without one, and the storage is open with read_only.
/// - IO, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_new(
    storage: *const damo_storage,
    optimizer: *const damo_optimizer,
    initializer: *const damo_initializer,
    dim: usize,
    group: u32,
    options: *const damo_params,
) -> *mut damo_embedding {
    guard::handle("damo_embedding_new", || {
        // SAFETY: the contract of `arguments`.
        let (storage, optimizer, initializer, options) = unsafe {
            (
                arguments::handle(storage, "storage")?,
                arguments::handle(optimizer, "optimizer")?,
                arguments::handle(initializer, "initializer")?,
                arguments::params(options, "options")?,
            )
        };
        let (optimizer, initializer) =
            (Arc::clone(&optimizer.inner), Arc::clone(&initializer.inner));
        let inner =
            Embedding::new(storage.inner.clone(), optimizer, initializer, dim, group, options)?;
        Ok(damo_embedding { inner })
    })
}

/// Writes the weights of keys into weights, and creates the rows that are missing.
///
/// - keys: keys_len keys. A key given twice gives its row twice. The padding key reads as zeros.
/// - weights: keys_len x dim floats, in key order.
///
/// With a filter (damo_embedding_set_filter) only keys that were seen often enough get rows. In a
/// storage that is open with read_only no key gets one. A key that gets no row reads as its first
/// weights.
///
/// Errors, after which weights may be partly written:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; overlapping buffers; a
///   weights_len that is not keys_len x dim.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_lookup(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_lookup", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        arguments::check_apart(
            (keys, keys_len, "keys"),
            (weights.cast_const(), weights_len, "weights"),
        )?;
        // SAFETY: the contract of `arguments`.
        let (keys, weights) = unsafe {
            (
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice_mut(weights, weights_len, "weights")?,
            )
        };
        embedding.inner.lookup(keys, weights)
    })
}

/// As damo_embedding_lookup, but creates nothing: a key without a row reads as zeros.
///
/// - keys: keys_len keys.
/// - weights: keys_len x dim floats, in key order.
/// - found: keys_len bytes, or NULL. Each becomes 1 for a key with a row and 0 for one without.
///
/// After an error weights may be partly written.
///
/// Errors: as damo_embedding_lookup, without POISONED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_peek(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *mut f32,
    weights_len: usize,
    found: *mut u8,
) -> damo_status {
    guard::status("damo_embedding_peek", || {
        // SAFETY: the contract of `arguments`.
        let embedding = unsafe { arguments::handle(embedding, "embedding") }?;
        embedding.inner.check_floats("weights", weights_len, keys_len)?;
        // SAFETY: the contract of `arguments`.
        let Reading { keys, weights, found } =
            unsafe { arguments::reading((keys, keys_len), (weights, weights_len), found) }?;
        embedding.inner.peek(keys, weights, found)
    })
}

/// Steps the optimizer: applies gradients to the rows of keys.
///
/// - keys: keys_len keys. A key without a row gets one first. The option duplicates says what
///   happens to a key that is given twice.
/// - gradients: keys_len x dim floats, in key order.
///
/// The group's global step rises by one a call. All rows of the call and the step change together
/// or not at all.
///
/// Errors, after which nothing has changed (for IO see "Input and output errors" above):
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a gradients_len that is not
///   keys_len x dim; a gradient that is NaN, infinite or beyond 1e18 in size (the message names its
///   key).
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_apply_gradients(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    gradients: *const f32,
    gradients_len: usize,
) -> damo_status {
    guard::status("damo_embedding_apply_gradients", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, gradients) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(gradients, gradients_len, "gradients")?,
            )
        };
        embedding.inner.apply_gradients(keys, gradients)
    })
}

/// Brings the rows of keys into memory in the background, for a trainer that knows its next batch.
///
/// - keys: keys_len keys, which are copied.
///
/// Returns at once. It creates no row and changes none. Rows stay in memory until they are evicted,
/// so ask for a batch ahead, not for the whole table. It is a hint. If more than 2^24 (16 million)
/// keys would be waiting, these are left out. What goes wrong while reading comes out when the rows
/// are used.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
/// - IO: the background thread cannot be made.
/// - OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_prefetch(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_embedding_prefetch", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::slice(keys, keys_len, "keys")?)
        };
        embedding.inner.prefetch(keys)
    })
}

/// Stores weights as fresh rows, for pretrained tables.
///
/// - keys: keys_len keys. Rows that exist are replaced. Of a key given twice the last one counts.
/// - weights: keys_len x dim floats, in key order.
///
/// A fresh row has the update count 0 and the optimizer's first state. With that state adam,
/// adagrad and their kin take large steps at first, which can ruin what was trained;
/// damo_embedding_insert_records stores the state, too. Under ftrl the weights follow from the
/// state: it is set so that steps continue from these weights.
///
/// Errors, after which nothing has changed:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length; a weights_len that is not
///   keys_len x dim; a weight that is NaN or infinite; the padding key.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_insert(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    weights: *const f32,
    weights_len: usize,
) -> damo_status {
    guard::status("damo_embedding_insert", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, weights) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(weights, weights_len, "weights")?,
            )
        };
        embedding.inner.insert(keys, weights)
    })
}

/// Stores whole rows, weights and optimizer state, as damo_embedding_record reads them.
///
/// - keys: keys_len keys. Rows that exist are replaced. Of a key given twice the last one counts.
/// - rows: keys_len x row_len floats: for each key the dim weights and the optimizer's state.
///   row_len is what damo_optimizer_row_len gives for dim.
/// - update_nums: the number of gradients that each row has had; (NULL, 0): 0 for all.
///
/// Training continues as it would have where the rows come from. Their update_time is now.
///
/// After an error nothing has changed.
///
/// Errors: as damo_embedding_insert, for whole rows, and
/// - INVALID_ARGUMENT: an update_nums_len that is neither 0 nor keys_len; an update_num that is
///   negative or above 2^56 - 1; a negative float where the optimizer's state has a sum or mean of
///   squares.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_insert_records(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    rows: *const f32,
    rows_len: usize,
    update_nums: *const i64,
    update_nums_len: usize,
) -> damo_status {
    guard::status("damo_embedding_insert_records", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys, rows, update_nums) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice(rows, rows_len, "rows")?,
                arguments::slice(update_nums, update_nums_len, "update_nums")?,
            )
        };
        if let Some(index) =
            update_nums.iter().position(|number| !(0..=MAX_UPDATE_NUM).contains(number))
        {
            let number = update_nums.get(index).copied().unwrap_or_default();
            return Err(Error::invalid(format!(
                "update_nums[{index}] is {number}; a number from 0 to {MAX_UPDATE_NUM} is needed"
            )));
        }
        // Not negative, so they are the same numbers.
        embedding.inner.insert_records(keys, rows, bytemuck::cast_slice(update_nums))
    })
}

/// Deletes the rows of keys. A later lookup makes a fresh row.
///
/// - keys: keys_len keys. A key without a row is not an error.
///
/// Errors, after which nothing has changed:
/// - INVALID_ARGUMENT: a NULL handle; a NULL buffer with a length.
/// - POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_delete(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_embedding_delete", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, keys) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::slice(keys, keys_len, "keys")?)
        };
        embedding.inner.delete(keys)
    })
}

/// Removes all rows of the group at once, and sets its global step to 0.
///
/// Use it to train a new model on the same group: schedules start anew. The group keeps its dim,
/// optimizer and name. Other groups do not change.
///
/// - Atomicity: every other call on the group, from any thread and handle, happens wholly before or
///   wholly after. An iterator, dump or checkpoint that began before has the rows of its moment.
/// - Durability: as damo_embedding_apply_gradients.
/// - Time: it writes as little for many rows as for few, and gives back the memory that they took.
///   It waits while changed rows are being written to disk, by damo_storage_flush for instance.
/// - Disk space: comes back at the next flush, or when files are merged (damo_storage_compact).
/// - Filters keep their counts: a key that was seen often enough gets a row at its next lookup. To
///   count anew, attach a new filter (reload false).
/// - Increments: none can follow a dump that was made before the clear. damo_storage_dump with the
///   number of such a dump as since returns NOT_FOUND. Make a full dump.
///
/// Errors, after which nothing has changed (for IO see "Input and output errors" above):
/// - INVALID_ARGUMENT: a NULL handle.
/// - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_clear(embedding: *const damo_embedding) -> damo_status {
    guard::status("damo_embedding_clear", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.clear()
    })
}

/// Reads everything stored of one row, without creating it.
///
/// - update_time: becomes the time of the row's last write, milliseconds since 1970. May be NULL.
/// - update_num: becomes the number of gradients applied so far. May be NULL.
/// - data: gets the dim weights and the optimizer's state. data_len is what damo_optimizer_row_len
///   gives for dim. (NULL, 0) leaves it out.
///
/// Errors, after which nothing is written:
/// - NOT_FOUND: the key has no row.
/// - INVALID_ARGUMENT: a NULL handle; a wrong data_len; data that overlaps update_time or
///   update_num.
/// - IO, CORRUPTION, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_record(
    embedding: *const damo_embedding,
    key: i64,
    update_time: *mut i64,
    update_num: *mut i64,
    data: *mut f32,
    data_len: usize,
) -> damo_status {
    guard::status("damo_embedding_record", || {
        let data_buffer = (data.cast_const(), data_len, "data");
        arguments::check_apart(data_buffer, (update_time.cast_const(), 1, "update_time"))?;
        arguments::check_apart(data_buffer, (update_num.cast_const(), 1, "update_num"))?;
        // SAFETY: the contract of `arguments`.
        let (embedding, data) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice_mut(data, data_len, "data")?,
            )
        };
        let row_len = embedding.inner.row_len();
        if !data.is_empty() && data.len() != row_len {
            return Err(Error::invalid(format!(
                "data_len is {data_len}; {row_len} floats (weights and optimizer state), or NULL and 0, are needed"
            )));
        }
        // SAFETY: the contract of `arguments`.
        let (update_time, update_num) = unsafe {
            (
                arguments::optional_out(update_time, "update_time")?,
                arguments::optional_out(update_num, "update_num")?,
            )
        };
        let record = embedding.inner.record(key)?;
        if !data.is_empty() {
            data.copy_from_slice(&record.data);
        }
        // Times have 48 bits and counts 56, so the casts are exact.
        if let Some(update_time) = update_time {
            *update_time = record.update_time as i64;
        }
        if let Some(update_num) = update_num {
            *update_num = record.update_num as i64;
        }
        Ok(())
    })
}

/// Writes the group's number, which DAMO_GROUP_BY_NAME leaves open, to *group.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_group(
    embedding: *const damo_embedding,
    group: *mut u32,
) -> damo_status {
    guard::status("damo_embedding_group", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, group) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::out(group, "group")?)
        };
        *group = u32::from(embedding.inner.group().id());
        Ok(())
    })
}

/// Writes the group's global step to *step.
///
/// It is the number of damo_embedding_apply_gradients calls so far, over all openings, or continues
/// from what it was last set to. It drives the scheduler.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle or step.
/// - FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_step(
    embedding: *const damo_embedding,
    step: *mut i64,
) -> damo_status {
    guard::status("damo_embedding_step", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, step) =
            unsafe { (arguments::handle(embedding, "embedding")?, arguments::out(step, "step")?) };
        *step = embedding.inner.step()?;
        Ok(())
    })
}

/// Sets the group's global step, and stores it.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL handle; a negative step.
/// - POISONED, IO, FORKED; NOT_SUPPORTED with read_only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_step(
    embedding: *const damo_embedding,
    step: i64,
) -> damo_status {
    guard::status("damo_embedding_set_step", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.set_step(step)
    })
}

/// Attaches a filter in place of the one that is attached; NULL attaches none.
///
/// The embedding keeps what it needs, so the handle can be freed. A filter may serve many
/// embeddings, of any group: keys of different groups are different keys. Which filter an embedding
/// has is not stored: attach it each time the group is opened. It may get the counts of a
/// checkpoint: see damo_filter.
///
/// From then on:
/// - damo_embedding_lookup first counts every occurrence of a key, except of the padding key. Then
///   it makes rows for the keys that have been counted often enough (the filter's parameter count).
///   All other keys read as their first weights, and take no row and no disk space. A lookup that
///   fails may have counted.
/// - damo_embedding_apply_gradients drops the gradients of those other keys, which must be valid
///   nevertheless. The global step rises as ever.
/// - A key that has a row is treated as without a filter: attaching one hides nothing trained.
/// - All other calls are as before: insert makes rows; peek, record and prefetch count nothing;
///   delete removes a row and leaves the count.
///
/// May be called while other threads use the embedding: calls under way may still use the filter
/// before. Attaching waits until a checkpoint that is being made or loaded is done.
///
/// After an error nothing is attached. The filter is as it was, unless the message says that it has
/// the counts: then attach it again.
///
/// Errors:
/// - INVALID_ARGUMENT: a NULL embedding; a filter whose file is in the folder filters of a storage
///   or checkpoint, where damo deletes files. When counts wait for this group: a filter with
///   another capacity, count or fpr; a filter that has counts of other groups, which they would
///   replace.
/// - CORRUPTION: the counts that wait are damaged.
/// - IO, OUT_OF_MEMORY, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_filter(
    embedding: *const damo_embedding,
    filter: *const damo_filter,
) -> damo_status {
    guard::long_call("damo_embedding_set_filter", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, filter) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::optional_handle(filter, "filter")?,
            )
        };
        embedding.inner.set_filter(filter.map(|filter| Arc::clone(&filter.inner)))
    })
}

/// Frees an embedding, and closes its storage if no other handle has it. NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_free(embedding: *mut damo_embedding) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(embedding) }
}
