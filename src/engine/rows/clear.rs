//! Clear: removes all rows of the group at once.

use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::{CallKind, Head, Payload};
use crate::seqno::Seqno;

impl OpenGroup {
    /// Removes all rows of the group and sets its global step to 0. Writes as little for many rows
    /// as for few, and gives back the memory that they took. Waits for a write-back round or a cut
    /// that is under way.
    ///
    /// # Errors
    /// `POISONED`, `IO`. Nothing has changed then.
    pub(crate) fn clear(&self, engine: &Engine) -> Result<()> {
        self.clear_from(engine, Origin::Call)
    }

    pub(in crate::engine) fn clear_from(&self, engine: &Engine, source: Origin) -> Result<()> {
        // Waits for a long round here, while other calls on the group can go on.
        drop(engine.rounds.lock());
        let guard = self.group.begin_write()?;
        engine.wait_for_journal()?;
        // Keeps a load from installing an old row, read before, after the clear.
        let _load = self.group.begin_load();
        // Keeps rounds and cuts out: a round would write old rows after the DeleteRange, and a cut
        // would have to keep a copy of every row.
        let _rounds = engine.rounds.lock();
        let seqno = match source {
            Origin::Replay { seqno, .. } => seqno,
            Origin::Call => self.record_clear(engine)?,
        };
        let clearing = self.group.begin_clear(&guard, seqno);
        self.cache.clear(true);
        guard.set_step(0);
        drop(clearing);
        engine.writer.memory_fell(engine.budget.used());
        engine.rows_changed();
        Ok(())
    }

    /// Appends the call to the journal, if there is one. Returns its sequence number.
    fn record_clear(&self, engine: &Engine) -> Result<Seqno> {
        let Some(journal) = engine.journal() else { return engine.next_seqno() };
        let (group, config, time) = (self.group.id(), self.config, engine.now_ms());
        journal.append(
            &Head { kind: CallKind::Clear, group, config, step: 0, time, rate: 0.0 },
            &Payload::new(&[]),
        )
    }
}
