//! `damo_key_hash`: keys of strings.

use super::{arguments, guard};
use crate::error::damo_status;
use crate::key_hash::{key_of, keys_of};

/// Writes the key of a string to *key: XXH64 with seed 0, as a signed number of the same bits.
///
/// - bytes: bytes_len bytes, of any values.
///
/// The key is the same in every language and release. Among a billion strings, the probability that
/// any two get the same key is about 3 %.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a NULL buffer with a length; a NULL key; a key that lies within bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_key_hash(
    bytes: *const u8,
    bytes_len: usize,
    key: *mut i64,
) -> damo_status {
    guard::status("damo_key_hash", || {
        arguments::check_apart((bytes, bytes_len, "bytes"), (key.cast_const(), 1, "key"))?;
        // SAFETY: the contract of `arguments`.
        let (bytes, key) =
            unsafe { (arguments::slice(bytes, bytes_len, "bytes")?, arguments::out(key, "key")?) };
        *key = key_of(bytes);
        Ok(())
    })
}

/// Writes the keys of many strings, as damo_key_hash, to keys.
///
/// - bytes: the strings, one after the other.
/// - ends: ends_len numbers. String i ends before byte ends[i], where the next one begins.
/// - keys: ends_len keys.
///
/// After an error nothing is written.
///
/// Errors: as damo_key_hash, and
/// - INVALID_ARGUMENT: a keys_len that is not ends_len; an end that is below the one before it or
///   above bytes_len; keys that overlap ends or bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_key_hash_batch(
    bytes: *const u8,
    bytes_len: usize,
    ends: *const u64,
    ends_len: usize,
    keys: *mut i64,
    keys_len: usize,
) -> damo_status {
    guard::status("damo_key_hash_batch", || {
        let keys_buffer = (keys.cast_const(), keys_len, "keys");
        arguments::check_apart((bytes, bytes_len, "bytes"), keys_buffer)?;
        arguments::check_apart((ends, ends_len, "ends"), keys_buffer)?;
        // SAFETY: the contract of `arguments`.
        let (bytes, ends, keys) = unsafe {
            (
                arguments::slice(bytes, bytes_len, "bytes")?,
                arguments::slice(ends, ends_len, "ends")?,
                arguments::slice_mut(keys, keys_len, "keys")?,
            )
        };
        keys_of(bytes, ends, keys)
    })
}
