//! Missing: the keys of a large lookup that are not resident, in ascending order, as loads want
//! them. All threads of the call look for them and sort them.

use super::part::Part;
use crate::engine::pool::Pool;
use crate::error::Result;
use crate::memory::{reserve, room_for};

/// Samples for each thread, by which the keys are divided into ranges of about the same size.
const SAMPLES: usize = 32;

/// Keys that are not resident.
pub(super) struct Missing {
    /// Distinct and ascending.
    pub(super) keys: Vec<i64>,
    /// The index of each in its part.
    pub(super) indexes: Vec<u32>,
}

/// The missing keys from `from` on and before `before`. None: no bound on that side.
struct KeyRange {
    from: Option<i64>,
    before: Option<i64>,
    /// Keys and their indexes, sorted.
    found: Vec<(i64, u32)>,
}

impl Missing {
    /// The missing keys of all parts.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn of(pool: &Pool, parts: &[Part]) -> Result<Missing> {
        let count = parts.iter().map(|part| part.missing.len()).sum();
        let mut ranges = ranges(parts, count, pool.threads_for(count))?;
        pool.each(count, &mut ranges, |range| {
            for part in parts {
                let keys = part.missing.iter().map(|&index| (part.keys[index as usize], index));
                let KeyRange { from, before, found } = range;
                reserve(found, part.missing.len())?;
                found.extend(keys.filter(|(key, _)| is_between(*from, *key, *before)));
            }
            range.found.sort_unstable();
            Ok(())
        })?;
        let (mut keys, mut indexes) = (room_for(count)?, room_for(count)?);
        for range in &ranges {
            keys.extend(range.found.iter().map(|(key, _)| *key));
            indexes.extend(range.found.iter().map(|(_, index)| *index));
        }
        Ok(Missing { keys, indexes })
    }
}

/// Whether a key is in the range from `from` on and before `before`.
fn is_between(from: Option<i64>, key: i64, before: Option<i64>) -> bool {
    from.is_none_or(|from| from <= key) && before.is_none_or(|before| key < before)
}

/// Ascending ranges, each with about the same number of the parts' missing keys.
fn ranges(parts: &[Part], count: usize, wanted: usize) -> Result<Vec<KeyRange>> {
    let mut ranges: Vec<KeyRange> = room_for(wanted)?;
    let mut from = None;
    if wanted > 1 {
        let step = (count / (wanted * SAMPLES)).max(1);
        let mut samples: Vec<i64> = room_for(count.div_ceil(step) + parts.len())?;
        for part in parts {
            let some = part.missing.iter().step_by(step);
            samples.extend(some.map(|&index| part.keys[index as usize]));
        }
        samples.sort_unstable();
        for number in 1..wanted {
            let before = samples.get(number * samples.len() / wanted).copied();
            ranges.push(KeyRange { from, before, found: Vec::new() });
            from = before;
        }
    }
    ranges.push(KeyRange { from, before: None, found: Vec::new() });
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of which every third key is missing, and the missing keys with their indexes.
    fn parts_of(keys: &[i64]) -> (Vec<Part>, Vec<(i64, u32)>) {
        let mut expected = Vec::new();
        let parts = keys.chunks(700).map(|keys| {
            let mut part = Part::of_keys(keys).unwrap();
            part.missing = (0..keys.len() as u32).step_by(3).collect();
            expected.extend(part.missing.iter().map(|&index| (keys[index as usize], index)));
            part
        });
        let parts = parts.collect();
        expected.sort_unstable();
        (parts, expected)
    }

    #[test]
    fn missing_keys_are_in_ascending_order_on_any_number_of_threads() {
        let mixed = |n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64 as i64);
        let few = vec![i64::MAX, 0, i64::MIN, 5];
        let many: Vec<i64> = (0..50_000).map(mixed).chain([i64::MIN, i64::MAX]).collect();
        let dense: Vec<i64> = (0..50_000).rev().collect();
        for (keys, threads) in [few, many, dense].iter().flat_map(|k| [(k, 1), (k, 2), (k, 7)]) {
            let (parts, expected) = parts_of(keys);
            let missing = Missing::of(&Pool::new(threads).unwrap(), &parts).unwrap();
            let found = missing.keys.into_iter().zip(missing.indexes).collect::<Vec<_>>();
            assert_eq!(found, expected);
        }
        assert!(Missing::of(&Pool::new(2).unwrap(), &[]).unwrap().keys.is_empty());
    }
}
