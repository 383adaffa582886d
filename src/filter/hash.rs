//! Which counters a key has. This is part of the file's format and never changes.
//!
//! ```text
//! b = mix13(group + 0x9e3779b97f4a7c15)      mix13: splitmix64's finalizer
//! c = fmix(group + 0xc2b2ae3d27d4eb4f)       fmix:  MurmurHash3's
//! block   = floor(mix13(key ^ b) * blocks / 2^64)
//! x = fmix(key ^ c),  y = mix13(x + 0x9e3779b97f4a7c15)
//! counters of the block: the first k bytes of x, then y, little-endian
//! ```
//!
//! All arithmetic is modulo 2^64 unless it says otherwise. There are two mixers, so that keys that
//! share a block do not therefore share counters.

/// The largest number of counters of a key.
pub(super) const MAX_COUNTERS: u32 = 16;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const PRIME: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// The values that a group mixes into its keys.
#[derive(Clone, Copy)]
pub(super) struct Salt {
    block: u64,
    counters: u64,
}

impl Salt {
    pub(super) fn new(group: u16) -> Salt {
        let group = u64::from(group);
        Salt { block: mix13(group.wrapping_add(GOLDEN)), counters: fmix(group.wrapping_add(PRIME)) }
    }
}

/// A key's block, and its counters there.
#[derive(Clone, Copy, Default)]
pub(super) struct CounterPlace {
    pub(super) block: usize,
    pub(super) counters: [u8; MAX_COUNTERS as usize],
}

impl CounterPlace {
    #[inline(always)]
    pub(super) fn new(salt: Salt, key: i64, blocks: usize) -> CounterPlace {
        let spread = u128::from(mix13(key as u64 ^ salt.block)) * blocks as u128;
        let first = fmix(key as u64 ^ salt.counters);
        let second = mix13(first.wrapping_add(GOLDEN));
        let counters = (u128::from(second) << 64 | u128::from(first)).to_le_bytes();
        CounterPlace { block: (spread >> 64) as usize, counters }
    }
}

#[inline(always)]
fn mix13(mut x: u64) -> u64 {
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

#[inline(always)]
fn fmix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by tests/golden/filter_places.py, which was written from the comment above.
    #[test]
    fn places_are_the_documented_ones() {
        let golden = include_str!("../../tests/golden/filter_places.txt");
        let mut lines = 0;
        for line in golden.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [group, key, blocks, block, counters] = fields[..] else { panic!("{line}") };
            let place = CounterPlace::new(
                Salt::new(group.parse().unwrap()),
                key.parse().unwrap(),
                blocks.parse().unwrap(),
            );
            let hex: String = place.counters.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                (place.block.to_string().as_str(), hex.as_str()),
                (block, counters),
                "{line}"
            );
            lines += 1;
        }
        assert!(lines >= 10);
    }
}
