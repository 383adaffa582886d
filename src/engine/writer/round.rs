//! A round of the writer: changed rows, sorted by key, become files of the table.
//!
//! A row is copied while its shard is locked, a moment each, so that callers are never in the way for long. While it
//! is in a file that the table does not count yet it cannot be evicted; if it changes meanwhile it is dirty anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::signal::Scope;
use crate::cache::{ABSENT, CutRow, GroupCache, Kept, Shard, hash};
use crate::engine::Engine;
use crate::error::{Error, Result, Status};
use crate::process::is_ending;
use crate::rocks::documents::{STEP, of_group};
use crate::rocks::key;
use crate::rocks::row::{self, RowHeader};
use crate::rocks::{Batch, Rocks, SstWriter};

/// Rows a file, at most: then they can be evicted. More of them would let callers who wait for that wait longer, fewer make
/// more files to merge; the list of their keys takes 4 MiB.
const FILE_ROWS: usize = 512 << 10;
/// Files that wait to be merged, at which the writer waits: every one makes misses slower.
const MAX_UNMERGED_FILES: u64 = 40;
/// How long the number of files that wait to be merged may stay as it is.
const MERGE_PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::engine) struct Round<'a> {
    engine: &'a Engine,
    rocks: &'a Rocks,
    scope: Scope,
    /// What the current file holds.
    pending: Vec<Pending>,
    file: Option<(PathBuf, SstWriter<'a>)>,
    rows: usize,
    /// Memory of the rows in `pending`.
    bytes: usize,
    began: Instant,
    value: Vec<u8>,
}

/// Rows of one group in the file that is being written.
struct Pending {
    cache: Arc<GroupCache>,
    keys: Vec<i64>,
}

