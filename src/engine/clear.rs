//! Clear: removes all rows of a group at once, on disk with a DeleteRange.
//!
//! The call gets a sequence number, as every call that changes rows does, and empties the cache
//! (`rows/clear.rs`). On disk the rows stay until the next write-back round, which writes a
//! DeleteRange of the group's keys before any later row. Until then nobody reads the old rows: the
//! group counts as complete in memory, and later rows stay dirty, so they are not evicted.
//!
//! The document `cleared:NNNNN` has the sequence number of the latest clear whose DeleteRange is on
//! disk. A replay skips the group's calls before that clear. A clear that only the journal has is
//! replayed: no row that came after it is on disk.

use super::Engine;
use crate::error::{Error, Result};
use crate::rocks::documents::{CLEARED, STEP, of_group};
use crate::rocks::{Batch, Rocks};
use crate::seqno::Seqno;

impl Engine {
    /// Writes the DeleteRanges of clears that the disk does not have yet. Call it at the start of a
    /// write-back round or a cut, before rows are written: until then all rows of these groups on
    /// disk are older than the clears.
    ///
    /// # Errors
    /// `IO`. Nobody reads the old rows even then, and the next round tries again.
    pub(super) fn write_clears(&self, rocks: &Rocks) -> Result<()> {
        let groups = self.groups();
        let mut pending = Vec::new();
        for group in groups.iter().filter(|group| !group.is_poisoned()) {
            pending.extend(group.clears.pending().map(|seqno| (group, seqno)));
        }
        if pending.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (group, seqno) in &pending {
            batch.put_meta(of_group(CLEARED, group.id()), seqno.get().to_le_bytes().to_vec());
            // The step at the clear. A later step comes with the journal's calls or the next round.
            batch.put_meta(of_group(STEP, group.id()), 0i64.to_le_bytes().to_vec());
            batch.delete_rows(group.id());
        }
        rocks.note_last(self.last_seqno());
        rocks.write(batch)?;
        // The old files go first, since the flush needs room.
        pending.iter().for_each(|(group, _)| rocks.drop_files_of(group.id()));
        // Otherwise RocksDB would flush the rows' memtable itself when it takes over the next file,
        // and nobody would have checked that there is room. It would also begin a log each time,
        // and the documents in the other memtable would keep all of these logs.
        rocks.flush()?;
        for (group, seqno) in pending {
            group.clears.set_on_disk(seqno);
        }
        Ok(())
    }

    /// Refuses an increment to the base dump `since`, of `group` or of all groups.
    ///
    /// # Errors
    /// `NOT_FOUND` if one of these groups was cleared after the base dump.
    pub(crate) fn check_not_cleared_since(&self, since: Seqno, group: Option<u16>) -> Result<()> {
        let groups = self.groups();
        let mut dumped = groups.iter().filter(|known| group.is_none_or(|id| id == known.id()));
        match dumped.find(|known| known.cleared() > since) {
            None => Ok(()),
            Some(known) => Err(Error::not_found(format!(
                "since is {since}, and group {} was cleared by the later call {}: which of its \
                     keys are gone is not known; make a full dump, without since",
                known.id(),
                known.cleared()
            ))),
        }
    }
}
