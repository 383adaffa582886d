//! A write-back round: brings changed rows, sorted by key, to disk as SST files.
//!
//! A row is copied with its latch held, for a moment each, so that callers are never in the way for
//! long. While its file is not part of the database yet, the row cannot be evicted. If it
//! changes meanwhile, it is dirty again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::signal::Scope;
use crate::cache::{ABSENT, CutRow, GroupCache, Kept, Place, Shard, hash};
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::error::{Error, Result, Status};
use crate::process::is_ending;
use crate::rocks::documents::{STEP, of_group};
use crate::rocks::key;
use crate::rocks::row::{self, RowHeader};
use crate::rocks::{Batch, Rocks, SstWriter};
use crate::seqno::Seqno;

/// The most rows of a file. Once it is part of the database, its rows can be evicted. Larger files
/// would make callers wait longer for that, smaller ones would be more files to merge. The list of
/// the keys and places takes 8 MiB.
const FILE_ROWS: usize = 512 << 10;
/// How many rows ahead of its use a row is fetched. They lie anywhere in memory.
const AHEAD: usize = 12;
const FLOATS_A_LINE: usize = 16;
/// The writer waits when more files than this are unmerged: each makes misses slower.
const MAX_UNMERGED_FILES: u64 = 40;
/// How long the number of unmerged files may stay the same before the writer goes on.
const MERGE_PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::engine) struct Round<'a> {
    engine: &'a Engine,
    rocks: &'a Rocks,
    scope: Scope,
    /// The rows of the current file, by group.
    pending: Vec<Pending>,
    file: Option<(PathBuf, SstWriter<'a>)>,
    rows: usize,
    /// Bytes of the rows in `pending`.
    bytes: usize,
    began: Instant,
    value: Vec<u8>,
}

/// Rows of one group in the file that is being written.
struct Pending {
    cache: Arc<GroupCache>,
    /// Where the row was when the round began is beside its key.
    keys: Vec<(i64, Place)>,
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

    /// Writes the rows of the scope. After a round of `All`, every change of every call that had
    /// returned before is on disk, and the journal's part with these calls is gone.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `EXITING`. Rows that were not written are still dirty.
    pub(crate) fn run(mut self) -> Result<()> {
        self.engine.write_clears(self.rocks)?;
        let (moment, steps) = {
            // Calls in the closed part of the journal may still be changing rows; this waits for
            // them. Later calls are in the next part.
            let _between_calls = self.engine.stepping.write();
            // A step that is read later may be that of a call that is not in the journal yet.
            let groups = self.engine.groups();
            let steps: Vec<_> = groups.iter().map(|group| (group.id(), group.step())).collect();
            let moment = if self.scope == Scope::All { self.engine.end_of_calls()? } else { None };
            (moment, steps)
        };
        self.wait_for_merges()?;
        self.write_rows()?;
        if self.scope != Scope::All {
            return self.engine.write_time();
        }
        // A poisoned group's rows are not written, and the journal, which has all of its calls, is
        // kept.
        let groups = self.engine.groups();
        groups.iter().try_for_each(|group| group.check_not_poisoned())?;
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
                    self.add(&cache, &group, std::mem::take(&mut keys))?;
                }
                // The group goes on in another file: in each, keys ascend.
                if is_full {
                    self.finish_file()?;
                }
            }
        }
        self.finish_file()
    }

    /// Whether writing the rows that nobody uses makes enough room.
    fn cold_rows_are_many(&self) -> bool {
        // A sample decides: one shard a group.
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
    fn add(
        &mut self,
        cache: &Arc<GroupCache>,
        group: &Group,
        mut keys: Vec<(i64, Place)>,
    ) -> Result<()> {
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
        let lines = cache.row_len().div_ceil(FLOATS_A_LINE);
        for (index, &(key, place)) in pending.keys.iter().enumerate() {
            if index % 1024 == 0 && is_ending() {
                return Err(Error::new(
                    Status::Exiting,
                    "the process is ending, and nothing is written any more",
                ));
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

    /// Ends the current file, and has RocksDB take it over. Its rows may be evicted from then on.
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
        self.engine.counters.own().rows_written.fetch_add(self.rows as u64, Ordering::Relaxed);
        let rows = std::mem::take(&mut self.rows);
        self.end_writes(true);
        self.engine.writer.file_is_done(rows, self.began.elapsed());
        Ok(())
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

    /// Writes the documents: the steps, the sequence number up to which everything is on disk, and
    /// its time. Drops the journal up to there.
    pub(in crate::engine) fn write_documents(
        &self,
        moment: Option<(Seqno, u64)>,
        steps: &[(u16, i64)],
    ) -> Result<()> {
        let mut batch = Batch::default();
        for (group, step) in steps {
            batch.put_meta(of_group(STEP, *group), step.to_le_bytes().to_vec());
        }
        self.rocks.note_last(self.engine.last_seqno());
        // During replay there is no moment: the old journal is still needed, and its document must
        // stay.
        let Some((through, time)) = moment else { return self.rocks.write(batch) };
        self.rocks.write_unlisted(batch)?;
        let journal = self.engine.journal();
        self.engine.write_journal_document_through(through, journal.is_some())?;
        self.engine.settle(time, through);
        journal.map_or(Ok(()), |journal| journal.drop_through(through))
    }

    /// Waits while many files are unmerged, as long as merging makes progress.
    pub(in crate::engine) fn wait_for_merges(&self) -> Result<()> {
        // A likeness is never merged.
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
            // Merging may be impossible: a full disk, a damaged SST file. Slow misses are then
            // better than no answer. The number at which it got stuck is remembered, so that not
            // every round waits.
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

impl Drop for Round<'_> {
    /// After a failure, rows that no finished file has are dirty as before.
    fn drop(&mut self) {
        self.end_writes(false);
        if let Some((path, writer)) = self.file.take() {
            drop(writer);
            self.engine.incoming.discard(path);
        }
    }
}
