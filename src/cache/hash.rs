//! The hash of a key: one multiplication folded in half, as wyhash does it.

/// Spreads a key over 64 bits.
#[inline(always)]
pub(crate) fn hash(key: i64) -> u64 {
    let product =
        u128::from(key as u64 ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xa076_1d64_78bd_642f_u64);
    (product >> 64) as u64 ^ product as u64
}

/// The shard, out of `shards` (a power of two), that a hash belongs to. The index of a
/// shard uses the lowest 32 bits and the highest eight; these are others.
#[inline(always)]
pub(super) fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 40) as usize & (shards - 1)
}