impl<'a> Round<'a> {
    pub(crate) fn new(engine: &'a Engine, rocks: &'a Rocks, scope: Scope) -> Round<'a> {
        Round {
            engine,
            rocks,
            scope,
            pending: Vec::new(),
            file: None,
            rows: 0,
            bytes: 0,
            began: Instant::now(),
            value: Vec::new(),
        }
    }

    /// Writes what the scope says. In a scope of `All` every change of every call that returned before is on disk
    /// afterwards, and the journal's part that had it is gone.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `EXITING`. Rows that did not get to disk are still dirty.
    pub(crate) fn run(mut self) -> Result<()> {
        self.engine.write_clears(self.rocks)?;
        let moment = {
            // Calls that are in the closed part of the journal may still be changing rows; later ones are made later.
            let _between_calls = self.engine.stepping.write();
            if self.scope == Scope::All { self.engine.end_of_calls()? } else { None }
        };
        self.wait_for_merges()?;
        self.write_rows()?;
        if self.scope != Scope::All {
            return self.engine.write_time();
        }
        // What a panic left of a group is not written, and the journal, which has all of it, is kept.
        let groups = self.engine.groups();
        groups.iter().try_for_each(|group| group.check_not_poisoned())?;
        let steps: Vec<_> = groups.iter().map(|group| (group.id(), group.step())).collect();
        self.write_documents(moment, &steps)
    }

    pub(crate) fn write_rows(&mut self) -> Result<()> {
        let only_cold = self.scope == Scope::Cold && self.cold_rows_are_many();
        for group in self.engine.groups() {
            let Some(cache) = group.cache().filter(|_| !group.is_poisoned()) else { continue };
            let mut keys = Vec::new();
            for shard in 0..cache.shard_count() {
                if self.scope == Scope::Cut {
                    cache.lock(shard).cut_keys(&mut keys)?;
                } else if cache.dirty_in(shard) > 0 {
                    cache.lock(shard).dirty_keys(only_cold, &mut keys)?;
                }
                let is_last = shard + 1 == cache.shard_count();
                let is_full = self.rows + keys.len() >= FILE_ROWS;
                if (is_last || is_full) && !keys.is_empty() {
                    self.add(&cache, group.id(), std::mem::take(&mut keys))?;
                }
                // The group goes on in another file, since keys ascend in each.
                if is_full {
                    self.finish_file()?;
                }
            }
        }
        self.finish_file()
    }

    /// Whether writing the rows that nobody uses makes enough room.
    fn cold_rows_are_many(&self) -> bool {
        // Looked at in a sample, one shard a group.
        let (mut cold, mut dirty) = (Vec::new(), 0);
        for cache in self.engine.groups().iter().filter_map(|group| group.cache()) {
            dirty += cache.dirty_in(0);
            if cache.lock(0).dirty_keys(true, &mut cold).is_err() {
                return false;
            }
        }
        cold.len() * 4 >= dirty
    }

    /// Adds rows of one group to the current file.
    fn add(&mut self, cache: &Arc<GroupCache>, group: u16, mut keys: Vec<i64>) -> Result<()> {
        keys.sort_unstable();
        if self.file.is_none() {
            let path = self.engine.incoming.make()?;
            match self.rocks.begin_sst(&path) {
                Ok(writer) => self.file = Some((path, writer)),
                Err(error) => {
                    self.engine.incoming.discard(path);
                    return Err(error);
                }
            }
            self.began = Instant::now();
        }
        let bytes = keys.len() * (4 * cache.row_len() + 32);
        self.bytes += bytes;
        self.engine.writer.note_writing(bytes);
        self.pending.push(Pending { cache: Arc::clone(cache), keys });
        let keeps_tombstones = self.engine.keeps_tombstones();
        let (Some((_, writer)), Some(pending)) = (&mut self.file, self.pending.last()) else {
            return Err(Error::bug("a write-back round has no file for its rows"));
        };
        for (index, &key) in pending.keys.iter().enumerate() {
            if index % 1024 == 0 && is_ending() {
                return Err(Error::new(
                    Status::Exiting,
                    "the process is ending, and nothing is written any more",
                ));
            }
            let hash = hash(key);
            let encoded = {
                let mut shard = cache.lock_for(hash);
                encode(&mut shard, (hash, key), self.scope, keeps_tombstones, &mut self.value)?
            };
            let key = key::encode(group, key);
            match encoded {
                Encoded::Nothing => continue,
                Encoded::Row => writer.put(key, &self.value)?,
                Encoded::Deletion => writer.delete(key)?,
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// Makes the current file part of the table; its rows may be evicted from then on.
    fn finish_file(&mut self) -> Result<()> {
        let Some((path, writer)) = self.file.take() else { return Ok(()) };
        let incoming = &self.engine.incoming;
        if self.rows == 0 {
            drop(writer);
            incoming.discard(path);
        } else if let Err(error) = writer.finish() {
            incoming.discard(path);
            return Err(error);
        } else if let Err(error) = self.rocks.ingest(&path) {
            incoming.keep(path);
            return Err(error);
        } else {
            incoming.is_taken(path);
        }
        self.engine.budget.lend(self.rocks.metadata_bytes()?);
        self.engine.counters.rows_written.fetch_add(self.rows as u64, Ordering::Relaxed);
        let rows = std::mem::take(&mut self.rows);
        self.end_writes(true);
        self.engine.writer.file_is_done(rows, self.began.elapsed());
        Ok(())
    }

    fn end_writes(&mut self, written: bool) {
        for Pending { cache, keys } in self.pending.drain(..) {
            for key in keys {
                let hash = hash(key);
                cache.lock_for(hash).end_write(hash, key, written);
            }
        }
        self.engine.writer.note_written(std::mem::take(&mut self.bytes));
    }

    /// Steps, and up to which call, and which time, everything is on disk; then the journal up to there can go.
    pub(in crate::engine) fn write_documents(
        &self,
        moment: Option<(u64, u64)>,
        steps: &[(u16, i64)],
    ) -> Result<()> {
        let mut batch = Batch::default();
        for (group, step) in steps {
            batch.put_meta(of_group(STEP, *group), step.to_le_bytes().to_vec());
        }
        self.rocks.note_last(self.engine.last_number());
        // None while the calls of another process are made again: its journal is still needed, and
        // so is what is on record of it.
        let Some((through, time)) = moment else { return self.rocks.write(batch) };
        self.rocks.write_unlisted(batch)?;
        let journal = self.engine.journal();
        self.engine.write_journal_document_through(through, journal.is_some())?;
        self.engine.settle(time, through);
        journal.map_or(Ok(()), |journal| journal.drop_through(through))
    }

    /// Waits while merging is far behind, as long as it gets on.
    pub(in crate::engine) fn wait_for_merges(&self) -> Result<()> {
        // There nothing is merged.
        if self.engine.is_read_only() {
            return Ok(());
        }
        let stuck_at = &self.engine.writer.merging_stuck_at;
        let (mut fewest, mut since) = (u64::MAX, Instant::now());
        while !is_ending() {
            let files = self.rocks.unmerged_files()?;
            if files <= MAX_UNMERGED_FILES {
                stuck_at.store(u64::MAX, Ordering::Relaxed);
                break;
            }
            if files < fewest {
                (fewest, since) = (files, Instant::now());
            }
            // Merging may be impossible: a full disk, a damaged table. Then slow misses are better than no answer. That it
            // did not get on is remembered, so that not every round waits.
            if files >= stuck_at.load(Ordering::Relaxed) {
                break;
            }
            if since.elapsed() > MERGE_PATIENCE {
                stuck_at.store(files, Ordering::Relaxed);
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// What became of a row on its way into a file.
enum Encoded {
    Row,
    Deletion,
    /// It is on disk already.
    Nothing,
}

/// Takes a row, whose shard is locked, for the file.
fn encode(
    shard: &mut Shard,
    (hash, key): (u64, i64),
    scope: Scope,
    keeps_tombstones: bool,
    value: &mut Vec<u8>,
) -> Result<Encoded> {
    let row = match scope {
        Scope::Cut => shard.begin_cut_write(hash, key)?,
        _ => shard.begin_write(hash, key).map(|(slot, floats)| CutRow::InPlace(slot, floats)),
    };
    let (absent, header, floats) = match &row {
        None => return Ok(Encoded::Nothing),
        Some(CutRow::InPlace(slot, floats)) => {
            let (update_time, update_num, journal) = (slot.time(), slot.updates, slot.journal());
            (slot.has(ABSENT), RowHeader { update_time, update_num, journal }, *floats)
        }
        Some(CutRow::Kept(Kept { absent, time, updates, journal, floats })) => {
            let header = RowHeader { update_time: *time, update_num: *updates, journal: *journal };
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
    row::encode_deleted(value, header.update_time, header.journal);
    Ok(Encoded::Row)
}

impl Drop for Round<'_> {
    /// After a failure: rows that are in no file of the table are dirty as before.
    fn drop(&mut self) {
        self.end_writes(false);
        if let Some((path, writer)) = self.file.take() {
            drop(writer);
            self.engine.incoming.discard(path);
        }
    }
}
