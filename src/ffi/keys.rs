//! `damo_keys_partition`: the distinct keys of a batch, by the shards that own them.

use super::arguments::{bytes, check_all_apart};
use super::{arguments, guard};
use crate::error::damo_status;
use crate::kernels::{Partitioned, keys_partition};

/// Writes each key of a batch once, grouped by the shard that owns it (damo_key_shard).
///
/// - keys: keys_len keys, at most 2^32 - 2.
/// - shards: 1 to 65536.
/// - distinct_keys: room for keys_len keys. Gets those of shard 0, then those of shard 1, and so
///   on; within a shard in the order in which they first occur in keys.
/// - starts: shards + 1 numbers. The keys of shard s are distinct_keys[starts[s]] to
///   distinct_keys[starts[s + 1] - 1]. starts[shards] is the number of distinct keys.
/// - positions: keys_len numbers. keys[i] is distinct_keys[positions[i]].
/// - occurrences: room for keys_len numbers. Gets how often each distinct key occurs in keys.
///
/// A trainer sends each shard its distinct keys, and gets a row for each. damo_rows_gather makes a
/// row for each key of them, by the positions. damo_gradients_sum makes the gradients of distinct
/// keys of those of keys. damo_embedding_lookup_counted takes the occurrences, so that a filter
/// counts each of them. For distinct keys only, call it with one shard.
///
/// Room that is not needed is left as it is. The same arguments give the same result. The call
/// works on the caller's thread alone. It allocates up to 16 bytes a key, and frees them.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL buffer with a length; a
///   starts_len that is not shards + 1, a positions_len that is not keys_len, or less room than
///   said above; overlapping buffers; too many keys.
/// - OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_keys_partition(
    keys: *const i64,
    keys_len: usize,
    shards: u32,
    distinct_keys: *mut i64,
    distinct_keys_len: usize,
    starts: *mut u64,
    starts_len: usize,
    positions: *mut u32,
    positions_len: usize,
    occurrences: *mut u32,
    occurrences_len: usize,
) -> damo_status {
    guard::status("damo_keys_partition", || {
        let written = [
            bytes(distinct_keys, distinct_keys_len, "distinct_keys"),
            bytes(starts, starts_len, "starts"),
            bytes(positions, positions_len, "positions"),
            bytes(occurrences, occurrences_len, "occurrences"),
        ];
        check_all_apart(&[bytes(keys, keys_len, "keys")], &written)?;
        // SAFETY: the contract of `arguments`; no written buffer overlaps another one.
        let (keys, into) = unsafe {
            (
                arguments::slice(keys, keys_len, "keys")?,
                Partitioned {
                    distinct_keys: arguments::slice_mut(
                        distinct_keys,
                        distinct_keys_len,
                        "distinct_keys",
                    )?,
                    starts: arguments::slice_mut(starts, starts_len, "starts")?,
                    positions: arguments::slice_mut(positions, positions_len, "positions")?,
                    occurrences: arguments::slice_mut(occurrences, occurrences_len, "occurrences")?,
                },
            )
        };
        keys_partition(keys, shards, into)
    })
}
