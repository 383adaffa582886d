//! Import: rows that come whole, with their state, counts and times.
//!
//! The journal has calls, and is not made to hold whole rows: a batch only takes a number from it. So rows count as imported
//! once the writer has brought them to disk, which the import waits for at its end.

use super::OpenGroup;
use super::load::MAX_WAITS;
use crate::cache::{Full, Partition, Shard, hash};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::{CallKind, Head};
use crate::memory::room_for;
use crate::seqno::Seqno;

/// Rows of one group, as they are to be.
#[derive(Default)]
pub(crate) struct ImportBatch {
    pub(crate) keys: Vec<i64>,
    pub(crate) update_times: Vec<u64>,
    pub(crate) update_nums: Vec<u64>,
    /// `row_len` floats a key.
    pub(crate) floats: Vec<f32>,
}

/// The work in one shard: the keys, their positions in the batch, and how many of them are done.
struct Task<'a> {
    shard: usize,
    keys: &'a [i64],
    positions: &'a [u32],
    done: usize,
}

impl OpenGroup {
    /// Puts rows in the place of what their keys have. Of a key that is given twice the last row counts.
    ///
    /// What is there is not read from disk, since nothing of it stays. Each round takes a number under the group's write lock
    /// and stamps its rows with it: calls before it are undone by the row, and calls after it will see the row, so that replay, which
    /// leaves a row alone that has the number of a call or a later one, is right about every row that has got to the disk.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`. Some of the rows may be there then.
    pub(crate) fn import(&self, engine: &Engine, batch: &ImportBatch) -> Result<()> {
        let partition = Partition::new(&batch.keys, None, self.cache.shard_count())?;
        let mut tasks = room_for(self.cache.shard_count())?;
        for shard in 0..self.cache.shard_count() {
            let (keys, positions) = partition.shard(shard);
            if !keys.is_empty() {
                tasks.push(Task { shard, keys, positions, done: 0 });
            }
        }
        engine.pace(batch.keys.len());
        let _write = self.group.begin_write()?;
        // Nobody else brings a row in between looking for it and putting it there.
        let _load = self.group.begin_load();
        let (mut full, mut waits) = (Full::Refuse, 0);
        loop {
            engine.wait_for_journal()?;
            engine.wait_for_kept()?;
            {
                // As in every change, from the number to the last row; waiting for the writer here would be for ever.
                let _stepping = engine.stepping.read();
                let seqno = self.take_seqno(engine)?;
                engine.pool.each(batch.keys.len(), &mut tasks, |task| {
                    self.import_into(&mut self.cache.lock(task.shard), task, batch, seqno, full)
                })?;
            }
            engine.writer.rows_changed();
            if tasks.iter().all(|task| task.done == task.keys.len()) {
                break;
            }
            waits += u32::from(engine.wait_for_room()?);
            if waits >= MAX_WAITS {
                full = Full::Grow;
            }
        }
        engine.give_back_excess();
        Ok(())
    }

    /// A sequence number that no other call has: a record that leaves the group's step as it is.
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
            &[],
        )
    }

    /// Goes on with a task as far as the shard has room.
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
            let place = match shard.find(hash, key) {
                Some(place) => {
                    shard.before_change(place);
                    place
                }
                None => match shard.insert(hash, key, full)? {
                    Some(place) => place,
                    None => break,
                },
            };
            let position = position as usize;
            let (slot, row) = shard.both_mut(place);
            slot.updates = batch.update_nums[position];
            slot.stamp(batch.update_times[position], seqno);
            row.copy_from_slice(
                &batch.floats[position * self.row_len..(position + 1) * self.row_len],
            );
            shard.set_absent(place, false);
            shard.mark_dirty(place);
            task.done += 1;
        }
        Ok(())
    }
}
