//! Sequence numbers: which was the last, up to which all is on disk, and which one a call gets
//! where there is no journal. Where there is one, the journal gives it.

use std::sync::atomic::Ordering;

use super::Engine;
use super::journal_document::JournalDocument;
use crate::error::Result;
use crate::journal::Journal;
use crate::seqno::Seqno;

/// How many sequence numbers are set aside at a time where no journal counts calls.
const RESERVED_AT_ONCE: u64 = 1 << 20;

impl Engine {
    /// Closes the current journal file; call it between calls. Returns the last call's sequence
    /// number and the time: no call up to that one has a later time, no later call an earlier one.
    /// None while the storage is being opened.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn end_of_calls(&self) -> Result<Option<(Seqno, u64)>> {
        let time = self.expiry.now_ms();
        match self.journal() {
            Some(journal) => Ok(Some((journal.rotate()?, time))),
            None if self.is_open.load(Ordering::Acquire) => Ok(Some((self.last_seqno(), time))),
            None => Ok(None),
        }
    }

    /// Notes that every call before `time`, with sequence numbers up to `seqno`, is on disk and not
    /// needed in the journal.
    pub(crate) fn settle(&self, time: u64, seqno: Seqno) {
        // Without a journal no call is ever replayed.
        let (time, seqno) =
            if self.journal().is_some() { (time, seqno) } else { (u64::MAX, Seqno::MAX) };
        self.expiry.set_settled(time, seqno);
    }

    /// Whether rows that go leave tombstones: for calls that may be replayed, or for increments.
    pub(super) fn keeps_tombstones(&self) -> bool {
        let may_replay = self.journal().is_some() || !self.is_open.load(Ordering::Acquire);
        may_replay || self.expiry.keeps_tombstones()
    }

    /// The last call's sequence number.
    pub(crate) fn last_seqno(&self) -> Seqno {
        self.journal().map_or(self.last_seqno.load(Ordering::Acquire), Journal::last)
    }

    /// Gives a sequence number to a call that goes into no journal. Rows carry it, so no call may
    /// get it again after a crash: numbers are set aside in the document before they are given.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn next_seqno(&self) -> Result<Seqno> {
        let mut reserved = self.reserved_seqnos.lock();
        let seqno = self.last_seqno.load(Ordering::Acquire).next();
        if seqno > *reserved {
            let mut record = JournalDocument::read(&*self.rocks()?)?;
            record.reserved = seqno.saturating_add(RESERVED_AT_ONCE);
            record.time = self.expiry.latest_ms();
            self.write_document(&record)?;
            *reserved = record.reserved;
        }
        self.last_seqno.store(seqno, Ordering::Release);
        Ok(seqno)
    }
}
