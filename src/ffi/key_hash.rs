//! Keys of strings.

use super::{arguments, guard};
use crate::error::damo_status;
use crate::key_hash::{key_of, keys_of};

/// Writes to *key the key of a string of bytes_len bytes, which may have any values: XXH64 with
/// seed 0, as a signed number of the same bits. The key is the same in every language and release.
/// Among a billion strings, the probability that any two get the same key is about 3 %.
///
/// Errors: INVALID_ARGUMENT for a NULL buffer with a length, a NULL key, and a key that lies within
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_key_hash(bytes: *const u8, bytes_len: usize, key: *mut i64) -> damo_status {
    guard::status("damo_key_hash", || {
        arguments::check_apart((bytes, bytes_len, "bytes"), (key.cast_const(), 1, "key"))?;
        // SAFETY: the contract of `arguments`.
        let (bytes, key) =
            unsafe { (arguments::slice(bytes, bytes_len, "bytes")?, arguments::out(key, "key")?) };
        *key = key_of(bytes);
        Ok(())
    })
}

/// As damo_key_hash, for ends_len strings that lie one after the other in bytes. String i ends
/// before byte ends[i]; the next one begins there.
///
/// Errors: as damo_key_hash; INVALID_ARGUMENT when keys_len is not ends_len, for an end that is
/// below the one before it or above bytes_len, and for keys that overlap ends or bytes. Nothing is
/// written then.
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
