//! The bytes of a row's key: the group, then the key, big-endian with its sign bit flipped.
//!
//! So RocksDB's plain bytewise order is (group, key) ascending: groups are contiguous, scans come
//! in order, and any RocksDB tool can open the database.

use crate::error::{Error, Result};

/// Bytes of a group (u16) and a key (i64).
pub(crate) const KEY_LEN: usize = 10;

pub(crate) fn encode(group: u16, key: i64) -> [u8; KEY_LEN] {
    let mut bytes = [0; KEY_LEN];
    bytes[..2].copy_from_slice(&group.to_be_bytes());
    bytes[2..].copy_from_slice(&((key as u64) ^ SIGN).to_be_bytes());
    bytes
}

/// The group and the key of a row.
///
/// # Errors
/// `CORRUPTION` for anything that [`encode`] did not make.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u16, i64)> {
    let Some((group, key)) = bytes.split_first_chunk::<2>() else { return Err(strange(bytes)) };
    let key = <[u8; 8]>::try_from(key).map_err(|_| strange(bytes))?;
    Ok((u16::from_be_bytes(*group), (u64::from_be_bytes(key) ^ SIGN) as i64))
}

/// A row's key as a number of 80 bits, which is as large as the key in RocksDB's order.
pub(super) type Ordinal = u128;

/// Above the numbers of all keys.
pub(super) const ABOVE_ALL: Ordinal = 1 << (8 * KEY_LEN);

pub(super) fn ordinal(key: &[u8; KEY_LEN]) -> Ordinal {
    let mut bytes = [0; size_of::<Ordinal>()];
    bytes[size_of::<Ordinal>() - KEY_LEN..].copy_from_slice(key);
    Ordinal::from_be_bytes(bytes)
}

/// The key of a number below [`ABOVE_ALL`].
pub(super) fn of_ordinal(ordinal: Ordinal) -> [u8; KEY_LEN] {
    let bytes = ordinal.to_be_bytes();
    std::array::from_fn(|index| bytes[size_of::<Ordinal>() - KEY_LEN + index])
}

fn strange(bytes: &[u8]) -> Error {
    Error::corruption(format!("a stored key has {} bytes; {KEY_LEN} are needed", bytes.len()))
}

const SIGN: u64 = 1 << 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_the_documented_ones() {
        assert_eq!(encode(0x0102, 3), [1, 2, 0x80, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(encode(0, -1), [0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn byte_order_is_group_then_signed_key() {
        let mut pairs = Vec::new();
        for group in [0, 1, 255, 256, 65535] {
            for key in [i64::MIN, -256, -1, 0, 1, 255, 256, i64::MAX] {
                pairs.push((group, key));
            }
        }
        let bytes: Vec<_> = pairs.iter().map(|&(group, key)| encode(group, key)).collect();
        assert!(bytes.is_sorted());
        let back: Vec<_> = bytes.iter().map(|bytes| decode(bytes).unwrap()).collect();
        assert_eq!(back, pairs);
        assert!(decode(&bytes[0][..9]).is_err() && decode(&[]).is_err());
    }
}
