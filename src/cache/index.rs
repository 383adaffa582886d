//! The index of a shard: from a key's hash to the place of its row. It keeps no keys: the caller
//! compares the key at a place.
//!
//! A line of the index is one cache line of twelve entries; an entry is a byte of the hash (the
//! tag) and a place. An entry lies in its key's home line, or, if that is full, in one of the next
//! lines. Each line counts the entries that passed it because it was full, so a search knows where
//! to end. Nearly every search reads one line.

use super::place::Place;
use crate::error::{Error, Result};
use crate::memory::room_for;
use crate::prefetch::prefetch;

const ENTRIES: usize = 12;
/// The index grows when its lines have this many entries on average.
const FULL: usize = 10;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    /// 0: the entry is free.
    tags: [u8; ENTRIES],
    /// How many entries passed this line because it was full.
    passed: u32,
    places: [Place; ENTRIES],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    const EMPTY: Line = Line { tags: [0; ENTRIES], passed: 0, places: [Place::FIRST; ENTRIES] };

    /// The entries with a tag.
    #[inline(always)]
    fn with_tag(&self, tag: u8) -> Matches {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let high = u64::from(u32::from_le_bytes([i, j, k, l]));
        let wanted = ONES * u64::from(tag);
        Matches { low: zeros(low ^ wanted), high: zeros(high ^ wanted) & 0xffff_ffff }
    }

    #[inline(always)]
    fn free(&self) -> Option<usize> {
        self.with_tag(0).next()
    }
}

/// The high bit of each byte that is zero.
#[inline(always)]
fn zeros(word: u64) -> u64 {
    !(((word & !HIGH) + !HIGH) | word | !HIGH)
}

/// Entries of a line, as bits at the bytes of their tags.
struct Matches {
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

#[derive(Default)]
pub(super) struct Index {
    lines: Vec<Line>,
    len: usize,
}

impl Index {
    pub(super) fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= FULL * self.lines.len()
    }

    /// Makes room for half as many entries more, and puts `entries` in: all that there are, with
    /// their hashes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; nothing has changed.
    pub(super) fn grow(&mut self, entries: impl Iterator<Item = (u64, Place)>) -> Result<()> {
        let count = self.lines.len() + self.lines.len() / 2 + 1;
        let mut lines =
            room_for(count).map_err(|_| Error::out_of_memory("no memory for the cache's index"))?;
        lines.resize(count, Line::EMPTY);
        *self = Index { lines, len: 0 };
        entries.for_each(|(hash, place)| self.insert(hash, place));
        Ok(())
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn after(&self, line: usize) -> usize {
        if line + 1 == self.lines.len() { 0 } else { line + 1 }
    }

    /// Fetches the line that a search begins with.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(line) = self.lines.get(self.home(hash)) {
            prefetch(line);
        }
    }

    /// A place that a search will most likely end with.
    #[inline(always)]
    pub(super) fn candidate(&self, hash: u64) -> Option<Place> {
        let line = self.lines.get(self.home(hash))?;
        line.with_tag(tag(hash)).next().map(|entry| line.places[entry])
    }

    /// The place of which `is_right` says that it has the key with this hash.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_right: impl Fn(Place) -> bool) -> Option<Place> {
        let mut number = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[number];
            let mut places = line.with_tag(tag(hash)).map(|entry| line.places[entry]);
            let found = places.find(|place| is_right(*place));
            if found.is_some() || line.passed == 0 {
                return found;
            }
            number = self.after(number);
        }
        None
    }

    /// Puts a key in that is not in the index. The index must not be full.
    pub(super) fn insert(&mut self, hash: u64, place: Place) {
        let mut number = self.home(hash);
        loop {
            let line = &mut self.lines[number];
            if let Some(entry) = line.free() {
                line.tags[entry] = tag(hash);
                line.places[entry] = place;
                self.len += 1;
                return;
            }
            line.passed += 1;
            number = self.after(number);
        }
    }

    /// The line and the entry of a place.
    fn entry(&self, hash: u64, place: Place) -> Option<(usize, usize)> {
        let mut number = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[number];
            let mut entries = line.with_tag(tag(hash));
            if let Some(entry) = entries.find(|entry| line.places[*entry] == place) {
                return Some((number, entry));
            }
            if line.passed == 0 {
                return None;
            }
            number = self.after(number);
        }
        None
    }

    /// Takes the entry of a place out.
    pub(super) fn remove(&mut self, hash: u64, place: Place) {
        let Some((end, entry)) = self.entry(hash, place) else { return };
        self.lines[end].tags[entry] = 0;
        let mut number = self.home(hash);
        while number != end {
            self.lines[number].passed -= 1;
            number = self.after(number);
        }
        self.len -= 1;
    }

    /// Notes that a row has moved.
    pub(super) fn replace(&mut self, hash: u64, from: Place, to: Place) {
        if let Some((line, entry)) = self.entry(hash, from) {
            self.lines[line].places[entry] = to;
        }
    }
}

