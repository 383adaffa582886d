//! Merges several files by key: the newest version of each row, without RocksDB.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::KeyRange;
use super::key::{self, KEY_LEN, Ordinal};
use super::sst::{Cursor, DeletedRange, DeletedRanges, Refusal, SstRows, Version};
use crate::error::{Error, Result};
use crate::memory::room_for;

/// Bytes that a scan of one range reads ahead, in all files together.
const READ_AHEAD: usize = 4 << 20;
/// The fewest and the most bytes of one file that are read at once.
const MIN_CHUNK: usize = 32 << 10;
const MAX_CHUNK: usize = 512 << 10;

/// The files of one moment.
pub(super) struct MergedRows {
    files: Vec<SstRows>,
    deleted: Vec<DeletedRange>,
}

/// Why a scan has ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// A file is refused. The rows that were visited are right.
    Refused(Refusal),
    /// The error of the caller's function.
    Failed(Error),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Stopped {
        Stopped::Refused(refusal)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Stopped {
        Stopped::Failed(error)
    }
}

/// The version of a row that a cursor is at. The smallest one comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    entry: Version,
    cursor: usize,
}

impl MergedRows {
    pub(super) fn new(files: Vec<SstRows>) -> MergedRows {
        let deleted = files.iter().flat_map(|file| file.deleted.iter().copied()).collect();
        MergedRows { files, deleted }
    }

    /// Hands each key and value of a range to `visit`, by ascending keys, until it returns false.
    ///
    /// # Errors
    /// Why a file is refused; the error of `visit`.
    pub(super) fn scan(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8; KEY_LEN], &[u8]) -> Result<bool>,
    ) -> std::result::Result<(), Stopped> {
        let (mut cursors, deleted) = self.begin(range)?;
        let entries = cursors.iter().enumerate();
        let mut heap: BinaryHeap<Reverse<Next>> = entries
            .filter_map(|(index, cursor)| {
                Some(Reverse(Next { entry: cursor.entry()?, cursor: index }))
            })
            .collect();
        // The key that came last, with its newest sequence number.
        let mut newest: Option<(Ordinal, u64)> = None;
        while let Some(mut top) = heap.peek_mut() {
            let next = top.0;
            let cursor = &mut cursors[next.cursor];
            let entry = next.entry;
            match newest {
                Some((key, seqno)) if key == entry.key => {
                    if seqno == entry.seqno() {
                        return Err(cursor.refusal("a row has two newest versions").into());
                    }
                }
                _ => {
                    newest = Some((entry.key, entry.seqno()));
                    let is_row = !entry.is_deletion() && !deleted.has(entry);
                    if is_row && !visit(&key::of_ordinal(entry.key), cursor.value())? {
                        return Ok(());
                    }
                }
            }
            cursor.advance()?;
            match cursor.entry() {
                Some(entry) => *top = Reverse(Next { entry, cursor: next.cursor }),
                None => {
                    PeekMut::pop(top);
                }
            }
        }
        Ok(())
    }

    /// Cursors on the files that may have keys of a range, and the deletions that may concern it.
    fn begin(
        &self,
        range: &KeyRange,
    ) -> std::result::Result<(Vec<Cursor<'_>>, DeletedRanges), Stopped> {
        let start = key::ordinal(&range.start);
        let end = range.end.as_ref().map_or(key::ABOVE_ALL, key::ordinal);
        let has_some = |file: &&SstRows| {
            file.has_entries()
                && file.bounds.last.as_slice() >= &range.start[..]
                && range.end.is_none_or(|end| file.bounds.first.as_slice() < &end[..])
        };
        let count = self.files.iter().filter(has_some).count();
        let chunk = (READ_AHEAD / count.max(1)).clamp(MIN_CHUNK, MAX_CHUNK);
        let mut cursors = room_for(count)?;
        for file in self.files.iter().filter(has_some) {
            cursors.push(Cursor::new(file, start, end, chunk)?);
        }
        let concerns = |range: &&DeletedRange| range.start < end && range.end > start;
        Ok((cursors, DeletedRanges::new(self.deleted.iter().filter(concerns).copied())))
    }
}

#[cfg(test)]
mod tests;
