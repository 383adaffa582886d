//! Reads the newest version of each row that can be read. All files of rows are merged in the order
//! of their keys; one block of each file is in memory.
//!
//! If the MANIFEST is whole, only the files that it names count, and RocksDB's sequence numbers say
//! which version is newer. If not, every file counts, also one that was merged and not deleted yet.
//! Then the call numbers in the headers of rows and tombstones say which version is newer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::Salvaged;
use super::lost::Lost;
use crate::error::Result;
use crate::storage::rocks::{Entry, Live, SstFile, Wreck};
use crate::storage::row::{self, Stored};
use crate::storage::{Core, Group, incoming, key};

/// Rows a file of the new storage.
const FILE_ROWS: usize = 512 << 10;

pub(super) struct Rows<'a> {
    pub(super) core: &'a Core,
    pub(super) dir: &'a Path,
    pub(super) wreck: &'a Wreck,
    pub(super) groups: &'a BTreeMap<u16, Arc<Group>>,
    pub(super) salvaged: &'a mut Salvaged,
}

/// A file that is read.
struct Source {
    sst: SstFile,
    /// The sequence number of every entry, if the file was ingested.
    seqno: Option<u64>,
    block: usize,
    entries: std::vec::IntoIter<Entry>,
    /// Entries that were read.
    read: u64,
    expected: Option<u64>,
}

/// What orders the versions of a row: larger is newer.
type Rank = (u64, u64, u64, u64);

