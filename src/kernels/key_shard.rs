//! The shard of a key, fixed for good: keys are on disk at the shard that this names.
//!
//! ```text
//! h     = XXH64 of the key's 8 bytes, little-endian, with seed 42
//! shard = floor(floor(h / 2^32) * shards / 2^32)
//! ```
//!
//! The hash is another one than those by which damo divides the rows of a group (`cache/hash.rs`)
//! and the counters of a filter (`filter/hash.rs`). Otherwise the keys of one shard would crowd in
//! a part of them.

use crate::error::{Error, Result};

/// The most shards.
pub const MAX_SHARDS: u32 = 1 << 16;

/// The seed of xxhash64 in Spark's SQL.
const SEED: u64 = 42;
const PRIMES: [u64; 5] = [
    0x9e37_79b1_85eb_ca87,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0x85eb_ca77_c2b2_ae63,
    0x27d4_eb2f_1656_67c5,
];

/// The shard, out of `shards`, that owns a key.
///
/// # Errors
/// `INVALID_ARGUMENT` for a number of shards that is not 1 to [`MAX_SHARDS`].
pub fn key_shard(key: i64, shards: u32) -> Result<u32> {
    check_shards(shards)?;
    Ok(shard_of(key, shards))
}

/// Writes the shard of each of `keys` to `owners`.
///
/// # Errors
/// As [`key_shard`], and for another number of owners than keys. Nothing is written.
pub fn key_shards(keys: &[i64], shards: u32, owners: &mut [u32]) -> Result<()> {
    check_shards(shards)?;
    if owners.len() != keys.len() {
        return Err(Error::invalid(format!(
            "owners_len is {} and keys_len is {}; one owner a key is needed",
            owners.len(),
            keys.len()
        )));
    }
    for (owner, key) in owners.iter_mut().zip(keys) {
        *owner = shard_of(*key, shards);
    }
    Ok(())
}

/// Refuses a number of shards that nobody can have.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn check_shards(shards: u32) -> Result<()> {
    if (1..=MAX_SHARDS).contains(&shards) {
        return Ok(());
    }
    Err(Error::invalid(format!("shards is {shards}; a number from 1 to {MAX_SHARDS} is needed")))
}

/// The shard of a key, out of 1 to [`MAX_SHARDS`].
///
/// The product picks a shard by the hash's upper half, without a division. Its share of the keys
/// differs from that of another shard by `shards` / 2^32 at most, and not at all for a power of
/// two.
#[inline(always)]
pub(super) fn shard_of(key: i64, shards: u32) -> u32 {
    (((hash(key) >> 32) * u64::from(shards)) >> 32) as u32
}

