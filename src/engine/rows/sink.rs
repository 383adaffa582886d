//! Sink: who gets the weights that a load has found.

use super::OpenGroup;
use super::load_task::Task;
use super::part::Part;
use crate::engine::pool::Pool;
use crate::error::Result;
use crate::memory::{filled, room_for};

pub(super) enum Sink<'a> {
    Nobody,
    /// A function that is called on the thread of the call, once for each key that has a row, in no
    /// order, with the index of the key and `dim` floats.
    Call(&'a mut dyn FnMut(usize, &[f32])),
    /// All parts of a large lookup, and the index of each key in the part of its shard. Threads of
    /// the call share the parts.
    Parts(&'a mut [Part], &'a [u32]),
}

impl Sink<'_> {
    pub(super) fn wants_weights(&self) -> bool {
        !matches!(self, Sink::Nobody)
    }
}

impl OpenGroup {
    /// Tells which of `count` keys have a row, and hands their weights out. `tasks` are in the
    /// order of their shards.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn collect(
        &self,
        pool: &Pool,
        count: usize,
        tasks: &[Task<'_>],
        sink: Sink<'_>,
    ) -> Result<Vec<bool>> {
        let mut found = filled(false, count)?;
        for task in tasks {
            task.done.iter().for_each(|position| found[*position as usize] = true);
        }
        match sink {
            Sink::Nobody => {}
            Sink::Call(write) => {
                let rows = tasks.iter().flat_map(|task| task.rows(self.dim));
                rows.for_each(|(position, weights)| write(position, weights));
            }
            Sink::Parts(parts, indexes) => {
                let mut work = room_for(parts.len())?;
                for part in parts {
                    debug_assert!(!part.is_of_few(), "a part of a small call has no shards");
                    let shards = part.shards();
                    let first = tasks.partition_point(|task| task.shard < shards.start);
                    let end = tasks.partition_point(|task| task.shard < shards.end);
                    work.push((part, &tasks[first..end]));
                }
                pool.each(count, &mut work, |(part, tasks)| {
                    for (position, weights) in tasks.iter().flat_map(|task| task.rows(self.dim)) {
                        part.set_row(indexes[position] as usize, weights);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(found)
    }
}
