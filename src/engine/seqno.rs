//! Sequence numbers: which one a call gets, which was the last, and up to which all is on disk.

use std::sync::atomic::Ordering;

use super::Engine;
use super::journal_document::JournalDocument;
use crate::error::Result;
use crate::journal::Journal;

/// Numbers that are set aside at a time where no journal counts.
const RESERVED_AT_ONCE: u64 = 1 << 20;

impl Engine {
    /// Ends the present file of the journal. To be called between calls; returns the number of the last one, and the time, before
    /// which all of them were made and after which the next ones will be. None while the storage is being opened.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn end_of_calls(&self) -> Result<Option<(u64, u64)>> {
        let time = self.expiry.now_ms();
        match self.journal() {
            Some(journal) => Ok(Some((journal.rotate()?, time))),
            None if self.is_open.load(Ordering::Acquire) => Ok(Some((self.last_number(), time))),
            None => Ok(None),
        }
    }

    /// Every call before `time`, with numbers up to `number`, is on disk and not needed in the
    /// journal.
    pub(crate) fn settle(&self, time: u64, number: u64) {
        // Without a journal no call is ever made again.
        let (time, number) =
            if self.journal().is_some() { (time, number) } else { (u64::MAX, u64::MAX) };
        self.expiry.set_settled(time, number);
    }

    /// Whether rows that go leave tombstones: for calls that may be made again, or for increments.
    pub(super) fn keeps_tombstones(&self) -> bool {
        let may_replay = self.journal().is_some() || !self.is_open.load(Ordering::Acquire);
        may_replay || self.expiry.keeps_tombstones()
    }

    /// The number of the last call.
    pub(crate) fn last_number(&self) -> u64 {
        self.journal().map_or(self.last_number.load(Ordering::Acquire), Journal::last)
    }

    /// The number of a call that no journal gets. Rows carry it, and it must not be given again after a crash.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn next_number(&self) -> Result<u64> {
        let mut reserved = self.reserved_numbers.lock();
        let number = self.last_number.load(Ordering::Acquire) + 1;
        if number > *reserved {
            let mut record = JournalDocument::read(&*self.rocks()?)?;
            record.reserved = number + RESERVED_AT_ONCE;
            record.time = self.expiry.latest_ms();
            self.write_document(&record)?;
            *reserved = record.reserved;
        }
        self.last_number.store(number, Ordering::Release);
        Ok(number)
    }
}