/// XXH64 of eight bytes.
#[inline(always)]
fn hash(key: i64) -> u64 {
    let [first, second, third, fourth, fifth] = PRIMES;
    let lane = key.cast_unsigned().wrapping_mul(second).rotate_left(31).wrapping_mul(first);
    let mut hash = (SEED.wrapping_add(fifth).wrapping_add(8)) ^ lane;
    hash = hash.rotate_left(27).wrapping_mul(first).wrapping_add(fourth);
    hash = (hash ^ (hash >> 33)).wrapping_mul(second);
    hash = (hash ^ (hash >> 29)).wrapping_mul(third);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use twox_hash::XxHash64;

    use super::*;
    use crate::cache::hash as cache_hash;

    /// Computed by tests/golden/key_shards.py, which was written from docs/formats.md.
    #[test]
    fn shards_are_the_documented_ones() {
        let golden = include_str!("../../tests/golden/key_shards.txt");
        let mut lines = 0;
        for line in golden.lines() {
            let fields: Vec<i64> = line.split(' ').map(|field| field.parse().unwrap()).collect();
            let [key, shards, shard] = fields[..] else { panic!("{line}") };
            assert_eq!(i64::from(key_shard(key, shards as u32).unwrap()), shard, "{line}");
            lines += 1;
        }
        assert!(lines >= 50);
    }

    #[test]
    fn the_hash_is_xxh64() {
        let mut key = 1i64;
        for _ in 0..1000 {
            assert_eq!(hash(key), XxHash64::oneshot(SEED, &key.to_le_bytes()), "{key}");
            key = key.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        }
    }

    /// How unevenly values fall on places: the sum of squared differences from the mean, divided by
    /// the mean. It is about the number of places if they fall at random.
    fn chi_square(counts: &[u32]) -> f64 {
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        counts.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum()
    }

    /// The kinds of ids that people have: counted up, with a stride, with a kind in the upper bits,
    /// and hashed.
    fn kinds_of_ids() -> [fn(u64) -> u64; 4] {
        [
            |n| n,
            |n| n << 20,
            |n| ((n % 26) << 56) | (n / 26),
            |n| XxHash64::oneshot(0, n.to_string().as_bytes()),
        ]
    }

    #[test]
    fn shards_get_equal_shares() {
        for (kind, id) in kinds_of_ids().into_iter().enumerate() {
            for shards in [2, 3, 8, 10, 64, 1000] {
                let mut counts = vec![0; shards as usize];
                for n in 0..200_000 {
                    counts[shard_of(id(n).cast_signed(), shards) as usize] += 1;
                }
                let freedom = f64::from(shards - 1);
                let limit = freedom + 6.0 * (2.0 * freedom).sqrt() + 10.0;
                assert!(chi_square(&counts) < limit, "{kind} {shards}: {}", chi_square(&counts));
            }
        }
    }

    /// As a filter finds a key's block, with the constant of some group: the upper bits of this.
    fn filter_hash(key: i64) -> u64 {
        let mut x = key.cast_unsigned() ^ 0x8d4f_5ab5_bf1e_7a3c;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Of the keys at any place of the cache or of a filter, a shard has its share: the hashes have
    /// nothing to do with each other.
    #[test]
    fn keys_of_a_shard_do_not_crowd() {
        let places: [fn(i64) -> u64; 5] = [
            cache_hash,
            |key| cache_hash(key) >> 8,
            |key| cache_hash(key) >> 40,
            |key| cache_hash(key) >> 56,
            |key| filter_hash(key) >> 58,
        ];
        for (kind, id) in kinds_of_ids().into_iter().enumerate() {
            for shards in [2, 8, 64] {
                for (hash, place) in places.into_iter().enumerate() {
                    let (mut all, mut of_shard) = ([0u32; 64], [0u32; 64]);
                    for key in (0..200_000).map(|n| id(n).cast_signed()) {
                        let place = place(key) as usize & 63;
                        all[place] += 1;
                        of_shard[place] += u32::from(shard_of(key, shards) == 1);
                    }
                    let share = 1.0 / f64::from(shards);
                    let differences = all.iter().zip(&of_shard).map(|(all, count)| {
                        let expected = f64::from(*all) * share;
                        (f64::from(*count) - expected).powi(2) / (expected * (1.0 - share))
                    });
                    // 64 degrees of freedom: six standard deviations above the mean.
                    let found: f64 = differences.sum();
                    assert!(found < 64.0 + 6.0 * 11.4, "{kind} {shards} {hash}: {found}");
                }
            }
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let words = |error: Error| error.message().to_owned();
        for shards in [0, MAX_SHARDS + 1, u32::MAX] {
            let error = words(key_shard(5, shards).unwrap_err());
            assert!(error.contains(&format!("shards is {shards};")), "{error}");
        }
        let mut owners = [7; 2];
        let error = words(key_shards(&[1, 2, 3], 4, &mut owners).unwrap_err());
        assert!(error.contains("owners_len is 2 and keys_len is 3"), "{error}");
        assert!(key_shards(&[1, 2], 0, &mut owners).is_err());
        assert_eq!(owners, [7; 2]);
        assert_eq!(key_shard(i64::MIN, 1).unwrap(), 0);
    }
}
