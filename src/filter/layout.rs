//! How many blocks a filter needs, and how many counters a key, so that no more than `fpr` of the keys that were never
//! added pass for admitted once `capacity` keys were added `count` times each.
//!
//! That is the worst case: every counter that any key has is then full, and the filter is a blocked Bloom filter (Putze,
//! Sanders and Singler 2009). Its rate is computed, not estimated: the keys of a block are Poisson distributed with mean
//! capacity / blocks; of j keys with k counters each, drawn from 256, the number u of full counters has a distribution
//! that is built up draw by draw; another key meets only full ones with probability (u / 256)^k.
//!
//! A filter with few blocks may be unluckier than filters are on average, so the rate with four standard deviations of it
//! must keep the promise, and the rate alone four fifths of it: a sample of keys has its luck, too.

use std::array::from_fn;

use super::hash::MAX_COUNTERS;

const COUNTERS: usize = 256;
/// Keys of a block that are looked at, and the largest mean for which more are beyond all probability.
const MAX_KEYS: usize = 400;
const MAX_MEAN: f64 = 200.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Layout {
    pub(super) blocks: u64,
    /// Counters of a key.
    pub(super) per_key: u32,
}

impl Layout {
    /// The smallest one that keeps the promise.
    pub(super) fn new(capacity: u64, fpr: f64) -> Layout {
        let layouts = (1..=MAX_COUNTERS).map(|per_key| Rates::new(per_key).layout(capacity, fpr));
        // There are layouts for every rate that the options accept.
        layouts
            .min_by_key(|layout| layout.blocks)
            .unwrap_or(Layout { blocks: capacity, per_key: 1 })
    }
}

/// For blocks with 0, 1, 2... keys: the probability that another key meets only full counters, and the mean of that
/// probability's square over blocks.
struct Rates {
    per_key: u32,
    rate: Vec<f64>,
    square: Vec<f64>,
}

impl Rates {
    fn new(per_key: u32) -> Rates {
        let share = |count: usize| count as f64 / COUNTERS as f64;
        // What another key meets, by how many counters are full; and what a draw does to how many these are.
        let power: [f64; COUNTERS + 1] = from_fn(|full| share(full).powi(per_key as i32));
        let hit: [f64; COUNTERS + 1] = from_fn(share);
        let missed: [f64; COUNTERS + 1] =
            from_fn(|full| share((COUNTERS + 1 - full) % (COUNTERS + 1)));
        let (mut rate, mut square) = (vec![1.0; MAX_KEYS], vec![1.0; MAX_KEYS]);
        // The probability that so many counters are full.
        let mut full = [0.0; COUNTERS + 1];
        full[0] = 1.0;
        for keys in 0..MAX_KEYS {
            rate[keys] = full.iter().zip(&power).map(|(full, power)| full * power).sum();
            square[keys] = full.iter().zip(&power).map(|(full, power)| full * power * power).sum();
            if rate[keys] > 0.9999 {
                // The rest is taken for 1.
                break;
            }
            for _ in 0..per_key {
                let before = full;
                for count in 1..=COUNTERS {
                    let probability =
                        before[count] * hit[count] + before[count - 1] * missed[count];
                    // Beyond all counting, and floats that small are slow.
                    full[count] = if probability < 1e-60 { 0.0 } else { probability };
                }
                full[0] = 0.0;
            }
        }
        Rates { per_key, rate, square }
    }

    /// The fewest blocks with this many counters a key.
    fn layout(&self, capacity: u64, fpr: f64) -> Layout {
        let (mut too_few, mut enough) = (0, 1u64);
        while !self.keep_promise(capacity, enough, fpr) {
            if enough > capacity.saturating_mul(1 << 20) {
                return Layout { blocks: u64::MAX, per_key: self.per_key };
            }
            (too_few, enough) = (enough, enough.saturating_mul(2));
        }
        while enough - too_few > 1 {
            let middle = too_few + (enough - too_few) / 2;
            if self.keep_promise(capacity, middle, fpr) {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Layout { blocks: enough, per_key: self.per_key }
    }

    fn keep_promise(&self, capacity: u64, blocks: u64, fpr: f64) -> bool {
        let mean = capacity as f64 / blocks as f64;
        if mean > MAX_MEAN {
            return false;
        }
        let mut probability = (-mean).exp();
        let (mut rate, mut square) = (0.0, 0.0);
        for keys in 0..MAX_KEYS {
            rate += probability * self.rate[keys];
            square += probability * self.square[keys];
            probability *= mean / (keys + 1) as f64;
        }
        let deviation = ((square - rate * rate).max(0.0) / blocks as f64).sqrt();
        rate <= 0.8 * fpr && rate + 4.0 * deviation <= fpr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes a key as documented; a plain counting filter of four bits a counter takes 7.2 for a rate of 0.001.
    #[test]
    fn bytes_a_key_are_the_documented_ones() {
        for (fpr, per_key, bytes) in
            [(1e-2, 6, 5.4), (1e-3, 9, 8.7), (1e-4, 11, 12.9), (1e-6, 15, 25.7)]
        {
            let layout = Layout::new(1 << 28, fpr);
            let found = (128 * layout.blocks) as f64 / (1u64 << 28) as f64;
            assert!((found - bytes).abs() < 0.1, "{fpr}: {found} bytes a key");
            assert_eq!(layout.per_key, per_key);
        }
    }

    #[test]
    fn every_accepted_rate_has_a_layout() {
        for fpr in [1e-6, 1e-5, 0.1, 0.5] {
            for capacity in [1, 2, 100, 1 << 40] {
                let layout = Layout::new(capacity, fpr);
                assert!(layout.blocks < 4000 * capacity, "{capacity} {fpr}: {layout:?}");
            }
        }
    }

    /// With one counter a key the distribution is known: each of the mean keys misses a counter with 255 / 256.
    #[test]
    fn the_rate_of_one_counter_is_the_textbook_one() {
        let rates = Rates::new(1);
        for keys in [1, 10, 300] {
            let expected = 1.0 - (255.0f64 / 256.0).powi(keys);
            assert!((rates.rate[keys as usize] - expected).abs() < 1e-12);
        }
    }
}
