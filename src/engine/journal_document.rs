//! The document `journal`: how far the journal has become rows, and what opening needs to know after
//! a crash.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::error::Result;
use crate::rocks::documents;
use crate::rocks::{Batch, Rocks, boot};

/// More calls than can be in a journal that the system has not written yet.
pub(super) const MAX_LOST_CALLS: u64 = 1 << 24;

/// What the document says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct JournalDocument {
    /// The calls up to this number are on disk.
    pub(crate) through: u64,
    /// There must be a journal: the storage was not closed.
    pub(super) active: bool,
    /// Which start of the system the journal is from, where that can be told.
    pub(crate) boot: String,
    /// Numbers up to this one may have been given.
    #[serde(default)]
    pub(crate) reserved: u64,
    /// The time to live of the process whose calls may have to be made again.
    #[serde(default)]
    pub(crate) ttl_ms: u64,
    /// The latest time that was used, milliseconds since 1970.
    #[serde(default)]
    pub(crate) time: u64,
}

impl JournalDocument {
    /// There must be a journal.
    pub(crate) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether there is no journal, and calls were made that are not on disk for certain: of each
    /// of them some rows may be.
    pub(crate) fn may_have_parts_of_calls(&self) -> bool {
        !self.active && self.reserved > self.through
    }

    /// The calls up to this number are on disk.
    pub(crate) fn through(&self) -> u64 {
        self.through
    }

    /// The time to live of the process that made the calls.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// The latest time that was used.
    pub(crate) fn time(&self) -> u64 {
        self.time
    }

    /// What a document says; None where there is none, or it is damaged.
    pub(crate) fn from_document(json: Option<&Vec<u8>>) -> Option<JournalDocument> {
        serde_json::from_slice(json?).ok()
    }

    /// No row has a larger number.
    pub(crate) fn last_possible(&self) -> u64 {
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
    pub(super) fn write_journal_document_through(&self, through: u64, active: bool) -> Result<()> {
        // Until it is written, so that it never goes backwards.
        let guard = self.reserved_numbers.lock();
        let (reserved, ttl_ms) = (through.max(*guard), self.expiry.ttl_ms());
        let time = self.expiry.latest_ms();
        let record = JournalDocument { through, active, boot: boot(), reserved, ttl_ms, time };
        self.write_document(&record)
    }

    /// Brings the time that was used on record, for rounds that bring nothing else there. Merging
    /// goes by that time, and what it has dropped must not be looked for with an earlier one.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn write_time(&self) -> Result<()> {
        if !self.is_open.load(Ordering::Acquire) || !self.expiry.is_record_old() {
            return Ok(());
        }
        let _guard = self.reserved_numbers.lock();
        let mut record = JournalDocument::read(&*self.rocks()?)?;
        record.time = self.expiry.latest_ms();
        self.write_document(&record)
    }

    pub(super) fn write_document(&self, record: &JournalDocument) -> Result<()> {
        let json = documents::to_json(record)?;
        let mut batch = Batch::default();
        batch.put_meta(documents::JOURNAL.to_owned(), json);
        let rocks = self.rocks()?;
        rocks.note_last(record.reserved.max(self.last_number()));
        rocks.write(batch)?;
        rocks.set_time(0);
        self.expiry.set_recorded(record.time);
        Ok(())
    }

    /// Says that all calls so far are on disk, and whether more are to be expected.
    pub(super) fn write_journal_document(&self, active: bool) -> Result<()> {
        let through = self.last_number();
        // Everything is on disk, so no number beyond it is.
        *self.reserved_numbers.lock() = through;
        self.write_journal_document_through(through, active)
    }
}
