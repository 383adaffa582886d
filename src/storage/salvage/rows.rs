//! Writes the newest version of each row that can be read. All SST files of rows are merged in the
//! order of their keys; one block of each file is in memory.
//!
//! If the MANIFEST can be used, only the files that it names count, and RocksDB's sequence numbers
//! tell which version is newer. If not, every file counts, also one that was merged and not deleted
//! yet. Then the calls' sequence numbers in rows and tombstones tell which version is newer.
//!
//! The calls' sequence numbers also tell which rows are older than the latest clear of their group.
//! RocksDB's DeleteRanges are not read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lost::Lost;
use super::report::Salvaged;
use super::sources::Sources;
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::error::Result;
use crate::rocks::key;
use crate::rocks::row::{self, Stored};
use crate::rocks::{Entry, Rocks, SstWriter, Wreck};
use crate::seqno::Seqno;

/// Rows in a file of the new storage.
const FILE_ROWS: usize = 512 << 10;

pub(super) struct RowSaver<'a> {
    pub(super) engine: &'a Engine,
    pub(super) dir: &'a Path,
    pub(super) wreck: &'a Wreck,
    pub(super) groups: &'a BTreeMap<u16, Arc<Group>>,
    pub(super) salvaged: &'a mut Salvaged,
}

/// What every row of a group must fit.
struct Shape {
    /// The floats of a row.
    len: usize,
    /// The sequence number of the group's latest clear: rows with a smaller one are gone.
    cleared: Seqno,
}

/// The order of a row's versions: RocksDB's sequence number, the call's, updates, time. Larger is
/// newer.
type Rank = (u64, Seqno, u64, u64);

/// The next entry of each file. The smallest key is on top.
type Heap = BinaryHeap<Reverse<(Vec<u8>, Candidate)>>;

impl RowSaver<'_> {
    /// Writes the rows, and adds lost files and blocks to `lost`. Returns the largest sequence
    /// number of a call that any row has.
    pub(super) fn save(&mut self, lost: &mut Lost, mut progress: impl FnMut(u64)) -> Result<Seqno> {
        let mut sources = Sources::find(self.dir, self.wreck, lost, self.salvaged)?;
        let mut shapes = HashMap::new();
        for (number, group) in self.groups {
            shapes.insert(*number, Shape { len: group.shape()?.1, cleared: group.cleared() });
        }
        let mut heap = Heap::new();
        for index in 0..sources.len() {
            self.advance(&mut sources, index, &mut heap, lost)?;
        }
        let rocks = self.engine.rocks()?;
        let (mut last, mut written, mut in_file) = (Seqno::NONE, 0, 0);
        let mut file = None;
        let mut versions: Vec<Entry> = Vec::new();
        while let Some(Reverse((stored_key, _))) = heap.peek() {
            let stored_key: Vec<u8> = stored_key.clone();
            versions.clear();
            while heap.peek().is_some_and(|Reverse((key, _))| *key == stored_key) {
                let Some(Reverse((_, Candidate { index, entry }))) = heap.pop() else { break };
                versions.push(entry);
                self.advance(&mut sources, index, &mut heap, lost)?;
            }
            let Ok((group, key)) = key::decode(&stored_key) else {
                // It is not the key of a row.
                self.salvaged.rows_refused += versions.len() as u64;
                continue;
            };
            let Some(value) = self.newest(&versions, shapes.get(&group), &mut last) else {
                continue;
            };
            if lost.has(&stored_key) {
                self.salvaged.rows_in_doubt += 1;
            }
            let (writer, _) = match &mut file {
                Some(open) => open,
                none => {
                    let path = self.engine.incoming.make()?;
                    none.insert((rocks.begin_sst(&path)?, path))
                }
            };
            writer.put(key::encode(group, key), value)?;
            (written, in_file) = (written + 1, in_file + 1);
            if in_file == FILE_ROWS {
                in_file = 0;
                self.ingest(&rocks, file.take())?;
                progress(written);
            }
        }
        self.ingest(&rocks, file)?;
        progress(written);
        sources.count_lost(self.salvaged)?;
        Ok(last)
    }

    /// Makes a file part of the database, if there is one.
    fn ingest(&self, rocks: &Rocks, file: Option<(SstWriter<'_>, PathBuf)>) -> Result<()> {
        let Some((writer, path)) = file else { return Ok(()) };
        writer.finish()?;
        rocks.ingest(&path)?;
        self.engine.incoming.is_taken(path);
        Ok(())
    }

    /// Puts the next entry of a file into the heap. Damaged blocks are skipped.
    fn advance(
        &mut self,
        sources: &mut Sources,
        index: usize,
        heap: &mut Heap,
        lost: &mut Lost,
    ) -> Result<()> {
        if let Some(entry) = sources.next(index, lost, self.salvaged)? {
            heap.push(Reverse((entry.key.clone(), Candidate { index, entry })));
        }
        Ok(())
    }

    /// The value of the newest version, if it is a row of this shape or a deleted row's tombstone.
    fn newest<'a>(
        &mut self,
        versions: &'a [Entry],
        shape: Option<&Shape>,
        last: &mut Seqno,
    ) -> Option<&'a [u8]> {
        let is_ordered = self.wreck.live.is_some();
        let mut newest: Option<(Rank, Option<&[u8]>)> = None;
        let mut expired = None;
        for entry in versions {
            let seqno = if is_ordered { entry.seqno } else { 0 };
            let (rank, value) = match entry.value.as_deref() {
                None if is_ordered => ((seqno, Seqno::NONE, 0, 0), None),
                None => {
                    self.salvaged.deletions_in_doubt += 1;
                    continue;
                }
                Some(value) => match (row::parse(value), shape) {
                    (Ok(Stored::Row(header, body)), Some(shape)) if body.len() == 4 * shape.len => {
                        *last = (*last).max(header.seqno);
                        ((seqno, header.seqno, header.update_num, header.update_time), Some(value))
                    }
                    (Ok(Stored::Deleted { time, seqno: call }), Some(_)) => {
                        *last = (*last).max(call);
                        ((seqno, call, u64::MAX, time), Some(value))
                    }
                    (Ok(Stored::Expired { .. }), _) if is_ordered => {
                        ((seqno, Seqno::NONE, 0, 0), None)
                    }
                    (Ok(Stored::Expired { day }), _) => {
                        expired = expired.max(Some(day));
                        continue;
                    }
                    _ => {
                        self.salvaged.rows_refused += 1;
                        continue;
                    }
                },
            };
            if newest.is_none_or(|(newest, _)| rank > newest) {
                newest = Some((rank, value));
            }
        }
        let ((_, call, _, time), value) = newest?;
        let is_cleared = value.is_some() && shape.is_some_and(|shape| call < shape.cleared);
        // A tombstone in another file says that the row had expired on that day.
        let has_expired = expired.is_some_and(|day| time / crate::engine::expiry::DAY_MS < day);
        value.filter(|_| !has_expired && !is_cleared)
    }
}

/// A file's entry in the heap. The heap orders by keys; files only break ties.
struct Candidate {
    index: usize,
    entry: Entry,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.index == other.index
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> std::cmp::Ordering {
        self.index.cmp(&other.index)
    }
}
