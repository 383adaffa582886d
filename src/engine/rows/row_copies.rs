//! Copies of whole rows, which the caller changes itself: what a pin has in memory.
//!
//! Commit compares a row with the copy that was made when it was pinned. So it needs no lock in
//! between, and sees every change by others: steps, inserts, deletes, a clear, a checkpoint that
//! was loaded. A row with the same floats is as good as one that nobody has changed.

use std::ops::Range;

use super::insert_records::count_floats;
use super::spread::MAX_KEYS;
use crate::cache::{MAX_UPDATES, Place, hash};
use crate::engine::group::COUNT_FLOATS;
use crate::error::{Error, Result};
use crate::memory::{refill, reserve};

/// What commit does with rows that others have changed since they were pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflicts {
    /// Adds to each float what the caller has added to its copy.
    Add,
    /// Refuses the commit.
    Refuse,
}

/// What a copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyOf {
    Row,
    /// The first floats of a row that commit makes.
    NewRow,
    /// Nothing: commit leaves the key out.
    NoRow,
}

/// The rows of a pin.
#[derive(Default)]
pub(crate) struct RowCopies {
    row_len: usize,
    /// Distinct keys in order of their first occurrence.
    pub(super) keys: Vec<i64>,
    /// The index in `keys` of each key of the batch.
    indexes: Vec<u32>,
    pub(super) of: Vec<CopyOf>,
    /// The rows as they were pinned: `row_len` floats a key.
    pub(super) before: Vec<f32>,
    /// The rows as the caller has changed them.
    rows: Vec<f32>,
    /// Where the rows of `keys` were most likely when they were copied.
    pub(super) places: Vec<Place>,
    /// Keys that were not resident, as indexes in `keys`.
    pub(super) missing: Vec<u32>,
    /// The indexes in `keys` of a commit's keys, those keys, and their places; empty if it has all.
    committed_at: Vec<u32>,
    committed_keys: Vec<i64>,
    committed_places: Vec<Place>,
    /// A commit's rows, each with its update count behind it: `row_len` + [`COUNT_FLOATS`] floats.
    pub(super) merged: Vec<f32>,
    /// A buffer for the first floats of a row.
    pub(super) first: Vec<f32>,
    /// A buffer of `dedup`: indexes in `keys`, plus 1, by hash.
    table: Vec<u32>,
}

impl RowCopies {
    /// The index of the row of the key at a position of the batch.
    pub(crate) fn index_of(&self, position: usize) -> Option<usize> {
        self.indexes.get(position).map(|index| *index as usize)
    }

    /// The rows by their indexes, one behind the other, for the caller to change.
    pub(crate) fn rows_mut(&mut self) -> &mut [f32] {
        &mut self.rows
    }

    /// The floats of a row.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    /// Whether commit makes the row with an index.
    pub(crate) fn is_new(&self, index: usize) -> bool {
        self.of[index] == CopyOf::NewRow
    }

