//! `damo_embedding`: one group of a storage, as a trainer uses it.

use std::sync::Arc;

use super::arguments::Reading;
use super::{arguments, damo_filter, damo_initializer, damo_optimizer, damo_params, damo_storage, guard};
use crate::embedding::{Embedding, MAX_UPDATE_NUM};
use crate::error::{Error, damo_status};

/// One group of a storage with its optimizer and initializer: what a trainer calls.
///
/// Keeps its storage open. May be used by many threads at once: each gradient is applied exactly once, and two
/// calls on the same key follow each other in an unspecified order.
pub struct damo_embedding {
    pub(super) inner: Embedding,
}

/// As the group of damo_embedding_new: the group that is called what the option name says. A new name gets the lowest free number.
pub const DAMO_GROUP_BY_NAME: u32 = 4_294_967_294;

/// Opens a group of a storage, registering it when it is new. Free the handle with damo_embedding_free; storage,
/// optimizer and initializer can be freed before it.
///
/// dim is the number of weights a row (1..262144), group a number in 0..65535 or DAMO_GROUP_BY_NAME. A group keeps its dim and its
/// optimizer's name for good; hyper-parameters, scheduler and initializer may differ at the next opening. Embeddings that
/// have a group open at the same time should have one initializer: a row that one of them made and another one trained is,
/// after a crash, made with the other's. options may be NULL; names (defaults):
///
/// ```text
///     duplicates    what damo_embedding_apply_gradients does with a key that is given twice:
///                   "sequential": one step per occurrence, in order (the default);
///                   "sum", "mean": one step with the sum or mean of its gradients, as PyTorch and FBGEMM do
///     name          what the group is called: 1 to 255 bytes of UTF-8 without control characters. A group without a name gets it,
///                   for good; it is stored, and part of checkpoints (none)
///     padding_key   a key that reads as zeros, never has a row, and whose gradients are dropped (none)
/// ```
///
/// Returns NULL and sets the last error: INVALID_ARGUMENT for a NULL handle, a dim or group out of range, a wrong
/// option, DAMO_GROUP_BY_NAME without a name; ALREADY_EXISTS when the group has another dim, optimizer or name, when the
/// name is another group's, and when all groups are taken; IO; FORKED. In a storage that is open
/// with read_only also NOT_FOUND for a group that is not there, and NOT_SUPPORTED for a name when
/// the group has none.
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
        let (optimizer, initializer) = (Arc::clone(&optimizer.inner), Arc::clone(&initializer.inner));
        let inner = Embedding::new(storage.inner.clone(), optimizer, initializer, dim, group, options)?;
        Ok(damo_embedding { inner })
    })
}

/// Writes the weights of keys into weights: keys_len x dim floats, in key order. A key seen for the first time gets
/// a row; a key given twice gives the same row twice; the padding key reads as zeros. With a filter
/// (damo_embedding_set_filter) only keys that were seen often enough get rows.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, overlapping buffers, and a weights_len
/// that is not keys_len x dim; POISONED, OUT_OF_MEMORY, IO, CORRUPTION, FORKED. weights may then be partly written.
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
        arguments::check_apart((keys, keys_len, "keys"), (weights.cast_const(), weights_len, "weights"))?;
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
/// found may be NULL; otherwise it has keys_len bytes, which become 1 for a key with a row and 0 for one without.
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

/// Steps the optimizer with gradients: keys_len x dim floats, in key order. A key without a row gets one first; what
/// happens to a key given twice is the option "duplicates". The group's global step rises by one a call.
///
/// All rows of the call and the step change together or not at all.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, a gradients_len that is not
/// keys_len x dim, and a gradient that is NaN, infinite or beyond 1e18 in size (naming its key); POISONED, OUT_OF_MEMORY, IO, CORRUPTION,
/// FORKED. Nothing has changed then; after IO see "Input and output errors" above.
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

/// Brings the rows of keys into memory in the background and returns at once: for a trainer that knows its next batch.
/// It creates no row and changes none; keys is copied. Rows stay until they are evicted, so ask for a batch ahead, not for
/// the table. It is a hint: when 16 million keys are waiting already these are left out, and what goes wrong while reading
/// comes out when the rows are used.
///
/// Errors: INVALID_ARGUMENT for a NULL handle and a NULL buffer with a length; OUT_OF_MEMORY; IO when the background
/// thread cannot be made; FORKED.
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

