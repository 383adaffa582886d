//! A write-back round: brings changed rows to disk, as SST files that several threads write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use super::row_file::RowFile;
use super::shares::{Share, Shares};
use super::signal::Scope;
use crate::cache::MAX_USES;
use crate::engine::Engine;
use crate::engine::clients::{self, Unsaved};
use crate::engine::counters::add_time;
use crate::engine::group::Group;
use crate::error::{Error, Result};
use crate::file_size_limit::block;
use crate::limits::MAX_WORK_THREADS;
use crate::locks::Mutex;
use crate::memory::check_headroom;
use crate::process::is_ending;
use crate::rocks::documents::{STEP, of_group};
use crate::rocks::{Batch, Rocks};
use crate::seqno::Seqno;
use crate::threads;

/// The writer waits when more files than this are unmerged: each makes misses slower. It is twice
/// the number of runs from which RocksDB merges in any case (rocks/options.rs).
const MAX_UNMERGED_FILES: u64 = 80;
/// One part in this many of the changed rows, written, makes enough room.
const ENOUGH_PART: usize = 4;
/// How long the number of unmerged files may stay the same before the writer goes on.
const MERGE_PATIENCE: Duration = Duration::from_secs(5);
/// A round that nobody waits for has one thread for this many of the storage's `threads`, and
/// leaves the other cores to callers. But it has two threads at least, if the storage has as many:
/// callers pause while the round is behind, and leave a core idle then.
const QUIET_PART: usize = 4;
const LEAST_QUIET: usize = 2;

/// The threads of a round: the storage's, or a part of them if nobody waits for it.
pub(in crate::engine) fn threads_for(engine: &Engine, is_waited_for: bool) -> usize {
    let all = engine.options.threads;
    let quiet = (all / QUIET_PART).max(LEAST_QUIET);
    let wanted = if is_waited_for { all } else { quiet.min(all) };
    wanted.clamp(1, MAX_WORK_THREADS)
}

/// What the documents of a group are to say, as of the moment of a round or a cut.
pub(in crate::engine) struct Described {
    group: Arc<Group>,
    step: i64,
    clients: Vec<Unsaved>,
}

impl Engine {
    /// What the groups' documents are to say. Call it between calls: a step that is read at another
    /// time may be that of a call that is not in the journal yet.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(in crate::engine) fn describe_groups(&self) -> Result<Vec<Described>> {
        let now = self.now_ms();
        let describe = |group: Arc<Group>| {
            let (step, clients) = (group.step(), group.clients.unsaved(now)?);
            Ok(Described { group, step, clients })
        };
        self.groups().into_iter().map(describe).collect()
    }
}

pub(in crate::engine) struct Round<'a> {
    engine: &'a Engine,
    rocks: &'a Rocks,
    scope: Scope,
    threads: usize,
}

