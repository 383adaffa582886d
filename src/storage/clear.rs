//! Clear: a group loses all its rows in one moment, whatever their number.
//!
//! The call takes a number, as every call that changes rows, and forgets what is in memory
//! (`table/clear.rs`). On disk the rows stay until the next round of the writer, which deletes the
//! group's range of keys before it writes any later row. Until then nobody reads them. The group
//! counts as complete in memory, and later rows are not evicted before that round has written them.
//!
//! The document `cleared:NNNNN` has the number of the latest clear whose range is deleted. A replay
//! leaves out the group's calls before it. A clear that the journal has and the document has not is
//! made again: no row that came after it is on disk.

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

/// The number that such a document has.
///
/// # Errors
/// `CORRUPTION`.
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

/// The number in a document; None where it is damaged.
pub(super) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// What is known of a group's clears. On cache lines of its own: every lookup reads it, and the
/// group's step changes all the time.
#[repr(align(128))]
pub(super) struct Clears {
    /// Rises when a clear begins and when it ends, so it is odd meanwhile.
    moments: AtomicU64,
    /// The number of the latest clear; 0 when there was none.
    number: AtomicU64,
    /// The latest clear whose rows are gone on disk, too.
    on_disk: AtomicU64,
}

impl Clears {
    /// Those of a group whose latest clear is on disk.
    pub(super) fn new(number: u64) -> Clears {
        Clears { moments: AtomicU64::new(0), number: AtomicU64::new(number), on_disk: AtomicU64::new(number) }
    }

    /// Begins a clear. The caller holds the group's locks for writing and loading.
    pub(super) fn begin(&self, number: u64) -> Clearing<'_> {
        self.moments.fetch_add(1, Ordering::AcqRel);
        self.number.store(number, Ordering::Release);
        Clearing(self)
    }

    /// The group's rows were replaced by those of another one, as they are on disk.
    pub(super) fn begin_anew(&self, number: u64) {
        self.number.store(number, Ordering::Release);
        self.on_disk.store(number, Ordering::Release);
    }

    /// The clear that the disk does not have yet.
    fn pending(&self) -> Option<u64> {
        let number = self.number.load(Ordering::Acquire);
        (self.on_disk.load(Ordering::Acquire) != number).then_some(number)
    }
}

/// A clear under way.
pub(super) struct Clearing<'a>(&'a Clears);

impl Drop for Clearing<'_> {
    fn drop(&mut self) {
        self.0.moments.fetch_add(1, Ordering::AcqRel);
    }
}

impl Group {
    /// The number of the latest clear: every row has this number, or a larger one.
    pub(super) fn cleared(&self) -> u64 {
        self.clears.number.load(Ordering::Acquire)
    }

    /// Does `read` wholly before or wholly after each clear: once more if one came in between.
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
            // Whoever has seen a part of the group after a clear, under that part's lock, sees this
            // change.
            if self.clears.moments.load(Ordering::Acquire) == began {
                return outcome;
            }
        }
    }
}

impl Core {
    /// Deletes on disk what clears have taken from groups. To be called at the start of a round,
    /// before it writes rows: all rows of these groups on disk are older than the clears.
    ///
    /// # Errors
    /// `IO`. The rows are still not seen, and the next round tries again.
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
            // As at the clear: later steps come with the journal's calls, or the next documents.
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

    /// Refuses an increment to a dump of one group, or of all, if a group was cleared after that
    /// dump.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub(super) fn check_not_cleared_since(&self, since: u64, group: Option<u16>) -> Result<()> {
        let groups = self.groups();
        let mut dumped = groups.iter().filter(|known| group.is_none_or(|id| id == known.id()));
        match dumped.find(|known| known.cleared() > since) {
            None => Ok(()),
            Some(known) => Err(Error::new(
                Status::NotFound,
                format!(
                    "since is {since}, and group {} was cleared by the later call {}: which of its keys are gone is not \
                     known; make a full dump, without since",
                    known.id(),
                    known.cleared()
                ),
            )),
        }
    }
}
