//! The document `journal`: up to which call all rows are on disk, and what opening needs to know
//! after a crash.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::error::Result;
use crate::rocks::documents;
use crate::rocks::{Batch, Rocks, boot};
use crate::seqno::Seqno;

/// More calls than can be in a journal that the system has not written yet.
pub(super) const MAX_LOST_CALLS: u64 = 1 << 24;

/// What the document says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalDocument {
    /// Calls up to this one are on disk.
    pub(crate) through: Seqno,
    /// The storage was not closed, so there must be a journal.
    pub(super) active: bool,
    /// The boot id of the system that wrote the journal; empty where it cannot be told.
    pub(crate) boot: String,
    /// Sequence numbers up to this one may have been given to calls.
    #[serde(default)]
    pub(crate) reserved: Seqno,
    /// The TTL of the process whose calls may have to be replayed.
    #[serde(default)]
    pub(crate) ttl_ms: u64,
    /// The latest time that was used, milliseconds since 1970.
    #[serde(default)]
    pub(crate) time: u64,
}

impl JournalDocument {
    /// Whether there must be a journal.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether there is no journal, and calls may have been made after those that are on disk. Of
    /// each of these calls some rows may be on disk.
    pub(crate) fn may_have_parts_of_calls(&self) -> bool {
        !self.active && self.reserved > self.through
    }

    /// Calls up to this one are on disk.
    pub(crate) fn through(&self) -> Seqno {
        self.through
    }

    /// The TTL of the process that made the calls, in milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// The latest time that was used.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// Reads a document's JSON; None when there is none, or it is damaged.
    pub(crate) fn from_document(json: Option<&Vec<u8>>) -> Option<JournalDocument> {
        serde_json::from_slice(json?).ok()
    }

    /// No row has a larger sequence number.
    pub(crate) fn last_possible(&self) -> Seqno {
        let last = self.through.max(self.reserved);
        if self.active { last.saturating_add(MAX_LOST_CALLS) } else { last }
    }

    pub(crate) fn read(rocks: &Rocks) -> Result<JournalDocument> {
        match rocks.read_meta(documents::JOURNAL)? {
            None => Ok(JournalDocument::default()),
            Some(json) => documents::from_json(&json, "the journal"),
        }
    }
}

impl Engine {
    pub(super) fn write_journal_document_through(
        &self,
        through: Seqno,
        active: bool,
    ) -> Result<()> {
        // Held until the document is written, so that the document never goes back.
        let guard = self.reserved_seqnos.lock();
        let (reserved, ttl_ms) = (through.max(*guard), self.expiry.ttl_ms());
        let time = self.expiry.latest_ms();
        let record = JournalDocument { through, active, boot: boot(), reserved, ttl_ms, time };
        self.write_document(&record)
    }

    /// Writes the latest time that was used, for write-back rounds that do not write the document
    /// otherwise. Merging drops rows that have expired by the time in the document, and opening
    /// goes on from that time. So no call has an earlier time and looks for such a row.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn write_time(&self) -> Result<()> {
        if !self.is_open.load(Ordering::Acquire) || !self.expiry.is_record_old() {
            return Ok(());
        }
        let _guard = self.reserved_seqnos.lock();
        let mut record = JournalDocument::read(&*self.rocks()?)?;
        record.time = self.expiry.latest_ms();
        self.write_document(&record)
    }

    pub(super) fn write_document(&self, record: &JournalDocument) -> Result<()> {
        let json = documents::to_json(record)?;
        let mut batch = Batch::default();
        batch.put_meta(documents::JOURNAL.to_owned(), json);
        let rocks = self.rocks()?;
        rocks.note_last(record.reserved.max(self.last_seqno()));
        rocks.write(batch)?;
        rocks.set_time(0);
        self.expiry.set_recorded(record.time);
        Ok(())
    }

    /// Writes that all calls so far are on disk. `active` says that later calls will be in a
    /// journal.
    pub(super) fn write_journal_document(&self, active: bool) -> Result<()> {
        let through = self.last_seqno();
        // Everything is on disk, so no row has a larger sequence number.
        *self.reserved_seqnos.lock() = through;
        self.write_journal_document_through(through, active)
    }
}
