//! A line of an index: one cache line of twelve entries, each a byte of a hash (the tag) and a
//! place.

use super::place::Place;

const ENTRIES: usize = 12;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line {
    /// 0: the entry is free.
    pub(super) tags: [u8; ENTRIES],
    /// How many entries passed this line because it was full.
    pub(super) passed: u32,
    pub(super) places: [Place; ENTRIES],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// All zeros.
    pub(super) const EMPTY: Line =
        Line { tags: [0; ENTRIES], passed: 0, places: [Place::FIRST; ENTRIES] };

    /// The entries with a tag.
    #[inline(always)]
    pub(super) fn with_tag(&self, tag: u8) -> Matches {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let high = u64::from(u32::from_le_bytes([i, j, k, l]));
        let wanted = ONES * u64::from(tag);
        Matches { low: zeros(low ^ wanted), high: zeros(high ^ wanted) & 0xffff_ffff }
    }

    #[inline(always)]
    pub(super) fn free(&self) -> Option<usize> {
        self.with_tag(0).next()
    }
}

/// The high bit of each byte that is zero.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    !(((word & !HIGH) + !HIGH) | word | !HIGH)
}

/// Entries of a line, as bits at the bytes of their tags.
pub(super) struct Matches {
    low: u64,
    high: u64,
}

impl Iterator for Matches {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.low != 0 {
            let entry = self.low.trailing_zeros() as usize / 8;
            self.low &= self.low - 1;
            return Some(entry);
        }
        if self.high != 0 {
            let entry = 8 + self.high.trailing_zeros() as usize / 8;
            self.high &= self.high - 1;
            return Some(entry);
        }
        None
    }
}