/// Stores weights, keys_len x dim floats, as fresh rows: their update count is 0, and the
/// optimizer's state is that of a new row. A row that exists is replaced; of a key given twice the
/// last counts. For pretrained tables.
///
/// With the state of a new row adam, adagrad and their kin take large steps at first, which can
/// ruin what was trained; damo_embedding_insert_records stores the state, too. Under ftrl the
/// weights follow from the state: it is set so that steps go on from these weights.
///
/// Errors: INVALID_ARGUMENT for a NULL handle, a NULL buffer with a length, a weights_len that is not keys_len x dim,
/// weights that are NaN or infinite, and the padding key; POISONED, OUT_OF_MEMORY, IO, FORKED. Nothing has changed then.
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

/// Stores whole rows, keys_len x row_len floats: the dim weights and the optimizer's state, as
/// damo_embedding_record reads them. Training goes on as it would have where they come from.
/// update_nums has the number of gradients that each row has had; (NULL, 0) means none. A row that
/// exists is replaced; of a key given twice the last counts. The update_time of the rows is now.
///
/// Errors: as damo_embedding_insert, for whole rows; INVALID_ARGUMENT when update_nums_len is
/// neither 0 nor keys_len, for an update_num that is negative or above 2^56 - 1, and for a negative
/// float where the optimizer's state has a sum or mean of squares. Nothing has changed then.
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
        if let Some(index) = update_nums.iter().position(|number| !(0..=MAX_UPDATE_NUM).contains(number)) {
            let number = update_nums.get(index).copied().unwrap_or_default();
            return Err(Error::invalid(format!(
                "update_nums[{index}] is {number}; a number from 0 to {MAX_UPDATE_NUM} is needed"
            )));
        }
        // Not negative, so they are the same numbers.
        embedding.inner.insert_records(keys, rows, bytemuck::cast_slice(update_nums))
    })
}

/// Deletes the rows of keys; a key without a row is not an error. A later lookup makes a fresh row.
///
/// Errors: INVALID_ARGUMENT for a NULL handle and a NULL buffer with a length; POISONED, IO, FORKED. Nothing has
/// changed then.
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

/// Removes all rows of the group at once and sets its global step to 0, so that schedules begin
/// anew. Use it to train a new model on the same group. The group keeps its dim, optimizer and
/// name. Other groups do not change.
///
/// Every other call on the group, from any thread and handle, happens wholly before or wholly
/// after. An iterator, dump or checkpoint that began before has the rows of its moment. The call is
/// as durable as damo_embedding_apply_gradients. It writes as little for many rows as for few, and
/// gives back the memory that they took. It waits while changed rows are being written to disk (by
/// damo_storage_flush, for instance). Disk space comes back at the next flush, or when files are
/// merged (damo_storage_compact).
///
/// Filters keep their counts: a key that was seen often enough gets a row at its next lookup. To
/// count anew, attach a new filter (reload false). An increment cannot follow a dump that was made
/// before the clear: damo_storage_dump with its number as since is NOT_FOUND. Make a full dump.
///
/// Errors: INVALID_ARGUMENT for a NULL handle; POISONED, IO, FORKED. Nothing has changed then;
/// after IO see "Input and output errors" above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_clear(embedding: *const damo_embedding) -> damo_status {
    guard::status("damo_embedding_clear", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.clear()
    })
}

/// Reads everything stored of one row, without creating it.
///
/// *update_time becomes the time of its last write in milliseconds since 1970, *update_num the number of gradients
/// applied so far; either may be NULL. data, unless NULL with data_len 0, gets the dim weights and the optimizer's
/// state; data_len is what damo_optimizer_row_len gives for dim.
///
/// Errors: NOT_FOUND when the key has no row; INVALID_ARGUMENT for a NULL handle, a wrong data_len,
/// and data that overlaps update_time or update_num; IO, CORRUPTION, FORKED. Nothing is written then.
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
            (arguments::handle(embedding, "embedding")?, arguments::slice_mut(data, data_len, "data")?)
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

