//! A line of an index: one cache line of twelve entries, each a byte of a hash (the tag) and a
//! place.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::place::Place;

const ENTRIES: usize = 12;
const RELAXED: Ordering = Ordering::Relaxed;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Its fields are atomics since threads without the shard's lock read them, too. Such a thread may
/// see an entry half changed, and compares the key at the place in any case.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Line {
    /// A byte an entry. 0: the entry is free.
    low_tags: AtomicU64,
    high_tags: AtomicU32,
    /// How many entries passed this line because it was full.
    passed: AtomicU32,
    places: [AtomicU32; ENTRIES],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// The entries with a tag.
    #[inline(always)]
    pub(super) fn with_tag(&self, tag: u8) -> Matches {
        let (low, high) = (self.low_tags.load(RELAXED), self.high_tags.load(RELAXED));
        let wanted = ONES * u64::from(tag);
        let high = zeros(u64::from(high) ^ wanted) & 0xffff_ffff;
        Matches { low: zeros(low ^ wanted), high }
    }

    #[inline(always)]
    pub(super) fn free(&self) -> Option<usize> {
        self.with_tag(0).next()
    }

    #[inline(always)]
    pub(super) fn place(&self, entry: usize) -> Place {
        Place(self.places[entry].load(RELAXED))
    }

    #[inline(always)]
    pub(super) fn is_passed(&self) -> bool {
        self.passed.load(RELAXED) > 0
    }

    // What follows is for the holder of the shard's lock.

    pub(super) fn set_place(&self, entry: usize, place: Place) {
        self.places[entry].store(place.0, RELAXED);
    }

    /// Sets an entry's tag; 0 frees it.
    pub(super) fn set_tag(&self, entry: usize, tag: u8) {
        if entry < 8 {
            let mut tags = self.low_tags.load(RELAXED).to_le_bytes();
            tags[entry] = tag;
            self.low_tags.store(u64::from_le_bytes(tags), RELAXED);
        } else {
            let mut tags = self.high_tags.load(RELAXED).to_le_bytes();
            tags[entry - 8] = tag;
            self.high_tags.store(u32::from_le_bytes(tags), RELAXED);
        }
    }

    /// Counts `more` entries that passed; -1 takes one back.
    pub(super) fn pass(&self, more: i32) {
        self.passed.store(self.passed.load(RELAXED).wrapping_add_signed(more), RELAXED);
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        !self.is_passed() && self.low_tags.load(RELAXED) == 0 && self.high_tags.load(RELAXED) == 0
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