    /// Forgets all rows; their memory stays.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.indexes.clear();
        self.of.clear();
        self.places.clear();
        self.missing.clear();
    }

    /// # Errors
    /// `INVALID_ARGUMENT` for more keys than there can be copies of.
    pub(crate) fn check_len(keys_len: usize) -> Result<()> {
        if keys_len > MAX_KEYS {
            return Err(Error::invalid(format!(
                "keys_len is {keys_len}; at most {MAX_KEYS} keys are accepted"
            )));
        }
        Ok(())
    }

    /// Begins with the distinct keys of a batch.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for too many keys; `OUT_OF_MEMORY`.
    pub(super) fn begin(&mut self, keys: &[i64], row_len: usize) -> Result<()> {
        self.clear();
        self.row_len = row_len;
        Self::check_len(keys.len())?;
        self.dedup(keys)?;
        let count = self.keys.len();
        reserve(&mut self.of, count)?;
        reserve(&mut self.missing, count)?;
        reserve(&mut self.places, count)?;
        // Every copy is written: only those that the buffer lacks have to be made.
        resize(&mut self.before, count * row_len)
    }

    fn dedup(&mut self, keys: &[i64]) -> Result<()> {
        reserve(&mut self.keys, keys.len())?;
        reserve(&mut self.indexes, keys.len())?;
        refill(&mut self.table, 0, (2 * keys.len()).next_power_of_two())?;
        let last = self.table.len() - 1;
        for &key in keys {
            let mut entry = hash(key) as usize & last;
            let index = loop {
                match self.table[entry] {
                    0 => {
                        self.keys.push(key);
                        self.table[entry] = self.keys.len() as u32;
                        break self.keys.len() as u32 - 1;
                    }
                    known if self.keys[known as usize - 1] == key => break known - 1,
                    _ => entry = (entry + 1) & last,
                }
            };
            self.indexes.push(index);
        }
        Ok(())
    }

    /// Hands the rows to the caller: they begin as they were pinned.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.rows.clear();
        reserve(&mut self.rows, self.before.len())?;
        self.rows.extend_from_slice(&self.before);
        Ok(())
    }

    /// Lists the keys that are committed, and makes room for their rows. Returns how many there
    /// are.
    pub(super) fn begin_commit(&mut self) -> Result<usize> {
        self.committed_at.clear();
        self.committed_keys.clear();
        self.committed_places.clear();
        let mut count = self.keys.len();
        if self.of.contains(&CopyOf::NoRow) {
            reserve(&mut self.committed_at, count)?;
            reserve(&mut self.committed_keys, count)?;
            reserve(&mut self.committed_places, count)?;
            for index in (0..count).filter(|index| self.of[*index] != CopyOf::NoRow) {
                self.committed_at.push(index as u32);
                self.committed_keys.push(self.keys[index]);
                self.committed_places.push(self.places[index]);
            }
            count = self.committed_at.len();
        }
        resize(&mut self.first, self.row_len)?;
        let merged_len = self.merged_len();
        resize(&mut self.merged, count * merged_len)?;
        Ok(count)
    }

    /// The keys of a commit, and where their rows are most likely.
    pub(super) fn committed(&self) -> (&[i64], &[Place]) {
        match self.of.contains(&CopyOf::NoRow) {
            true => (&self.committed_keys, &self.committed_places),
            false => (&self.keys, &self.places),
        }
    }

    /// The floats of a merged row.
    pub(super) fn merged_len(&self) -> usize {
        self.row_len + COUNT_FLOATS
    }

    /// The committed keys whose rows are to be made.
    pub(super) fn new_keys(&self) -> impl Iterator<Item = i64> {
        let made = self.keys.iter().zip(&self.of).filter(|(_, of)| **of == CopyOf::NewRow);
        made.map(|(key, _)| *key)
    }

    /// Writes what the row of a commit's key becomes to `merged`; `number` is the key's index among
    /// the commit's. The row has the floats `now` and will have the count `updates`. No float of
    /// `squares` becomes negative by others' changes.
    ///
    /// # Errors
    /// `BUSY` if it has changed and conflicts are refused. `INVALID_ARGUMENT` for floats that no
    /// row may have.
    #[inline(always)]
    pub(super) fn merge(
        &mut self,
        number: usize,
        (now, updates): (&[f32], u64),
        squares: &Range<usize>,
        conflicts: Conflicts,
    ) -> Result<()> {
        let index = self.committed_at.get(number).map_or(number, |index| *index as usize);
        let (len, merged_len) = (self.row_len, self.merged_len());
        let before = &self.before[index * len..(index + 1) * len];
        let changed = &self.rows[index * len..(index + 1) * len];
        let merged = &mut self.merged[number * merged_len..(number + 1) * merged_len];
        let (merged, count) = merged.split_at_mut(len);
        count.copy_from_slice(&count_floats(updates.min(MAX_UPDATES)));
        let (is_same, is_finite) = take(now, before, changed, merged);
        if is_same && is_finite && squares.is_empty() {
            return Ok(());
        }
        let key = self.keys[index];
        // What is refused must not depend on what others do.
        check(key, changed, squares.clone())?;
        if is_same {
            return Ok(());
        }
        add_changes(key, (now, before, changed), merged, conflicts)?;
        for square in &mut merged[squares.clone()] {
            // Not max, which would make 0 of NaN.
            if *square < 0.0 {
                *square = 0.0;
            }
        }
        check(key, merged, squares.clone())
    }
}

/// Makes `room` hold `len` values, of which the present ones keep theirs.
fn resize<T: Copy + Default>(room: &mut Vec<T>, len: usize) -> Result<()> {
    room.truncate(len);
    let more = len - room.len();
    reserve(room, more)?;
    room.resize(len, T::default());
    Ok(())
}

/// Copies `changed` to `merged`. Returns whether `now` has the bits of `before`, and whether all
/// floats of `changed` are finite. One pass without branches, of which the compiler makes vectors.
#[inline(always)]
fn take(now: &[f32], before: &[f32], changed: &[f32], merged: &mut [f32]) -> (bool, bool) {
    const EXPONENT: u32 = 0x7f80_0000;
    let (mut differing, mut wrong) = (0, 0);
    let floats = now.iter().zip(before).zip(changed).zip(merged);
    for (((now, before), changed), merged) in floats {
        differing |= now.to_bits() ^ before.to_bits();
        wrong |= u32::from(changed.to_bits() & EXPONENT == EXPONENT);
        *merged = *changed;
    }
    (differing == 0, wrong == 0)
}

/// Adds the caller's changes to a row that others have changed.
#[cold]
fn add_changes(
    key: i64,
    (now, before, changed): (&[f32], &[f32], &[f32]),
    merged: &mut [f32],
    conflicts: Conflicts,
) -> Result<()> {
    if conflicts == Conflicts::Refuse {
        return Err(Error::busy(format!(
            "the row of key {key} was changed by another call since it was pinned, and no row was \
             changed; pin the rows again, or commit with conflicts \"add\""
        )));
    }
    for (((now, before), changed), merged) in now.iter().zip(before).zip(changed).zip(merged) {
        *merged = add(*now, *before, *changed);
    }
    Ok(())
}
/// What a float becomes whose copy was `before` and is `changed`.
fn add(now: f32, before: f32, changed: f32) -> f32 {
    if changed.to_bits() == before.to_bits() {
        now
    } else if now.to_bits() == before.to_bits() {
        changed
    } else {
        now + (changed - before)
    }
}