/// Writes the group's number to *group, which DAMO_GROUP_BY_NAME leaves open.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_group(
    embedding: *const damo_embedding,
    group: *mut u32,
) -> damo_status {
    guard::status("damo_embedding_group", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, group) =
            unsafe { (arguments::handle(embedding, "embedding")?, arguments::out(group, "group")?) };
        *group = u32::from(embedding.inner.group().id());
        Ok(())
    })
}

/// Writes the group's global step to *step: damo_embedding_apply_gradients calls so far, over all openings, or what
/// it was last set to. It drives the scheduler.
///
/// Errors: INVALID_ARGUMENT for a NULL handle or step; FORKED.
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

/// Sets the group's global step and stores it.
///
/// Errors: INVALID_ARGUMENT for a NULL handle and a negative step; POISONED, IO, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_step(embedding: *const damo_embedding, step: i64) -> damo_status {
    guard::status("damo_embedding_set_step", || {
        // SAFETY: the contract of `arguments`.
        unsafe { arguments::handle(embedding, "embedding") }?.inner.set_step(step)
    })
}

/// Attaches a filter, in place of the one that is attached; NULL attaches none. The embedding keeps what it needs, so
/// the handle can be freed. A filter may serve many embeddings, of any group; keys of different groups are different keys.
///
/// From then on damo_embedding_lookup counts every occurrence of a key, but not of the padding key, and then makes rows for
/// those that have been counted often enough (the filter's parameter count; the occurrence that completes it is enough).
/// All other keys read as their initial values and take no row and no disk. damo_embedding_apply_gradients drops their
/// gradients, which must be valid nevertheless, and the global step rises as ever. A key that has a row is as without a
/// filter, so that attaching one hides nothing that was trained. All other calls are as before: insert makes rows; peek,
/// record and prefetch count nothing; delete takes a row and leaves the count. A lookup that fails may have counted.
///
/// Which filter an embedding has is not stored: attach it each time the group is opened.
///
/// A checkpoint has a copy of each filter. After it was loaded, or opened as a storage, a copy
/// whose counts no attached filter has taken waits in the folder filters of the directory. The
/// first filter that is attached to a group of that copy takes its counts in place of its own,
/// whatever the path of either. A filter gets no counts of a copy that its group did not have. If
/// the group had several, it gets those of the filter at the same path, if there is one. A read_only
/// storage gives no counts. A filter takes the counts of one copy only: groups that had a filter
/// each need a filter each again.
///
/// The file of a filter says whose counts it has taken. A filter that is made anew at the same path
/// has taken none, and gets the counts that still wait. A copy of the file has what the file had.
///
/// May be called while other threads use the embedding: calls under way may still use the filter
/// before. Attaching waits until a checkpoint that is being made or loaded is done.
///
/// Errors: INVALID_ARGUMENT for a NULL embedding, and for a filter whose file is in the folder
/// filters of a storage or checkpoint, where damo deletes files; FORKED. When counts wait for this
/// group, also INVALID_ARGUMENT for a filter with another capacity, count or fpr, and for one that
/// has counts of other groups, which they would replace; CORRUPTION when they are damaged; IO;
/// OUT_OF_MEMORY. Nothing is attached then, and the filter is as it was, unless the message says
/// that it has the counts: then attach it again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_set_filter(
    embedding: *const damo_embedding,
    filter: *const damo_filter,
) -> damo_status {
    guard::long_call("damo_embedding_set_filter", || {
        // SAFETY: the contract of `arguments`.
        let (embedding, filter) = unsafe {
            (arguments::handle(embedding, "embedding")?, arguments::optional_handle(filter, "filter")?)
        };
        embedding.inner.set_filter(filter.map(|filter| Arc::clone(&filter.inner)))
    })
}

/// Frees an embedding. NULL is a no-op. Closes the storage when its handle and its other embeddings are gone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_embedding_free(embedding: *mut damo_embedding) {
    // SAFETY: the contract of `arguments`.
    unsafe { guard::free(embedding) }
}
