//! One SST file of a write-back round: changed rows, sorted by key.
//!
//! A row's latch is held only while the row is copied, so callers wait a moment at most. Until the
//! file is part of the database, its rows cannot be evicted. A row that changes meanwhile is dirty
//! again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shares::Share;
use super::signal::Scope;
use crate::cache::{ABSENT, CutRow, GroupCache, Kept, Place, Shard, hash};
use crate::engine::Engine;
use crate::error::{Error, Result, Status};
use crate::process::is_ending;
use crate::rocks::row::{self, RowHeader};
use crate::rocks::{Rocks, SstWriter, key};

/// How many rows ahead of its use a row is fetched. They lie anywhere in memory.
const AHEAD: usize = 12;
const FLOATS_A_LINE: usize = 16;
/// After this many rows the thread looks whether the process is ending, and notes the next ones as
/// being written.
const AT_ONCE: usize = 1024;

/// A file under way. Dropped before RocksDB has it, it leaves its rows dirty as before.
pub(super) struct RowFile<'a> {
    engine: &'a Engine,
    rocks: &'a Rocks,
    scope: Scope,
    pending: Vec<Pending>,
    /// The file, until RocksDB gets it. Dropping this removes it.
    path: Option<PathBuf>,
    writer: Option<SstWriter<'a>>,
    rows: usize,
    /// Bytes that were noted as being written (`Signal::note_writing`).
    bytes: usize,
    value: Vec<u8>,
}

struct Pending {
    cache: Arc<GroupCache>,
    /// Keys, each with its row's place when they were collected.
    keys: Vec<(i64, Place)>,
}

