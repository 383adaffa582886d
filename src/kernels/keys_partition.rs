//! A batch's distinct keys by owner: what is sent to each shard, and how a row per distinct key
//! becomes a row per key again.

use super::key_shard::{check_shards, shard_of};
use crate::cache::hash;
use crate::error::{Error, Result};
use crate::memory::filled;
use crate::prefetch::prefetch;

/// How many keys ahead of its use an entry of the hash table is prefetched.
const AHEAD: usize = 16;
/// The most keys of a call. Positions have 32 bits, and the table needs one more value.
const MAX_KEYS: usize = u32::MAX as usize - 1;

/// The caller's room for a partition.
pub struct Partitioned<'a> {
    /// Each key once, by shard, and within a shard in order of the first occurrence. Room for as
    /// many as the batch has.
    pub distinct_keys: &'a mut [i64],
    /// Where the distinct keys of each shard begin, and the end of the last: one more than shards.
    pub starts: &'a mut [u64],
    /// For each key of the batch, its index in `distinct_keys`.
    pub positions: &'a mut [u32],
    /// How often each distinct key occurs. Room for as many as the batch has.
    pub occurrences: &'a mut [u32],
}

/// Groups the distinct keys of a batch by their shards.
///
/// # Errors
/// `INVALID_ARGUMENT` for too little room, a wrong number of shards, or more than 2^32 - 2 keys;
/// `OUT_OF_MEMORY`. Nothing is written.
pub fn keys_partition(keys: &[i64], shards: u32, into: Partitioned<'_>) -> Result<()> {
    let Partitioned { distinct_keys, starts, positions, occurrences } = into;
    check_shards(shards)?;
    check_room(
        keys.len(),
        shards,
        [distinct_keys.len(), starts.len(), positions.len(), occurrences.len()],
    )?;
    // One block of memory, first as the hash table and then for the distinct keys. malloc keeps one
    // block for the next call; of several, it returns some to the system each time.
    let mut memory = filled(0i64, keys.len().max(1).next_power_of_two())?;
    let table = bytemuck::cast_slice_mut(&mut memory);
    let count = distinct(keys, table, distinct_keys, positions);
    let in_order = &mut memory[..count];
    in_order.copy_from_slice(&distinct_keys[..count]);
    // The numbers of occurrences come last. Until then their buffer has the keys' new indexes.
    let occurrences = &mut occurrences[..count];
    group(in_order, shards, (distinct_keys, starts), occurrences);
    for position in positions.iter_mut() {
        *position = occurrences[*position as usize];
    }
    occurrences.fill(0);
    for position in positions {
        occurrences[*position as usize] += 1;
    }
    Ok(())
}

/// Refuses buffers of wrong lengths, which are given in the order of [`Partitioned`].
fn check_room(keys: usize, shards: u32, lens: [usize; 4]) -> Result<()> {
    if keys > MAX_KEYS {
        return Err(Error::invalid(format!(
            "keys_len is {keys}; at most {MAX_KEYS} keys a call are accepted"
        )));
    }
    let [distinct, starts, positions, occurrences] = lens;
    for (name, len) in [("distinct_keys", distinct), ("occurrences", occurrences)] {
        if len < keys {
            return Err(Error::invalid(format!(
                "{name}_len is {len} and keys_len is {keys}; room for as many is needed, since all \
                 keys may be different"
            )));
        }
    }
    if positions != keys {
        return Err(Error::invalid(format!(
            "positions_len is {positions} and keys_len is {keys}; one position a key is needed"
        )));
    }
    if starts as u64 != u64::from(shards) + 1 {
        return Err(Error::invalid(format!(
            "starts_len is {starts} and shards is {shards}; {} starts are needed, one a shard and \
             the end",
            u64::from(shards) + 1
        )));
    }
    Ok(())
}

/// Writes the distinct keys in order of their first occurrence, and the index of each key among
/// them. Returns how many there are. `table` is all zeros, a power of two long, and at least twice
/// as long as the batch. It gets indexes plus 1, by hash.
fn distinct(keys: &[i64], table: &mut [u32], into: &mut [i64], indexes: &mut [u32]) -> usize {
    let (last, mut count) = (table.len() - 1, 0);
    for (at, (&key, index)) in keys.iter().zip(indexes).enumerate() {
        if let Some(later) = keys.get(at + AHEAD) {
            prefetch(&table[hash(*later) as usize & last]);
        }
        let mut entry = hash(key) as usize & last;
        *index = loop {
            match table[entry] {
                0 => {
                    into[count] = key;
                    count += 1;
                    table[entry] = count as u32;
                    break count as u32 - 1;
                }
                known if into[known as usize - 1] == key => break known - 1,
                _ => entry = (entry + 1) & last,
            }
        };
    }
    count
}

