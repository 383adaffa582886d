//! Rows that are fetched before any shard is locked, for batches of few keys a shard.
//!
//! In a large part, a row is fetched while rows before it are worked on. A batch of some hundred
//! keys has parts of a few keys: each would wait for the lock's cache line, then for lines of the
//! index, then for rows. So the lines of all parts are fetched at once.

use crossbeam_epoch::Guard;

use super::part::Part;
use super::{OpenGroup, lines};
use crate::cache::hash;

/// Batches of more keys have parts that are long enough. Their rows would not fit the nearer caches
/// either.
const MOST: usize = 2048;
/// A smaller group is in the nearer caches, if it is used at all.
const NEAR_BYTES: usize = 512 << 10;

impl OpenGroup {
    /// Whether the rows of so many keys should be fetched ahead.
    pub(super) fn is_scattered(&self, keys: usize) -> bool {
        keys <= MOST && self.cache.bytes() > NEAR_BYTES
    }

    /// Fetches what looking for the keys of the parts needs, and the first `floats` of their rows.
    pub(super) fn fetch_parts(&self, parts: &[Part], floats: usize) {
        let guard = crossbeam_epoch::pin();
        let lines = lines(floats);
        let unknown = || parts.iter().filter(|part| part.places.len() != part.keys.len());
        for key in unknown().flat_map(|part| &part.keys) {
            self.cache.resident(hash(*key)).prefetch_index(hash(*key), &guard);
        }
        for key in unknown().flat_map(|part| &part.keys) {
            self.cache.resident(hash(*key)).candidate(hash(*key), lines, &guard);
        }
        let known = parts.iter().filter(|part| part.places.len() == part.keys.len());
        known.for_each(|part| self.fetch_part(part, lines, &guard));
    }

    /// As [`OpenGroup::fetch_parts`], for a part whose rows have been found.
    pub(super) fn fetch_part(&self, part: &Part, lines: usize, guard: &Guard) {
        for (key, place) in part.keys.iter().zip(&part.places) {
            self.cache.resident(hash(*key)).prefetch_row(*place, lines, guard);
        }
    }
}
