//! Clear: removes all rows of the group at once.

use super::{Source, Table};
use crate::error::Result;
use crate::journal::{Head, Kind};
use crate::storage::Core;

impl Table {
    /// Removes all rows of the group and sets its global step to 0. Writes as little for many rows
    /// as for few, and gives back the memory that they took. Waits for a write-back round or a cut
    /// that is under way.
    ///
    /// # Errors
    /// `POISONED`, `IO`. Nothing has changed then.
    pub fn clear(&self, core: &Core) -> Result<()> {
        self.clear_from(core, Source::Call)
    }

    pub(in crate::storage) fn clear_from(&self, core: &Core, source: Source) -> Result<()> {
        // What takes long is waited for here, where no call on the group has to wait, too.
        drop(core.rounds.lock());
        let guard = self.group.begin_write()?;
        core.writer.wait_for_journal(core)?;
        // So that no load that has read an old row installs it afterwards.
        let _load = self.group.begin_load();
        // So that no round and no cut is under way: a round would write old rows after the
        // DeleteRange, and a cut would have to keep a copy of every row.
        let _rounds = core.rounds.lock();
        let number = match source {
            Source::Replay { number, .. } => number,
            Source::Call => self.record_clear(core)?,
        };
        let clearing = self.group.begin_clear(&guard, number);
        self.cache.clear(true);
        guard.set_step(0);
        drop(clearing);
        core.writer.memory_fell(core);
        core.writer.rows_changed();
        Ok(())
    }

    /// Appends the call to the journal, if there is one. Returns the call's number.
    fn record_clear(&self, core: &Core) -> Result<u64> {
        let Some(journal) = core.journal() else { return core.next_number() };
        let (group, config, time) = (self.group.id(), self.config, core.now_ms());
        journal.append(&Head { kind: Kind::Clear, group, config, step: 0, time, rate: 0.0 }, &[])
    }
}