impl Rows<'_> {
    /// Writes the rows and adds to `lost` what is lost. Returns the largest call number that any
    /// row has.
    pub(super) fn save(&mut self, lost: &mut Lost, mut progress: impl FnMut(u64)) -> Result<u64> {
        let mut sources = self.sources(lost);
        let mut lens = HashMap::new();
        for (number, group) in self.groups {
            lens.insert(*number, group.shape()?.1);
        }
        let mut heap = BinaryHeap::new();
        for index in 0..sources.len() {
            self.advance(&mut sources, index, &mut heap, lost);
        }
        let rocks = self.core.rocks()?;
        let (mut last, mut written, mut in_file) = (0, 0, 0);
        let mut file = None;
        let mut versions: Vec<(Entry, u64)> = Vec::new();
        while let Some(Reverse((stored_key, _))) = heap.peek() {
            let stored_key: Vec<u8> = stored_key.clone();
            versions.clear();
            while heap.peek().is_some_and(|Reverse((key, _))| *key == stored_key) {
                let Some(Reverse((_, Candidate { index, entry }))) = heap.pop() else { break };
                let seqno = sources.get(index).and_then(|source| source.seqno).unwrap_or(entry.seqno);
                versions.push((entry, seqno));
                self.advance(&mut sources, index, &mut heap, lost);
            }
            let Some(value) = self.newest(&versions, &stored_key, &lens, &mut last) else { continue };
            if lost.has(&stored_key) {
                self.salvaged.rows_in_doubt += 1;
            }
            if file.is_none() {
                let path = self.core.incoming.make()?;
                file = Some((rocks.begin_table(&path)?, path));
            }
            let Some((writer, _)) = &mut file else { continue };
            let (group, key) = key::decode(&stored_key)?;
            writer.put(key::encode(group, key), value)?;
            (written, in_file) = (written + 1, in_file + 1);
            if in_file == FILE_ROWS {
                in_file = 0;
                if let Some((writer, path)) = file.take() {
                    writer.finish()?;
                    rocks.ingest(&path)?;
                    self.core.incoming.is_taken(path);
                }
                progress(written);
            }
        }
        if let Some((writer, path)) = file {
            writer.finish()?;
            rocks.ingest(&path)?;
            self.core.incoming.is_taken(path);
        }
        progress(written);
        for source in &sources {
            let missing = source.expected.map_or(0, |expected| expected.saturating_sub(source.read));
            self.salvaged.entries_lost += missing;
        }
        Ok(last)
    }

    /// The files that count.
    fn sources(&mut self, lost: &mut Lost) -> Vec<Source> {
        let mut sources = Vec::new();
        let Some(live) = &self.wreck.live else {
            for entry in std::fs::read_dir(self.dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.ends_with(".sst") {
                    self.add(&mut sources, &name, None, lost);
                }
            }
            return sources;
        };
        for file in live.iter().filter(|file| file.is_rows) {
            if self.add(&mut sources, &file.name, Some(file), lost) {
                continue;
            }
            // The writer keeps its own link until it is sure that RocksDB has one.
            for path in incoming::list(self.dir).unwrap_or_default() {
                if let Ok(sst) = SstFile::open(&path) {
                    sources.push(Source::new(sst, Some(file)));
                }
            }
        }
        sources
    }

    /// False when nothing of the file can be read.
    fn add(&mut self, sources: &mut Vec<Source>, name: &str, live: Option<&Live>, lost: &mut Lost) -> bool {
        match SstFile::open(&self.dir.join(name)) {
            // Documents, which were read already.
            Ok(sst) if live.is_none() && sst.family.as_deref() == Some("damo") => true,
            Ok(sst) => {
                self.salvaged.files_read += 1;
                sources.push(Source::new(sst, live));
                true
            }
            Err(what) => {
                self.salvaged.files_lost += 1;
                self.salvaged.entries_lost += live.map_or(0, |live| live.entries);
                self.salvaged.damage.push(format!("{name}: {what}"));
                lost.add_file(live);
                false
            }
        }
    }

    /// Puts the next entry of a file into the heap, past blocks that are damaged.
    fn advance(
        &mut self,
        sources: &mut [Source],
        index: usize,
        heap: &mut BinaryHeap<Reverse<(Vec<u8>, Candidate)>>,
        lost: &mut Lost,
    ) {
        let Some(source) = sources.get_mut(index) else { return };
        loop {
            if let Some(entry) = source.entries.next() {
                source.read += 1;
                heap.push(Reverse((entry.key.clone(), Candidate { index, entry })));
                return;
            }
            if source.block == source.sst.block_count() {
                return;
            }
            match source.sst.entries_of(source.block) {
                Some(entries) => source.entries = entries.into_iter(),
                None => {
                    let name = source.sst.path.file_name().unwrap_or_default().to_string_lossy();
                    self.salvaged.blocks_lost += 1;
                    self.salvaged.damage.push(format!("{name}: block {} is damaged", source.block));
                    lost.add_block(source.sst.keys_of(source.block));
                }
            }
            source.block += 1;
        }
    }

    /// The value of the newest version, if it is a row or the tombstone of one.
    fn newest<'a>(
        &mut self,
        versions: &'a [(Entry, u64)],
        stored_key: &[u8],
        lens: &HashMap<u16, usize>,
        last: &mut u64,
    ) -> Option<&'a [u8]> {
        let is_ordered = self.wreck.live.is_some();
        let len = key::decode(stored_key).ok().and_then(|(group, _)| lens.get(&group));
        let mut newest: Option<(Rank, Option<&[u8]>)> = None;
        let mut expired = None;
        for (entry, seqno) in versions {
            let seqno = if is_ordered { *seqno } else { 0 };
            let (rank, value) = match entry.value.as_deref() {
                None if is_ordered => ((seqno, 0, 0, 0), None),
                None => {
                    self.salvaged.deletions_in_doubt += 1;
                    continue;
                }
                Some(value) => match (row::parse(value), len) {
                    (Ok(Stored::Row(header, body)), Some(len)) if body.len() == 4 * len => {
                        *last = (*last).max(header.journal);
                        ((seqno, header.journal, header.update_num, header.update_time), Some(value))
                    }
                    (Ok(Stored::Deleted { time, journal }), _) => {
                        *last = (*last).max(journal);
                        ((seqno, journal, u64::MAX, time), Some(value))
                    }
                    (Ok(Stored::Expired { .. }), _) if is_ordered => ((seqno, 0, 0, 0), None),
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
        let ((.., time), value) = newest?;
        // Another file's tombstone says that the row had expired on that day.
        let has_expired = expired.is_some_and(|day| time / super::super::expiry::DAY_MS < day);
        value.filter(|_| !has_expired)
    }
}

impl Source {
    fn new(sst: SstFile, live: Option<&Live>) -> Source {
        let seqno = live.filter(|_| sst.is_external).map(|live| live.seqno);
        let expected = sst.entries.or(live.map(|live| live.entries));
        Source { sst, seqno, block: 0, entries: Vec::new().into_iter(), read: 0, expected }
    }
}

/// An entry of a file on its way through the heap, which orders keys only.
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
