//! Keys of strings: XXH64 with seed 0, as a signed integer of the same bits.
//!
//! Source: Yann Collet's specification, xxHash fast digest algorithm, version 0.2.0. Among a
//! billion strings, two get the same key with a probability of about 3 %.

use twox_hash::XxHash64;

use crate::error::{Error, Result};

/// The key of a string, which may be any bytes.
pub fn key_of(bytes: &[u8]) -> i64 {
    XxHash64::oneshot(0, bytes).cast_signed()
}

/// The keys of many strings, which lie one after the other in `bytes`; `ends` has the end of each.
///
/// # Errors
/// `INVALID_ARGUMENT` when `keys` does not have one place for each string, and for an end that is
/// before the one before it, or beyond `bytes`. Nothing is written.
pub fn keys_of(bytes: &[u8], ends: &[u64], keys: &mut [i64]) -> Result<()> {
    if keys.len() != ends.len() {
        return Err(Error::invalid(format!(
            "keys_len is {} and ends_len is {}; one key a string is needed",
            keys.len(),
            ends.len()
        )));
    }
    let mut start = 0;
    for (index, &end) in ends.iter().enumerate() {
        if end < start || end > bytes.len() as u64 {
            return Err(Error::invalid(format!(
                "ends[{index}] is {end}; a number from {start}, where the string begins, to {}, \
                 where bytes ends, is needed",
                bytes.len()
            )));
        }
        start = end;
    }
    let mut start = 0;
    for (key, &end) in keys.iter_mut().zip(ends) {
        *key = key_of(&bytes[start..end as usize]);
        start = end as usize;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digests that the specification's own implementation gives.
    const KNOWN: [(&str, u64); 4] = [
        ("", 0xef46_db37_51d8_e999),
        ("a", 0xd24e_c4f1_a98c_6e5b),
        ("abc", 0x44bc_2cf5_ad77_0999),
        ("Nobody inspects the spammish repetition", 0xfbce_a83c_8a37_8bf1),
    ];

    #[test]
    fn keys_are_xxh64() {
        for (text, digest) in KNOWN {
            assert_eq!(key_of(text.as_bytes()).cast_unsigned(), digest, "'{text}'");
        }
    }

    #[test]
    fn many_strings_get_the_keys_that_each_gets() {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (text, _) in KNOWN {
            bytes.extend(text.as_bytes());
            ends.push(bytes.len() as u64);
        }
        let mut keys = [0; 4];
        keys_of(&bytes, &ends, &mut keys).unwrap();
        assert_eq!(keys.map(i64::cast_unsigned), KNOWN.map(|(_, digest)| digest));
        keys_of(b"", &[], &mut []).unwrap();
        let mut keys = [7; 2];
        for (ends, words) in
            [([3, 2], "ends[1] is 2"), ([1, 9], "ends[1] is 9"), ([u64::MAX, 1], "ends[0]")]
        {
            let error = keys_of(b"abc", &ends, &mut keys).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        }
        assert!(keys_of(b"abc", &[3], &mut keys).unwrap_err().message().contains("keys_len is 2"));
        assert_eq!(keys, [7; 2]);
    }
}
