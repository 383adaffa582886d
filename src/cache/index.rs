//! The index of a shard: from a key's hash to the place of its row. It keeps no keys: the caller
//! compares the key at a place.
//!
//! A line of the index is one cache line of twelve entries; an entry is a byte of the hash (the
//! tag) and a place. An entry lies in its key's home line, or, if that is full, in one of the next
//! lines. Each line counts the entries that passed it because it was full, so a search knows where
//! to end. Nearly every search reads one line.
//!
//! Only the holder of the shard's lock changes an index. A search without the lock may miss an
//! entry that is being moved; what it finds it compares in any case. An index that grows is
//! replaced by another one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::line::Line;
use super::memory::advise_huge;
use super::place::Place;
use crate::error::{Error, Result};
use crate::memory::room_for;
use crate::prefetch::prefetch;

/// The index grows when its lines have this many entries on average.
const FULL: usize = 10;

#[derive(Default)]
pub(super) struct Index {
    lines: Vec<Line>,
    len: AtomicUsize,
}

impl Index {
    pub(super) fn bytes(&self) -> usize {
        size_of_val::<[Line]>(&self.lines)
    }

    pub(super) fn entries(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn set_entries(&self, entries: usize) {
        self.len.store(entries, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries() >= FULL * self.lines.len()
    }

    /// An index with room for half as many entries more. It has `entries`: all that there are,
    /// with their hashes.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn grown(&self, entries: impl Iterator<Item = (u64, Place)>) -> Result<Index> {
        let count = self.lines.len() + self.lines.len() / 2 + 1;
        let mut lines =
            room_for(count).map_err(|_| Error::out_of_memory("no memory for the cache's index"))?;
        advise_huge(&mut lines);
        lines.resize_with(count, Line::default);
        let grown = Index { lines, len: AtomicUsize::new(0) };
        entries.for_each(|(hash, place)| grown.insert(hash, place));
        Ok(grown)
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
        line.with_tag(tag(hash)).next().map(|entry| line.place(entry))
    }

    /// The place of which `is_right` says that it has the key with this hash.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is_right: impl Fn(Place) -> bool) -> Option<Place> {
        let mut number = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[number];
            let mut places = line.with_tag(tag(hash)).map(|entry| line.place(entry));
            let found = places.find(|place| is_right(*place));
            if found.is_some() || !line.is_passed() {
                return found;
            }
            number = self.after(number);
        }
        None
    }

    /// Puts a key in that is not in the index. The index must not be full.
    pub(super) fn insert(&self, hash: u64, place: Place) {
        let mut number = self.home(hash);
        loop {
            let line = &self.lines[number];
            if let Some(entry) = line.free() {
                line.set_place(entry, place);
                line.set_tag(entry, tag(hash));
                self.set_entries(self.entries() + 1);
                return;
            }
            line.pass(1);
            number = self.after(number);
        }
    }

    /// The line and the entry of a place.
    fn entry(&self, hash: u64, place: Place) -> Option<(usize, usize)> {
        let mut number = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[number];
            let mut entries = line.with_tag(tag(hash));
            if let Some(entry) = entries.find(|entry| line.place(*entry) == place) {
                return Some((number, entry));
            }
            if !line.is_passed() {
                return None;
            }
            number = self.after(number);
        }
        None
    }

    /// Takes the entry of a place out.
    pub(super) fn remove(&self, hash: u64, place: Place) {
        let Some((end, entry)) = self.entry(hash, place) else { return };
        self.lines[end].set_tag(entry, 0);
        let mut number = self.home(hash);
        while number != end {
            self.lines[number].pass(-1);
            number = self.after(number);
        }
        self.set_entries(self.entries() - 1);
    }

    /// Notes that a row has moved.
    pub(super) fn replace(&self, hash: u64, from: Place, to: Place) {
        if let Some((line, entry)) = self.entry(hash, from) {
            self.lines[line].set_place(entry, to);
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
                let entries = self.places.iter().map(|(key, place)| (hash(*key), *place));
                self.index = self.index.grown(entries).unwrap();
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
            assert_eq!(self.index.entries(), self.places.len());
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
            assert!(model.index.lines.iter().all(Line::is_empty));
        }
    }

    #[test]
    fn a_full_index_has_few_entries_away_from_home() {
        let lines = (0..10_000).map(|_| Line::default()).collect();
        let index = Index { lines, len: AtomicUsize::new(0) };
        let hashes: Vec<u64> = (0..(index.lines.len() * FULL) as i64).map(hash).collect();
        for (number, hash) in hashes.iter().enumerate() {
            index.insert(*hash, Place(number as u32));
        }
        let at_home = hashes.iter().enumerate().filter(|(number, hash)| {
            index.entry(**hash, Place(*number as u32)).unwrap().0 == index.home(**hash)
        });
        let at_home = at_home.count();
        assert!(100 * at_home > 85 * hashes.len(), "{at_home} of {}", hashes.len());
    }
}
