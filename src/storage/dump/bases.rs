//! Base dumps: the dumps that an increment may follow. While there is one, rows that are deleted or
//! expire leave tombstones, so that the increment can say that they are gone. How long a dump is
//! remembered bounds how long tombstones stay for it.

use serde::{Deserialize, Serialize};

use crate::engine::expiry::{DAY_MS, Expiry};
use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::rocks::documents::{self, BASE_DUMPS};
use crate::rocks::{Batch, Rocks};
use crate::seqno::Seqno;

/// A dump, and which rows it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::storage) struct Base {
    /// The sequence number of its last call.
    #[serde(rename = "number")]
    pub(in crate::storage) seqno: Seqno,
    /// When it was made, milliseconds since 1970; the earliest time when several dumps share a
    /// sequence number.
    pub(in crate::storage) time: u64,
    /// The latest such time; 0 in documents of earlier releases, which do not have it.
    #[serde(default)]
    pub(in crate::storage) later_time: u64,
    /// Rows last updated before this are not in the dump; the smallest cutoff when several dumps
    /// share a sequence number.
    pub(in crate::storage) cutoff: u64,
    /// The largest such cutoff.
    pub(in crate::storage) later_cutoff: u64,
    /// Its only group, or all.
    pub(in crate::storage) group: Option<u16>,
    /// Rows with fewer updates are not in the dump.
    pub(in crate::storage) min_count: u64,
}

/// The base dumps of a storage.
pub(in crate::storage) struct Bases {
    /// Oldest first.
    list: Mutex<Vec<Base>>,
}

/// So many dumps are remembered, for so long.
const MAX_BASES: usize = 256;
const MAX_AGE_MS: u64 = 30 * DAY_MS;

impl Base {
    /// Merges two dumps with the same sequence number, of which `other` was made later. An
    /// increment has to fit both.
    fn and(self, other: Base) -> Base {
        Base {
            time: self.time.min(other.time),
            later_time: self.later_time.max(self.time).max(other.later_time),
            cutoff: self.cutoff.min(other.cutoff),
            later_cutoff: self.later_cutoff.max(other.later_cutoff),
            ..other
        }
    }

    /// Whether the dump is still young enough to be remembered.
    fn is_remembered(&self, now: u64) -> bool {
        self.time.max(self.later_time).saturating_add(MAX_AGE_MS) >= now
    }
}

impl Bases {
    /// Reads the document. Replayed calls leave tombstones for all of its dumps; [`Bases::begin`]
    /// forgets those that are too old once the storage has its time.
    pub(in crate::storage) fn read(rocks: &Rocks, expiry: &Expiry) -> Result<Bases> {
        let list: Vec<Base> = match rocks.read_meta(BASE_DUMPS)? {
            None => Vec::new(),
            Some(json) => documents::from_json(&json, "the dumps")?,
        };
        tell(&list, expiry);
        Ok(Bases { list: Mutex::new(list) })
    }

    /// The dump that an increment since the sequence number `since` follows.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none with these conditions.
    pub(in crate::storage) fn find(
        &self,
        since: Seqno,
        group: Option<u16>,
        min_count: u64,
    ) -> Result<Base> {
        let same = |base: &&Base| {
            base.seqno == since && base.group == group && base.min_count == min_count
        };
        let list = self.list.lock();
        list.iter().find(same).copied().ok_or_else(|| {
            let latest = list.iter().rev().take(8);
            let numbers: Vec<_> = latest.map(|base| base.seqno.to_string()).collect();
            let known = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
            Error::not_found(format!(
                "since is {since}, and no table dump with the same group and min_count is \
                 remembered by that number (the latest are: {known}; {MAX_BASES} are remembered, \
                 for 30 days, and none from before a checkpoint was loaded); make a full dump, \
                 without since"
            ))
        })
    }

    /// Forgets, when the storage is opened, the dumps that are too old. Writes the shorter list to
    /// disk before merging goes by it: a later opening may have an earlier time, and must not
    /// remember a dump whose tombstones are gone.
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

    /// Remembers a dump, so that increments can follow it.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn remember(
        &self,
        rocks: &Rocks,
        expiry: &Expiry,
        base: Base,
    ) -> Result<()> {
        let mut remembered = self.list.lock();
        let mut list = remembered.clone();
        let same = |other: &Base| {
            (other.seqno, other.group, other.min_count) == (base.seqno, base.group, base.min_count)
        };
        let before = list.iter().position(same).map(|place| list.remove(place));
        list.push(before.map_or(base, |before| before.and(base)));
        list = forget(list, base.time);
        write(rocks, &list)?;
        *remembered = list;
        tell(&remembered, expiry);
        Ok(())
    }

    /// Forgets all dumps: what is stored now did not develop from what they had.
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

/// Tells the expiry the oldest sequence number and time, by which merging keeps tombstones.
fn tell(list: &[Base], expiry: &Expiry) {
    let seqno = list.iter().map(|base| base.seqno).min();
    let time = list.iter().map(|base| base.time).min();
    expiry.set_oldest_base(seqno.zip(time));
}

/// Drops the dumps that are too old, or too many. Those with the latest sequence number stay: the
/// next dump may share it, and an increment that follows either has to fit both.
fn forget(mut list: Vec<Base>, now: u64) -> Vec<Base> {
    let latest = list.iter().map(|base| base.seqno).max();
    let may_go = |base: &Base| Some(base.seqno) != latest;
    list.retain(|base| !may_go(base) || base.is_remembered(now));
    let mut excess = list.len().saturating_sub(MAX_BASES);
    list.retain(|base| {
        let goes = excess > 0 && may_go(base);
        excess -= usize::from(goes);
        !goes
    });
    list
}

fn write(rocks: &Rocks, list: &[Base]) -> Result<()> {
    let json = documents::to_json(list)?;
    let mut batch = Batch::default();
    batch.put_meta(BASE_DUMPS.to_owned(), json);
    rocks.write(batch)
}
