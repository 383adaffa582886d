//! Import: rows that come whole, with their state, counts and times.
//!
//! The journal is made for calls, not for whole rows: a batch only takes a sequence number from it.
//! So rows are imported only when a write-back round has brought them to disk. The import waits for
//! that at its end.

use super::OpenGroup;
use super::guards::Loaned;
use super::load::MAX_WAITS;
use crate::cache::{Full, Partition, Shard, hash};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::{CallKind, Head, Payload};
use crate::memory::room_for;
use crate::seqno::Seqno;

/// Rows to be imported into one group.
#[derive(Default)]
pub(crate) struct ImportBatch {
    pub(crate) keys: Vec<i64>,
    pub(crate) update_times: Vec<u64>,
    pub(crate) update_nums: Vec<u64>,
    /// `row_len` floats a key.
    pub(crate) floats: Vec<f32>,
}

/// The work in one shard: the keys, their positions in the batch, and how many are done.
struct Task<'a> {
    shard: usize,
    keys: &'a [i64],
    positions: &'a [u32],
    done: usize,
}

impl OpenGroup {
    /// Replaces what the keys have by the batch's rows. Of a key given twice the last row counts.
    ///
    /// Old rows are not read from disk, since nothing of them stays. Each pass takes a sequence
    /// number under the group's write lock and stamps its rows with it. The row overwrites calls
    /// with smaller numbers, and calls with larger ones see it. So replay does right by every row
    /// on disk: it leaves a row alone that has a call's sequence number or a larger one.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`. Some of the rows may have been imported.
    pub(crate) fn import(&self, engine: &Engine, batch: &ImportBatch) -> Result<()> {
        let partition = Partition::new(&batch.keys, self.cache.shard_count())?;
        let mut tasks = room_for(self.cache.shard_count())?;
        for shard in 0..self.cache.shard_count() {
            let (keys, positions) = partition.shard(shard);
            if !keys.is_empty() {
                tasks.push(Task { shard, keys, positions, done: 0 });
            }
        }
        engine.pace(batch.keys.len());
        let _write = self.group.begin_write()?;
        // Keeps others from bringing a row in between the look for it and its insertion.
        let _load = self.group.begin_load();
        let _loan = Loaned::new(engine);
        let (mut full, mut waits) = (Full::Refuse, 0);
        loop {
            engine.wait_for_journal()?;
            engine.wait_for_kept()?;
            {
                // Held from the sequence number to the last row, as in every change. Waiting for
                // the writer here would never end.
                let _stepping = engine.stepping.read();
                let seqno = self.take_seqno(engine)?;
                engine.pool.each(batch.keys.len(), &mut tasks, |task| {
                    self.import_into(&mut self.cache.lock(task.shard), task, batch, seqno, full)
                })?;
            }
            engine.rows_changed();
            if tasks.iter().all(|task| task.done == task.keys.len()) {
                break;
            }
            waits += u32::from(engine.wait_for_room()?);
            if waits >= MAX_WAITS {
                full = Full::Grow;
            }
        }
        Ok(())
    }

    /// Takes a sequence number of its own, with an entry that leaves the group's step as it is.
    fn take_seqno(&self, engine: &Engine) -> Result<Seqno> {
        let Some(journal) = engine.journal() else { return engine.next_seqno() };
        let (group, config, step) = (self.group.id(), self.config, self.group.step());
        journal.append(
            &Head {
                kind: CallKind::SetStep,
                group,
                config,
                step,
                time: engine.now_ms(),
                rate: 0.0,
            },
            &Payload::new(&[]),
        )
    }

    /// Continues a task as far as the shard has room.
    fn import_into(
        &self,
        shard: &mut Shard,
        task: &mut Task<'_>,
        batch: &ImportBatch,
        seqno: Seqno,
        full: Full,
    ) -> Result<()> {
        for (&key, &position) in task.keys.iter().zip(task.positions).skip(task.done) {
            let hash = hash(key);
            let known = shard.find(hash, key);
            let Some(place) =
                known.map_or_else(|| shard.insert(hash, key, full), |place| Ok(Some(place)))?
            else {
                break;
            };
            let position = position as usize;
            let mut row = shard.hold(place);
            if known.is_some() {
                shard.before_change(&row);
            }
            row.set_updates(batch.update_nums[position]);
            row.stamp(batch.update_times[position], seqno);
            row.floats_mut().copy_from_slice(
                &batch.floats[position * self.row_len..(position + 1) * self.row_len],
            );
            row.set_absent(false);
            shard.mark_dirty(&mut row);
            task.done += 1;
        }
        Ok(())
    }
}
