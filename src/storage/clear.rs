//! Clear: removes all rows of a group at once, on disk with a DeleteRange.
//!
//! The call takes a number, as every call that changes rows does, and empties the cache
//! (`table/clear.rs`). On disk the rows stay until the next write-back round, which writes a
//! DeleteRange of the group's keys before any later row. Until then nobody reads the old rows: the
//! group counts as complete in memory, and later rows stay dirty, so they are not evicted.
//!
//! The document `cleared:NNNNN` has the number of the latest clear whose DeleteRange is on disk. A
//! replay skips the group's calls before that number. A clear that only the journal has is made
//! again: no row that came after it is on disk.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Core;
use super::group::{Group, step_key};
use super::rocks::{Batch, Rocks};
use crate::error::{Error, Result, Status};

const PREFIX: &str = "cleared:";

/// Where the number of a group's latest clear is kept, beside its configuration.
pub(super) fn cleared_key(group: u16) -> String {
    format!("{PREFIX}{group:05}")
}

/// The number of a group's latest clear on disk; 0 if it was never cleared.
///
/// # Errors
/// `IO`; `CORRUPTION` for a damaged document.
pub(super) fn read_cleared(rocks: &Rocks, group: u16) -> Result<u64> {
    match rocks.read_meta(&cleared_key(group))? {
        None => Ok(0),
        Some(bytes) => number_of(&bytes).ok_or_else(|| {
            Error::corruption(format!(
                "the record of group '{group}' is damaged: its last clear is not 8 bytes"
            ))
        }),
    }
}

/// The number in a document `cleared:NNNNN`; None when it is damaged.
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// The clears of a group. On cache lines of its own: every lookup reads it, and the group's step
/// beside it would change all the time.
#[repr(align(128))]
pub(super) struct Clears {
    /// A sequence lock: rises when a clear begins and when it ends, so it is odd during one.
    moments: AtomicU64,
    /// The number of the latest clear; 0 when there was none.
    number: AtomicU64,
    /// The number of the latest clear whose DeleteRange is on disk.
    on_disk: AtomicU64,
}

impl Clears {
    /// For a group that was just opened: its latest clear is on disk.
    pub(super) fn new(number: u64) -> Clears {
        Clears {
            moments: AtomicU64::new(0),
            number: AtomicU64::new(number),
            on_disk: AtomicU64::new(number),
        }
    }

    /// Begins a clear. The caller holds the group's locks for writing and loading.
    pub(super) fn begin(&self, number: u64) -> Clearing<'_> {
        self.moments.fetch_add(1, Ordering::AcqRel);
        self.number.store(number, Ordering::Release);
        Clearing(self)
    }

    /// Notes that the group's rows were replaced by those of a group whose latest clear, with this
    /// number, is on disk.
    pub(super) fn begin_anew(&self, number: u64) {
        self.number.store(number, Ordering::Release);
        self.on_disk.store(number, Ordering::Release);
    }

    /// The number of the latest clear, unless its DeleteRange is on disk.
    fn pending(&self) -> Option<u64> {
        let number = self.number.load(Ordering::Acquire);
        (self.on_disk.load(Ordering::Acquire) != number).then_some(number)
    }
}

/// A clear under way; dropping it ends the clear.
pub(super) struct Clearing<'a>(&'a Clears);

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.0.moments.fetch_add(1, Ordering::AcqRel);
    }
}

impl Group {
    /// The number of the latest clear. Every row has this number or a larger one.
    pub(super) fn cleared(&self) -> u64 {
        self.clears.number.load(Ordering::Acquire)
    }

    /// Calls `read`, and again if a clear came in between, so that the outcome is wholly of before
    /// or wholly of after each clear.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn between_clears<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            let began = self.clears.moments.load(Ordering::Acquire);
            if began % 2 == 1 {
                // A clear holds this lock to its end.
                drop(self.begin_load());
                continue;
            }
            let outcome = read();
            // If read has seen a shard as a clear left it, that shard's lock makes the clear's
            // first increment visible here.
            if self.clears.moments.load(Ordering::Acquire) == began {
                return outcome;
            }
        }
    }
}

impl Core {
    /// Writes the DeleteRanges of clears that the disk does not have yet. To be called at the start
    /// of a round or a cut, before rows are written: until then all rows of these groups on disk
    /// are older than the clears.
    ///
    /// # Errors
    /// `IO`. Nobody reads the old rows even then, and the next round tries again.
    pub(super) fn write_clears(&self, rocks: &Rocks) -> Result<()> {
        let groups = self.groups();
        let mut pending = Vec::new();
        for group in groups.iter().filter(|group| !group.is_poisoned()) {
            pending.extend(group.clears.pending().map(|number| (group, number)));
        }
        if pending.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        for (group, number) in &pending {
            batch.put_meta(cleared_key(group.id()), number.to_le_bytes().to_vec());
            // The step at the clear. A later one comes with the journal's calls or the next round.
            batch.put_meta(step_key(group.id()), 0i64.to_le_bytes().to_vec());
            batch.delete_rows(group.id());
        }
        rocks.note_last(self.last_number());
        rocks.write(batch)?;
        // First, since what comes next needs room.
        pending.iter().for_each(|(group, _)| rocks.drop_files_of(group.id()));
        // RocksDB would flush the rows' memtable itself when it takes over the next file, and nobody
        // would have looked for room. It would begin a log each time, too, and the documents in the
        // other memtable would keep them all.
        rocks.flush()?;
        for (group, number) in pending {
            group.clears.on_disk.store(number, Ordering::Release);
        }
        Ok(())
    }

    /// Refuses an increment to the dump with the number `since`, of `group` or of all groups.
    ///
    /// # Errors
    /// `NOT_FOUND` if one of these groups was cleared after that dump.
    pub(super) fn check_not_cleared_since(&self, since: u64, group: Option<u16>) -> Result<()> {
        let groups = self.groups();
        let mut dumped = groups.iter().filter(|known| group.is_none_or(|id| id == known.id()));
        match dumped.find(|known| known.cleared() > since) {
            None => Ok(()),
            Some(known) => Err(Error::new(
                Status::NotFound,
                format!(
                    "since is {since}, and group {} was cleared by the later call {}: which of its \
                     keys are gone is not known; make a full dump, without since",
                    known.id(),
                    known.cleared()
                ),
            )),
        }
    }
}
