//! The dumps that an increment may follow. While there is one, rows that are deleted or expire
//! leave tombstones, so that the increment can say that they are gone. How long a dump is
//! remembered bounds how long tombstones stay for it.

use serde::{Deserialize, Serialize};

use crate::engine::expiry::{DAY_MS, Expiry};
use crate::error::{Error, Result, Status};
use crate::locks::Mutex;
use crate::rocks::documents::{self, BASE_DUMPS};
use crate::rocks::{Batch, Rocks};

/// A dump, and which rows it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Export {
    /// The last call that it has.
    pub(in crate::storage) number: u64,
    /// When it was made, milliseconds since 1970; the earliest time when several dumps share a
    /// number.
    pub(in crate::storage) time: u64,
    /// The latest such time. Records of older versions have none: 0.
    #[serde(default)]
    pub(in crate::storage) later_time: u64,
    /// Rows last updated before this are not in the dump; the smallest cutoff when several dumps
    /// share a number.
    pub(in crate::storage) cutoff: u64,
    /// The largest such cutoff.
    pub(in crate::storage) later_cutoff: u64,
    /// Its only group, or all.
    pub(in crate::storage) group: Option<u16>,
    /// Rows with fewer updates are not in the dump.
    pub(in crate::storage) min_count: u64,
}

/// The base dumps of a storage.
pub(in crate::storage) struct Exports {
    /// Oldest first.
    list: Mutex<Vec<Export>>,
}

/// How many dumps are remembered, and for how long.
const MAX_EXPORTS: usize = 256;
const MAX_AGE_MS: u64 = 30 * DAY_MS;

impl Export {
    /// Two dumps of the same calls, of which `other` was made later. An increment has to fit both.
    fn and(self, other: Export) -> Export {
        Export {
            time: self.time.min(other.time),
            later_time: self.later_time.max(self.time).max(other.later_time),
            cutoff: self.cutoff.min(other.cutoff),
            later_cutoff: self.later_cutoff.max(other.later_cutoff),
            ..other
        }
    }

    /// Whether it is remembered at a time.
    fn is_remembered(&self, now: u64) -> bool {
        self.time.max(self.later_time).saturating_add(MAX_AGE_MS) >= now
    }
}

impl Exports {
    /// The dumps on record. Calls that are replayed leave tombstones for all of them;
    /// [`Exports::begin`] forgets those that are too old once the storage has its time.
    pub(in crate::storage) fn read(rocks: &Rocks, expiry: &Expiry) -> Result<Exports> {
        let list: Vec<Export> = match rocks.read_meta(BASE_DUMPS)? {
            None => Vec::new(),
            Some(json) => documents::from_json(&json, "the dumps")?,
        };
        tell(&list, expiry);
        Ok(Exports { list: Mutex::new(list) })
    }

    /// The dump that an increment `since` a number follows.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none with these conditions.
    pub(in crate::storage) fn find(
        &self,
        since: u64,
        group: Option<u16>,
        min_count: u64,
    ) -> Result<Export> {
        let same = |export: &&Export| {
            export.number == since && export.group == group && export.min_count == min_count
        };
        let list = self.list.lock();
        list.iter().find(same).copied().ok_or_else(|| {
            let numbers: Vec<_> = list.iter().rev().take(8).map(|export| export.number.to_string()).collect();
            let known = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
            Error::new(
                Status::NotFound,
                format!(
                    "since is {since}, and no table dump with the same group and min_count is remembered by that number \
                     (the latest are: {known}; {MAX_EXPORTS} are remembered, for 30 days, and none from before a \
                     checkpoint was loaded); make a full dump, without since"
                ),
            )
        })
    }

    /// Forgets the dumps that are too old when the storage is opened. The shorter list is on disk
    /// before merging goes by it: a later opening may have an earlier time, and must not remember
    /// a dump whose tombstones are gone.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn begin(&self, rocks: &Rocks, expiry: &Expiry) -> Result<()> {
        let mut remembered = self.list.lock();
        let list = forget(remembered.clone(), expiry.now_unused_ms());
        if list != *remembered {
            write(rocks, &list)?;
            *remembered = list;
        }
        tell(&remembered, expiry);
        Ok(())
    }

    /// Remembers a dump for increments.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn remember(
        &self,
        rocks: &Rocks,
        expiry: &Expiry,
        export: Export,
    ) -> Result<()> {
        let mut remembered = self.list.lock();
        let mut list = remembered.clone();
        let same = |other: &Export| {
            (other.number, other.group, other.min_count)
                == (export.number, export.group, export.min_count)
        };
        let before = list.iter().position(same).map(|place| list.remove(place));
        list.push(before.map_or(export, |before| before.and(export)));
        list = forget(list, export.time);
        write(rocks, &list)?;
        *remembered = list;
        tell(&remembered, expiry);
        Ok(())
    }

    /// Forgets all dumps: what is stored now did not come from what they had.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn forget_all(&self, rocks: &Rocks, expiry: &Expiry) -> Result<()> {
        let mut remembered = self.list.lock();
        write(rocks, &[])?;
        remembered.clear();
        tell(&remembered, expiry);
        Ok(())
    }
}

/// Says which of them is the oldest.
fn tell(list: &[Export], expiry: &Expiry) {
    let number = list.iter().map(|export| export.number).min();
    let time = list.iter().map(|export| export.time).min();
    expiry.set_oldest_export(number.zip(time));
}

/// Leaves out what is too old, or too much. Dumps of the latest number stay: the next dump may
/// share it, and an increment that follows either has to fit both.
fn forget(mut list: Vec<Export>, now: u64) -> Vec<Export> {
    let latest = list.iter().map(|export| export.number).max();
    let may_go = |export: &Export| Some(export.number) != latest;
    list.retain(|export| !may_go(export) || export.is_remembered(now));
    let mut excess = list.len().saturating_sub(MAX_EXPORTS);
    list.retain(|export| {
        let goes = excess > 0 && may_go(export);
        excess -= usize::from(goes);
        !goes
    });
    list
}

fn write(rocks: &Rocks, list: &[Export]) -> Result<()> {
    let json = documents::to_json(list)?;
    let mut batch = Batch::default();
    batch.put_meta(BASE_DUMPS.to_owned(), json);
    rocks.write(batch)
}
