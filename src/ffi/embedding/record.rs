//! `damo_embedding_record`: everything stored of one row.

use super::damo_embedding;
use crate::error::{Error, damo_status};
use crate::ffi::{arguments, guard};

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
                "data_len is {data_len}; {row_len} floats (weights and optimizer state), or NULL \
                 and 0, are needed"
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
        arguments::give(update_time, record.update_time as i64);
        arguments::give(update_num, record.update_num as i64);
        Ok(())
    })
}
