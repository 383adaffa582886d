//! `damo_key_shard`: which shard owns a key.

use super::arguments::{self, bytes, check_all_apart};
use super::guard;
use crate::error::damo_status;
use crate::kernels::{key_shard, key_shards};

/// Writes to *shard which of so many shards owns a key: 0 to shards - 1.
///
/// - shards: 1 to 65536.
///
/// This is for callers that divide the keys of a table over several storages. The shard is a
/// function of the key and the number of shards, the same in every language and release:
///
/// ```text
///     h     = XXH64 of the key's 8 bytes, little-endian, with seed 42
///     shard = (h / 2^32) x shards / 2^32, each rounded down
/// ```
///
/// docs/formats.md has examples. Within a shard, damo spreads keys as evenly as if there were one.
/// With twice as many shards, the keys of shard s are those of 2s and 2s + 1.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL shard.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_key_shard(key: i64, shards: u32, shard: *mut u32) -> damo_status {
    guard::status("damo_key_shard", || {
        // SAFETY: the contract of `arguments`.
        let shard = unsafe { arguments::out(shard, "shard") }?;
        *shard = key_shard(key, shards)?;
        Ok(())
    })
}

/// Writes the shards that own keys, as damo_key_shard, to owners.
///
/// - keys: keys_len keys.
/// - shards: 1 to 65536.
/// - owners: keys_len numbers, 0 to shards - 1.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a number of shards that is not 1 to 65536; a NULL buffer with a length; an
///   owners_len that is not keys_len; overlapping buffers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_key_shard_batch(
    keys: *const i64,
    keys_len: usize,
    shards: u32,
    owners: *mut u32,
    owners_len: usize,
) -> damo_status {
    guard::status("damo_key_shard_batch", || {
        check_all_apart(&[bytes(keys, keys_len, "keys")], &[bytes(owners, owners_len, "owners")])?;
        // SAFETY: the contract of `arguments`.
        let (keys, owners) = unsafe {
            (
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice_mut(owners, owners_len, "owners")?,
            )
        };
        key_shards(keys, shards, owners)
    })
}
