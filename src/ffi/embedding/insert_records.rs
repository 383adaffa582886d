//! `damo_embedding_insert_records`: whole rows, with their optimizer state.

use super::damo_embedding;
use crate::embedding::MAX_UPDATE_NUM;
use crate::error::{Error, damo_status};
use crate::ffi::{arguments, guard};

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
        let is_wrong = |number: &i64| !(0..=MAX_UPDATE_NUM).contains(number);
        let mut numbers = update_nums.iter().enumerate();
        if let Some((index, number)) = numbers.find(|(_, number)| is_wrong(number)) {
            return Err(Error::invalid(format!(
                "update_nums[{index}] is {number}; a number from 0 to {MAX_UPDATE_NUM} is needed"
            )));
        }
        // Not negative, so they are the same numbers.
        embedding.inner.insert_records(keys, rows, bytemuck::cast_slice(update_nums))
    })
}
