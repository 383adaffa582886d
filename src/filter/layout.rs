//! How many blocks a filter needs, and how many counters a key has.
//!
//! The promise: once `capacity` keys were added `count` times each, at most `fpr` of all other keys
//! pass for admitted. That is the worst case, in which every counter of every added key is full and
//! the filter is a blocked Bloom filter (Putze, Sanders and Singler 2009). Its rate is computed,
//! not estimated. The keys of a block are Poisson distributed with mean capacity / blocks. For j
//! keys with k counters each, drawn from 256, the distribution of the number u of full counters is
//! built up draw by draw. Another key meets only full counters with probability (u / 256)^k.
//!
//! A filter with few blocks may be unluckier than the average, so the rate plus four standard
//! deviations must keep the promise. The rate alone must keep four fifths of it, since a sample of
//! keys varies, too.

use std::array::from_fn;

use super::hash::MAX_COUNTERS;

const COUNTERS: usize = 256;
/// The number of keys of a block up to which probabilities are summed, and the largest mean for
/// which more keys are practically impossible.
const MAX_KEYS: usize = 400;
const MAX_MEAN: f64 = 200.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FilterLayout {
    pub(super) blocks: u64,
    /// Counters of a key.
    pub(super) per_key: u32,
}

impl FilterLayout {
    /// The layout with the fewest blocks that keeps the promise.
    pub(super) fn new(capacity: u64, fpr: f64) -> FilterLayout {
        let layouts = (1..=MAX_COUNTERS).map(|per_key| Rates::new(per_key).layout(capacity, fpr));
        // Every rate that the options accept has a layout.
        layouts
            .min_by_key(|layout| layout.blocks)
            .unwrap_or(FilterLayout { blocks: capacity, per_key: 1 })
    }
}

/// For blocks with 0, 1, 2... keys: the probability that another key meets only full counters, and
/// the mean of that probability's square over blocks.
struct Rates {
    per_key: u32,
    rate: Vec<f64>,
    square: Vec<f64>,
}

impl Rates {
    fn new(per_key: u32) -> Rates {
        let share = |count: usize| count as f64 / COUNTERS as f64;
        // By the number of full counters: the probability that all of another key's counters are
        // full, and the probabilities that a draw hits a full counter or fills an empty one.
        let power: [f64; COUNTERS + 1] = from_fn(|full| share(full).powi(per_key as i32));
        let hit: [f64; COUNTERS + 1] = from_fn(share);
        let missed: [f64; COUNTERS + 1] =
            from_fn(|full| share((COUNTERS + 1 - full) % (COUNTERS + 1)));
        let (mut rate, mut square) = (vec![1.0; MAX_KEYS], vec![1.0; MAX_KEYS]);
        // full[n]: the probability that n counters are full.
        let mut full = [0.0; COUNTERS + 1];
        full[0] = 1.0;
        for keys in 0..MAX_KEYS {
            rate[keys] = full.iter().zip(&power).map(|(full, power)| full * power).sum();
            square[keys] = full.iter().zip(&power).map(|(full, power)| full * power * power).sum();
            if rate[keys] > 0.9999 {
                // The rates of more keys are taken as 1.
                break;
            }
            for _ in 0..per_key {
                let before = full;
                for count in 1..=COUNTERS {
                    let probability =
                        before[count] * hit[count] + before[count - 1] * missed[count];
                    // Negligible, and arithmetic on floats that small is slow.
                    full[count] = if probability < 1e-60 { 0.0 } else { probability };
                }
                full[0] = 0.0;
            }
        }
        Rates { per_key, rate, square }
    }

    /// The fewest blocks with this many counters a key.
    fn layout(&self, capacity: u64, fpr: f64) -> FilterLayout {
        let (mut too_few, mut enough) = (0, 1u64);
        while !self.keep_promise(capacity, enough, fpr) {
            if enough > capacity.saturating_mul(1 << 20) {
                return FilterLayout { blocks: u64::MAX, per_key: self.per_key };
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
        FilterLayout { blocks: enough, per_key: self.per_key }
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

    /// Bytes a key as documented. A plain counting filter of four bits a counter takes 7.2 for a
    /// rate of 0.001.
    #[test]
    fn bytes_a_key_are_the_documented_ones() {
        for (fpr, per_key, bytes) in
            [(1e-2, 6, 5.4), (1e-3, 9, 8.7), (1e-4, 11, 12.9), (1e-6, 15, 25.7)]
        {
            let layout = FilterLayout::new(1 << 28, fpr);
            let found = (128 * layout.blocks) as f64 / (1u64 << 28) as f64;
            assert!((found - bytes).abs() < 0.1, "{fpr}: {found} bytes a key");
            assert_eq!(layout.per_key, per_key);
        }
    }

    #[test]
    fn every_accepted_rate_has_a_layout() {
        for fpr in [1e-6, 1e-5, 0.1, 0.5] {
            for capacity in [1, 2, 100, 1 << 40] {
                let layout = FilterLayout::new(capacity, fpr);
                assert!(layout.blocks < 4000 * capacity, "{capacity} {fpr}: {layout:?}");
            }
        }
    }

    /// With one counter a key the distribution is known: each of the mean keys misses a counter
    /// with 255 / 256.
    #[test]
    fn the_rate_of_one_counter_is_the_textbook_one() {
        let rates = Rates::new(1);
        for keys in [1, 10, 300] {
            let expected = 1.0 - (255.0f64 / 256.0).powi(keys);
            assert!((rates.rate[keys as usize] - expected).abs() < 1e-12);
        }
    }
}