/// A counting sort of distinct keys by shard, which keeps their order within a shard. `moved_to`
/// gets the new index of each.
fn group(
    keys: &[i64],
    shards: u32,
    (grouped, starts): (&mut [i64], &mut [u64]),
    moved_to: &mut [u32],
) {
    // Counts each shard's keys at the start after its own. The sums of these counts are the starts
    // of the shards, each at the place after its own, and rise to the starts of the next ones while
    // the keys are moved.
    starts.fill(0);
    for (key, shard) in keys.iter().zip(&mut *moved_to) {
        *shard = shard_of(*key, shards);
        starts[*shard as usize + 1] += 1;
    }
    let mut start = 0;
    for count in &mut starts[1..] {
        start += std::mem::replace(count, start);
    }
    for (key, moved_to) in keys.iter().zip(moved_to) {
        let next = &mut starts[*moved_to as usize + 1];
        grouped[*next as usize] = *key;
        *moved_to = *next as u32;
        *next += 1;
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    struct Found {
        keys: Vec<i64>,
        starts: Vec<u64>,
        positions: Vec<u32>,
        occurrences: Vec<u32>,
    }

    /// The partition, in buffers with more room than is needed.
    fn partition(keys: &[i64], shards: u32) -> Found {
        let mut found = Found {
            keys: vec![-9; keys.len() + 3],
            starts: vec![99; shards as usize + 1],
            positions: vec![99; keys.len()],
            occurrences: vec![99; keys.len() + 3],
        };
        let into = Partitioned {
            distinct_keys: &mut found.keys,
            starts: &mut found.starts,
            positions: &mut found.positions,
            occurrences: &mut found.occurrences,
        };
        keys_partition(keys, shards, into).unwrap();
        let count = found.starts[shards as usize] as usize;
        assert!(found.keys.split_off(count).iter().all(|key| *key == -9));
        assert!(found.occurrences.split_off(count).iter().all(|number| *number == 99));
        found
    }

    /// A plain loop over lists, one a shard, as the comment of the C function says it.
    fn model(keys: &[i64], shards: u32) -> Vec<Vec<(i64, u32)>> {
        let mut lists = vec![Vec::new(); shards as usize];
        for key in keys {
            let list: &mut Vec<(i64, u32)> = &mut lists[shard_of(*key, shards) as usize];
            match list.iter_mut().find(|(known, _)| known == key) {
                Some((_, count)) => *count += 1,
                None => list.push((*key, 1)),
            }
        }
        lists
    }

    fn agrees(keys: &[i64], shards: u32) {
        let found = partition(keys, shards);
        assert_eq!(found.starts[0], 0);
        for (shard, expected) in model(keys, shards).into_iter().enumerate() {
            let range = found.starts[shard] as usize..found.starts[shard + 1] as usize;
            let occurrences = found.occurrences[range.clone()].iter().copied();
            let given: Vec<_> = found.keys[range].iter().copied().zip(occurrences).collect();
            assert_eq!(given, expected, "shard {shard} of {shards}");
        }
        for (key, position) in keys.iter().zip(&found.positions) {
            assert_eq!(found.keys[*position as usize], *key);
        }
    }

    #[test]
    fn partitions_are_those_of_a_loop() {
        let mut random = ChaCha8Rng::seed_from_u64(18);
        for len in [0, 1, 2, 17, 500, 3000] {
            for kinds in [1, 30, i64::MAX] {
                let keys: Vec<i64> =
                    (0..len).map(|_| random.random_range(-kinds..=kinds)).collect();
                for shards in [1, 2, 3, 8, 1000, 65_536] {
                    agrees(&keys, shards);
                }
            }
        }
        agrees(&[i64::MIN, i64::MAX, 0, -1, i64::MIN], 3);
    }

    /// Keys whose hashes begin at one entry of the table: each looks past the ones before it.
    #[test]
    fn keys_that_collide_are_told_apart() {
        let keys: Vec<i64> = (0..).filter(|key| hash(*key) & 0xff == 0xfe).take(100).collect();
        agrees(&keys, 4);
        agrees(&[&keys[..], &keys[..]].concat(), 4);
    }

    #[test]
    fn wrong_lengths_are_named_and_nothing_is_written() {
        let refused = |shards: u32, lens: [usize; 4], words: &str| {
            let (mut keys, mut starts) = (vec![-9; lens[0]], vec![99; lens[1]]);
            let (mut positions, mut occurrences) = (vec![99; lens[2]], vec![99; lens[3]]);
            let into = Partitioned {
                distinct_keys: &mut keys,
                starts: &mut starts,
                positions: &mut positions,
                occurrences: &mut occurrences,
            };
            let error = keys_partition(&[1, 2, 1], shards, into).unwrap_err();
            assert!(error.message().contains(words), "{error}");
            assert!(keys.iter().all(|key| *key == -9));
            assert!(starts.iter().all(|start| *start == 99));
            assert!(positions.iter().chain(&occurrences).all(|number| *number == 99));
        };
        refused(2, [2, 3, 3, 3], "distinct_keys_len is 2 and keys_len is 3");
        refused(2, [3, 2, 3, 3], "starts_len is 2 and shards is 2; 3 starts");
        refused(2, [3, 4, 3, 3], "starts_len is 4");
        refused(2, [3, 3, 4, 3], "positions_len is 4 and keys_len is 3");
        refused(2, [3, 3, 3, 2], "occurrences_len is 2");
        refused(0, [3, 1, 3, 3], "shards is 0");
        let error = check_room(MAX_KEYS + 1, 1, [0; 4]).unwrap_err();
        assert!(error.message().contains("keys_len is 4294967295"), "{error}");
    }
}