/// # Errors
/// `INVALID_ARGUMENT` for a row with a float that is not finite, or a negative one among `squares`.
#[cold]
fn check(key: i64, row: &[f32], squares: Range<usize>) -> Result<()> {
    if !row.iter().fold(true, |all, float| all & float.is_finite()) {
        let column = row.iter().position(|float| !float.is_finite()).unwrap_or(0);
        return Err(Error::invalid(format!(
            "the row of key {key} (column {column}) would be {:?}; finite numbers are needed, and \
             no row was changed",
            row[column]
        )));
    }
    if let Some(column) = squares.clone().find(|column| row[*column] < 0.0) {
        return Err(Error::invalid(format!(
            "the row of key {key} (column {column}) would have {:?} for a sum or mean of squares \
             in the optimizer's state; 0 or more is needed, and no row was changed",
            row[column]
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copies(keys: &[i64], row: &[f32]) -> RowCopies {
        let mut copies = RowCopies::default();
        copies.begin(keys, row.len()).unwrap();
        copies.of.resize(copies.keys.len(), CopyOf::Row);
        copies.before.chunks_exact_mut(row.len()).for_each(|copy| copy.copy_from_slice(row));
        copies.finish().unwrap();
        copies
    }

    #[test]
    fn a_key_given_twice_has_one_row() {
        let mut copies = copies(&[7, -1, 7, 0, -1], &[1.0, 2.0]);
        assert_eq!(copies.keys, [7, -1, 0]);
        let index = |position| copies.index_of(position);
        assert_eq!([0, 1, 2, 3, 4].map(index), [0, 1, 0, 2, 1].map(Some));
        assert_eq!(copies.index_of(5), None);
        copies.rows_mut()[1] = 3.0;
        assert_eq!(copies.rows, [1.0, 3.0, 1.0, 2.0, 1.0, 2.0]);
    }

    /// Without others' changes the bits are the caller's, also where sums would round.
    #[test]
    fn changes_are_taken_or_added() {
        let mut copies = copies(&[1], &[1.0, 0.1, -0.0, 4.0]);
        copies.rows_mut().copy_from_slice(&[1e-9, 0.3, -0.0, 1.0]);
        let merge = |copies: &mut RowCopies, now: &[f32], conflicts| {
            copies.begin_commit().unwrap();
            copies.merge(0, (now, 7), &(3..4), conflicts)?;
            Ok(copies.merged.clone())
        };
        let count = count_floats(7);
        let expected = [&[1e-9, 0.3, -0.0, 1.0][..], &count].concat();
        let same = [1.0, 0.1, -0.0, 4.0];
        for conflicts in [Conflicts::Add, Conflicts::Refuse] {
            assert_eq!(merge(&mut copies, &same, conflicts), Ok(expected.clone()));
        }
        let others = [2.0, 0.1, 5.0, 2.0];
        let added = merge(&mut copies, &others, Conflicts::Add).unwrap();
        // The last float is a square: 2 - 3 is no square.
        assert_eq!(added[..4], [1.0, 0.3, 5.0, 0.0]);
        let refused: Result<Vec<f32>> = merge(&mut copies, &others, Conflicts::Refuse);
        assert!(refused.unwrap_err().message().contains("key 1 was changed by another call"));
    }

    /// What the caller may not write is refused, whatever others do meanwhile.
    #[test]
    fn wrong_floats_are_refused_with_and_without_a_conflict() {
        let mut copies = copies(&[1], &[1.0, 4.0]);
        copies.begin_commit().unwrap();
        const INFINITE: f32 = f32::INFINITY;
        let wrong = [(0, f32::NAN), (0, -INFINITE), (1, f32::NAN), (1, -INFINITE), (1, -3.0)];
        for (column, wrong) in wrong {
            copies.rows_mut().copy_from_slice(&[2.0, 5.0]);
            copies.rows_mut()[column] = wrong;
            for now in [[1.0, 4.0], [1.0, 9.0], [3.0, 9.0]] {
                for conflicts in [Conflicts::Add, Conflicts::Refuse] {
                    let refused = copies.merge(0, (&now, 1), &(1..2), conflicts).unwrap_err();
                    let expected = format!("key 1 (column {column}) would");
                    assert!(refused.message().contains(&expected), "{wrong}, {now:?}: {refused}");
                }
            }
        }
        // The sum has no float.
        copies.rows_mut().copy_from_slice(&[2.0, f32::MAX]);
        let refused = copies.merge(0, (&[1.0, f32::MAX], 1), &(1..2), Conflicts::Add);
        assert!(refused.unwrap_err().message().contains("column 1) would be inf"));
    }
}