impl<'a> Round<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        rocks: &'a Rocks,
        scope: Scope,
        threads: usize,
    ) -> Round<'a> {
        Round { engine, rocks, scope, threads }
    }

    /// Writes the rows of the scope. After a round of `All`, every change of every call that had
    /// returned before is on disk, and the journal's part with these calls is gone.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `EXITING`. Rows that were not written are still dirty.
    pub(crate) fn run(self) -> Result<()> {
        self.engine.write_clears(self.rocks)?;
        let (moment, described) = {
            // Calls in the closed part of the journal may still be changing rows; this waits for
            // them. Later calls are in the next part.
            let _between_calls = self.engine.stepping.write();
            match self.scope == Scope::All {
                false => (None, Vec::new()),
                true => {
                    let described = self.engine.describe_groups()?;
                    (self.engine.end_of_calls()?, described)
                }
            }
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
        self.write_documents(moment, &described)
    }

    /// Writes the rows of the scope.
    ///
    /// # Errors
    /// As [`Round::run`].
    pub(crate) fn write_rows(&self) -> Result<()> {
        let uses = if self.scope == Scope::Cold { self.fewest_uses() } else { MAX_USES };
        let mut threads = self.threads;
        while threads > 1 && check_headroom(threads).is_err() {
            threads /= 2;
        }
        let shares = Shares::new(self.engine, threads, uses)?;
        let running = AtomicU32::new(1);
        let failure = Mutex::new(None);
        let work = || {
            let outcome = threads::catch("the writer", || {
                loop {
                    let has_failed = failure.lock().is_some();
                    let Some(shares) = shares.next().filter(|_| !has_failed) else { return Ok(()) };
                    self.write_file(&shares, uses, &running, &failure)?;
                }
            });
            if let Err(error) = outcome {
                failure.lock().get_or_insert(error);
            }
            running.fetch_sub(1, Ordering::Relaxed);
        };
        thread::scope(|scope| {
            let _writes_that_return = block();
            for number in 1..threads.min(shares.files()) {
                let builder = Builder::new().name(format!("damo-writer-{number}"));
                running.fetch_add(1, Ordering::Relaxed);
                // Where no thread can be made, those that there are write all files.
                if builder.spawn_scoped(scope, work).is_err() {
                    running.fetch_sub(1, Ordering::Relaxed);
                }
            }
            work();
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// Writes one file. `running` counts the threads that write files. `failure` has the round's
    /// first error. It is locked while RocksDB takes a file over: after it has refused one it gets
    /// no other, since the MANIFEST may already name the refused file.
    fn write_file(
        &self,
        shares: &[Share],
        uses: u8,
        running: &AtomicU32,
        failure: &Mutex<Option<Error>>,
    ) -> Result<()> {
        let (began, threads_then) = (Instant::now(), running.load(Ordering::Relaxed));
        let mut file = RowFile::new(self.engine, self.rocks, self.scope);
        shares.iter().try_for_each(|share| file.add(share, uses))?;
        file.end()?;
        {
            let mut failure = failure.lock();
            if failure.is_some() || file.is_empty() {
                return Ok(());
            }
            file.hand_over().inspect_err(|error| *failure = Some(error.clone()))?;
        }
        let threads = threads_then.max(running.load(Ordering::Relaxed)).max(1);
        self.engine.writer.file_is_done(file.release(), began.elapsed() / threads);
        Ok(())
    }

    /// Rows with at most so many uses are written: with as few as make enough room. The others stay
    /// in memory anyway, and most of them will have changed again when they are evicted.
    fn fewest_uses(&self) -> u8 {
        // A sample decides: one shard a group. What counts is memory.
        let mut bytes = [0; MAX_USES as usize + 1];
        for group in self.engine.groups().iter().filter(|group| !group.is_poisoned()) {
            let Some(cache) = group.cache() else { continue };
            let of_row = 4 * cache.row_len() + 32;
            let rows = cache.read(0).dirty_by_uses();
            bytes.iter_mut().zip(rows).for_each(|(bytes, rows)| *bytes += rows * of_row);
        }
        // Where the sample is empty, all rows are written.
        let enough = bytes.iter().sum::<usize>().div_ceil(ENOUGH_PART).max(1);
        let mut seen = 0;
        let with = |bytes: &usize| {
            seen += bytes;
            seen >= enough
        };
        bytes.iter().position(with).map_or(MAX_USES, |uses| uses as u8)
    }

    /// Writes the documents: the steps and clients, the sequence number up to which everything is
    /// on disk, and its time. Drops the journal up to there.
    pub(in crate::engine) fn write_documents(
        &self,
        moment: Option<(Seqno, u64)>,
        described: &[Described],
    ) -> Result<()> {
        let mut batch = Batch::default();
        for Described { group, step, clients } in described {
            batch.put_meta(of_group(STEP, group.id()), step.to_le_bytes().to_vec());
            clients::put(&mut batch, group.id(), clients);
        }
        let set_saved = || described.iter().for_each(|of| of.group.clients.set_saved(&of.clients));
        self.rocks.note_last(self.engine.last_seqno());
        // During replay there is no moment: the old journal is still needed, and its document must
        // stay.
        let Some((through, time)) = moment else {
            return self.rocks.write(batch).inspect(|()| set_saved());
        };
        self.rocks.write_unlisted(batch)?;
        let journal = self.engine.journal();
        self.engine.write_journal_document_through(through, journal.is_some())?;
        set_saved();
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
        let began = Instant::now();
        let (mut fewest, mut since) = (u64::MAX, began);
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
            self.rocks.renew_old_lookups();
        }
        // The round may need the space of what was merged meanwhile.
        if fewest < u64::MAX {
            self.rocks.free_deleted_files();
        }
        add_time(&self.engine.counters.own().writer_waited_us, began);
        Ok(())
    }
}