impl<'a> RowFile<'a> {
    /// Makes no file yet: the first share with rows does.
    pub(super) fn new(engine: &'a Engine, rocks: &'a Rocks, scope: Scope) -> RowFile<'a> {
        RowFile {
            engine,
            rocks,
            scope,
            pending: Vec::new(),
            path: None,
            writer: None,
            rows: 0,
            bytes: 0,
            value: Vec::new(),
        }
    }

    /// Adds the rows of a share that have at most so many uses. Shares are added by ascending
    /// group.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `POISONED`, `EXITING`.
    pub(super) fn add(&mut self, share: &Share, uses: u8) -> Result<()> {
        let cache = &share.cache;
        if share.group.is_poisoned() {
            return Ok(());
        }
        let mut keys = Vec::new();
        for shard in share.shards.clone() {
            if self.scope == Scope::Cut {
                cache.lock(shard).cut_keys(&mut keys)?;
            } else if cache.dirty_in(shard) > 0 {
                cache.lock(shard).dirty_keys(uses, &mut keys)?;
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        keys.sort_unstable();
        if self.writer.is_none() {
            let path = self.path.insert(self.engine.incoming.make()?);
            self.writer = Some(self.rocks.begin_sst(path)?);
        }
        self.pending.push(Pending { cache: Arc::clone(cache), keys });
        self.write(share)
    }

    /// Writes the rows that were added last.
    fn write(&mut self, Share { group, cache, .. }: &Share) -> Result<()> {
        let keeps_tombstones = self.engine.keeps_tombstones();
        let (Some(writer), Some(pending)) = (&mut self.writer, self.pending.last()) else {
            return Err(Error::bug("a write-back round has no file for its rows"));
        };
        let lines = cache.row_len().div_ceil(FLOATS_A_LINE);
        let row_bytes = 4 * cache.row_len() + 32;
        for (index, &(key, place)) in pending.keys.iter().enumerate() {
            if index % AT_ONCE == 0 {
                check_not_ending()?;
                // The rows after these still count as dirty.
                let bytes = row_bytes * AT_ONCE.min(pending.keys.len() - index);
                self.engine.writer.note_writing(bytes);
                self.bytes += bytes;
            }
            if let Some(&(later, place)) = pending.keys.get(index + AHEAD) {
                cache.read_for(hash(later)).prefetch_row(place, lines);
            }
            let encoded = {
                let shard = cache.read_for(hash(key));
                encode(&shard, (key, place), self.scope, keeps_tombstones, &mut self.value)?
            };
            // The call that has changed the row may have panicked half way.
            group.check_not_poisoned()?;
            let key = key::encode(group.id(), key);
            match encoded {
                Encoded::Nothing => continue,
                Encoded::Row => writer.put(key, &self.value)?,
                Encoded::Deletion => writer.delete(key)?,
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// Ends the file and syncs it. A file without rows is dropped.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn end(&mut self) -> Result<()> {
        check_not_ending()?;
        match self.writer.take() {
            Some(writer) if self.rows > 0 => writer.finish(),
            _ => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Has RocksDB take the ended file over.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn hand_over(&mut self) -> Result<()> {
        check_not_ending()?;
        let Some(path) = self.path.take_if(|_| self.rows > 0) else { return Ok(()) };
        let incoming = &self.engine.incoming;
        if let Err(error) = self.rocks.ingest(&path) {
            incoming.keep(path);
            return Err(error);
        }
        incoming.is_taken(path);
        self.engine.budget.lend(self.rocks.metadata_bytes()?);
        Ok(())
    }

    /// Makes the file's rows evictable, once RocksDB has the file. Returns how many it has.
    pub(super) fn release(mut self) -> usize {
        self.engine.counters.own().rows_written.fetch_add(self.rows as u64, Ordering::Relaxed);
        self.end_writes(true);
        self.rows
    }

    fn end_writes(&mut self, written: bool) {
        for Pending { cache, keys } in self.pending.drain(..) {
            for (index, &(key, place)) in keys.iter().enumerate() {
                if let Some(&(later, place)) = keys.get(index + AHEAD) {
                    cache.read_for(hash(later)).prefetch_row(place, 0);
                }
                cache.read_for(hash(key)).end_write(key, place, written);
            }
        }
        self.engine.writer.note_written(std::mem::take(&mut self.bytes));
    }
}

impl Drop for RowFile<'_> {
    fn drop(&mut self) {
        self.end_writes(false);
        drop(self.writer.take());
        if let Some(path) = self.path.take() {
            self.engine.incoming.discard(path);
        }
    }
}

fn check_not_ending() -> Result<()> {
    match is_ending() {
        false => Ok(()),
        true => Err(Error::new(
            Status::Exiting,
            "the process is ending, and nothing is written any more",
        )),
    }
}

/// What became of a row on its way into a file.
enum Encoded {
    Row,
    Deletion,
    /// The disk has it already.
    Nothing,
}

/// Encodes a row for the file. Its shard is locked.
fn encode(
    shard: &Shard,
    (key, place): (i64, Place),
    scope: Scope,
    keeps_tombstones: bool,
    value: &mut Vec<u8>,
) -> Result<Encoded> {
    let row = match scope {
        Scope::Cut => shard.begin_cut_write(key, place)?,
        _ => shard.begin_write(key, place).map(CutRow::InPlace),
    };
    let (absent, header, floats) = match &row {
        None => return Ok(Encoded::Nothing),
        Some(CutRow::InPlace(row)) => {
            let (update_time, update_num, seqno) = (row.time(), row.updates(), row.seqno());
            (row.has(ABSENT), RowHeader { update_time, update_num, seqno }, row.floats())
        }
        Some(CutRow::Kept(Kept { absent, time, updates, seqno, floats })) => {
            let header = RowHeader { update_time: *time, update_num: *updates, seqno: *seqno };
            (*absent, header, floats.as_slice())
        }
    };
    if !absent {
        row::encode(value, header, floats);
        return Ok(Encoded::Row);
    }
    if !keeps_tombstones {
        return Ok(Encoded::Deletion);
    }
    row::encode_deleted(value, header.update_time, header.seqno);
    Ok(Encoded::Row)
}
