//! Rows that are fetched before any shard is locked, for batches of few keys a shard.
//!
//! In a long run, a row is fetched while rows before it are worked on. A batch of some hundred keys
//! has runs of a few keys: each would wait for the lock's cache line, then for lines of the index,
//! then for rows. So the lines of all runs are fetched at once.

use std::ops::Range;

use crossbeam_epoch::Guard;

use super::part::Part;
use super::{OpenGroup, lines};
use crate::cache::hash;

/// Batches of more keys have runs that are long enough. Their rows would not fit the nearer caches
/// either.
const MOST: usize = 2048;
/// A smaller group is in the nearer caches, if it is used at all.
const NEAR_BYTES: usize = 512 << 10;
/// The rows of a run are fetched while the third run before it is worked on.
const RUNS_AHEAD: usize = 3;
/// Without runs: before so many keys are worked on, the rows of the next so many are fetched.
const KEYS_AHEAD: usize = 16;

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
        known.for_each(|part| self.fetch_rows(part, 0..part.keys.len(), lines, &guard));
    }

    /// As [`OpenGroup::fetch_parts`], for some keys of a part whose rows have been found.
    pub(super) fn fetch_rows(&self, part: &Part, keys: Range<usize>, lines: usize, guard: &Guard) {
        for (key, place) in part.keys[keys.clone()].iter().zip(&part.places[keys]) {
            self.cache.resident(hash(*key)).prefetch_row(*place, lines, guard);
        }
    }

    /// What fetches the rows of a part's runs.
    pub(super) fn rows_ahead<'a>(&'a self, part: &'a Part) -> RowsAhead<'a> {
        let is_short = part.is_of_few() || part.has_short_runs();
        RowsAhead { group: self, part, guard: is_short.then(crossbeam_epoch::pin) }
    }
}

/// Fetches the rows of a part's runs some runs before they are worked on.
pub(super) struct RowsAhead<'a> {
    group: &'a OpenGroup,
    part: &'a Part,
    /// None: the runs are long, and fetch their rows as they go.
    guard: Option<Guard>,
}

impl RowsAhead<'_> {
    /// Call before each run, in their order.
    pub(super) fn fetch(&self, number: usize) {
        let Some(guard) = &self.guard else { return };
        let from = if number == 0 { 0 } else { number + RUNS_AHEAD };
        for run in self.part.runs.iter().take(number + RUNS_AHEAD + 1).skip(from) {
            let lines = lines(self.group.row_len);
            self.group.fetch_rows(self.part, run.keys.clone(), lines, guard);
        }
    }

    /// Call before each key of few, in their order.
    pub(super) fn fetch_few(&self, index: usize) {
        let Some(guard) = &self.guard else { return };
        if !index.is_multiple_of(KEYS_AHEAD) {
            return;
        }
        let from = if index == 0 { 0 } else { index + KEYS_AHEAD };
        let to = self.part.keys.len().min(index + 2 * KEYS_AHEAD);
        if from < to {
            self.group.fetch_rows(self.part, from..to, lines(self.group.row_len), guard);
        }
    }
}