/// The byte of a hash that its entry keeps. The shard and the home line are of other bits.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cache::hash;

    /// The index as a map from keys to places, beside a real map.
    struct Model {
        index: Index,
        keys: Vec<i64>,
        places: BTreeMap<i64, Place>,
        hash: fn(i64) -> u64,
    }

    impl Model {
        fn find(&self, key: i64) -> Option<Place> {
            self.index.find((self.hash)(key), |place| self.keys[place.0 as usize] == key)
        }

        fn insert(&mut self, key: i64) {
            if self.index.is_full() {
                let hash = self.hash;
                self.index
                    .grow(self.places.iter().map(|(key, place)| (hash(*key), *place)))
                    .unwrap();
            }
            let place = Place(self.keys.len() as u32);
            self.keys.push(key);
            self.index.insert((self.hash)(key), place);
            self.places.insert(key, place);
        }

        fn remove(&mut self, key: i64) {
            let place = self.places.remove(&key).unwrap();
            self.index.remove((self.hash)(key), place);
        }

        fn check(&self, keys: std::ops::Range<i64>) {
            for key in keys {
                assert_eq!(self.find(key), self.places.get(&key).copied(), "{key}");
            }
            assert_eq!(self.index.len, self.places.len());
        }
    }

    #[test]
    fn keys_are_found_where_they_are_through_any_history() {
        // The second hash puts all keys into four home lines, with four tags.
        for hash in [hash, |key| (key as u64 % 4) << 56 | (key as u64 / 4 % 4) << 30] {
            let (keys, places) = (Vec::new(), BTreeMap::new());
            let mut model = Model { index: Index::default(), keys, places, hash };
            let mut state = 1u64;
            for step in 0..6000 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (state >> 33) as i64 % 400;
                match model.places.contains_key(&key) {
                    false => model.insert(key),
                    true => model.remove(key),
                }
                if step % 200 == 0 {
                    model.check(0..400);
                }
            }
            let keys: Vec<i64> = model.places.keys().copied().collect();
            keys.into_iter().for_each(|key| model.remove(key));
            assert!(model.index.lines.iter().all(|line| line.passed == 0 && line.tags == [0; 12]));
        }
    }

    #[test]
    fn a_full_index_has_few_entries_away_from_home() {
        let mut index = Index::default();
        let hashes: Vec<u64> = (0..100_000).map(hash).collect();
        while index.lines.len() * FULL < hashes.len() {
            index.grow(std::iter::empty()).unwrap();
        }
        index.lines.truncate(hashes.len() / FULL);
        for (number, hash) in hashes.iter().enumerate() {
            index.insert(*hash, Place(number as u32));
        }
        let at_home = hashes.iter().enumerate().filter(|(number, hash)| {
            index.entry(**hash, Place(*number as u32)).unwrap().0 == index.home(**hash)
        });
        let at_home = at_home.count();
        assert!(at_home > 85_000, "{at_home} of 100000");
    }
}
