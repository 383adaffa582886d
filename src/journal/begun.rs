//! A call that has begun: its bytes in a mapped segment are reserved. Long ones are copied without
//! a lock.

use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use super::entry::{ConfigEntry, ENTRY_HEADER_LEN, Head};
use super::mapping::Mapping;
use super::payload::Payload;
use super::shared::Shared;
use super::write::write_all_at;
use crate::error::Result;
use crate::kill_points::{Point, pass};
use crate::seqno::Seqno;

/// A call's entries, whose bytes are reserved.
pub(super) struct Entries<'a> {
    /// Those of configurations that this segment does not have yet.
    pub(super) configs: Vec<ConfigEntry>,
    /// Room for where each of these begins.
    pub(super) begins: Vec<u64>,
    pub(super) head: [u8; ENTRY_HEADER_LEN],
    pub(super) payload: &'a Payload<'a>,
    pub(super) seqno: Seqno,
    pub(super) at: u64,
    pub(super) len: u64,
    pub(super) way: Transfer,
}

/// How the bytes of a call's entries get into a mapped segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// The caller copies them into the mapping.
    Copied,
    /// The caller and its helpers copy them into the mapping.
    CopiedByMany,
    /// The caller writes them into the file. One write of many pages costs less than making the
    /// pages writable one by one.
    Written,
}

impl Entries<'_> {
    pub(super) fn copy(&self, map: &Mapping) {
        let mut at = self.at;
        let mut put = |bytes: &[u8]| {
            pass(Point::PieceIsNext);
            map.copy(at, bytes);
            at += bytes.len() as u64;
        };
        for (_, head, description) in &self.configs {
            put(head);
            put(description);
        }
        put(&self.head);
        match self.way {
            Transfer::CopiedByMany => {
                self.payload.each_run(|from, bytes| {
                    pass(Point::PieceIsNext);
                    map.copy(at + from, bytes);
                });
            }
            Transfer::Copied | Transfer::Written => {
                self.payload.pieces().for_each(put);
            }
        }
    }

    /// Writes them into the file. The mapping shows what was written.
    fn write(&self, file: &File) -> io::Result<()> {
        let mut pieces = Vec::new();
        let count = 2 * self.configs.len() + self.payload.count() + 2;
        pieces.try_reserve_exact(count).map_err(|_| io::ErrorKind::OutOfMemory)?;
        for (_, head, description) in &self.configs {
            pieces.extend([IoSlice::new(head), IoSlice::new(description)]);
        }
        pieces.push(IoSlice::new(&self.head));
        pieces.extend(self.payload.pieces().map(IoSlice::new));
        pass(Point::EntryIsNext);
        write_all_at(file, &mut pieces, self.at)?;
        pass(Point::EntryWritten);
        Ok(())
    }

    /// Where the entries of the configurations and the call's own begin.
    pub(super) fn begins(&mut self) -> (Vec<u64>, u64) {
        let (mut at, mut of_configs) = (self.at, std::mem::take(&mut self.begins));
        for (_, head, description) in &self.configs {
            of_configs.push(at);
            at += (head.len() + description.len()) as u64;
        }
        (of_configs, at)
    }
}

/// What a call does as it gets its sequence number.
pub(crate) trait InOrder {
    /// Completes the call's head. Called with the journal locked, so in the order of the numbers.
    ///
    /// # Errors
    /// What keeps the call from being made. It gets no number.
    fn complete(&self, head: &Head) -> Result<Head>;

    /// Undoes that after the call has failed, in any order with other calls that fail. After a
    /// failed fsync the journal is not locked, and may have the call. No call is appended before
    /// all have done it.
    fn take_back(&self);
}

/// A call whose head is complete.
pub(crate) struct Complete;

impl InOrder for Complete {
    fn complete(&self, head: &Head) -> Result<Head> {
        Ok(*head)
    }

    fn take_back(&self) {}
}

/// A call that has its sequence number and its place in the journal.
///
/// Calls that begin later are published later. So whoever begins a call finishes it soon.
pub(crate) struct Begun<'a> {
    pub(super) journal: &'a Shared,
    pub(super) seqno: Seqno,
    /// None once the call is in the journal, or has been taken back.
    pub(super) left: Option<Left<'a>>,
}

/// What is left to be done for a call.
pub(super) struct Left<'a> {
    pub(super) entries: Entries<'a>,
    pub(super) map: Arc<Mapping>,
    pub(super) file: Arc<File>,
    /// The entries were copied when the call began.
    pub(super) is_written: bool,
}

impl<'a> Begun<'a> {
    /// A call that is in the journal already.
    pub(super) fn done(journal: &'a Shared, seqno: Seqno) -> Begun<'a> {
        Begun { journal, seqno, left: None }
    }

    pub(crate) fn seqno(&self) -> Seqno {
        self.seqno
    }

    /// Appends the call, or takes it back.
    ///
    /// # Errors
    /// `IO`. The call is then not in the journal.
    pub(super) fn finish(mut self, order: &dyn InOrder) -> Result<()> {
        let Some(left) = &self.left else { return Ok(()) };
        let outcome = left.put(self.journal);
        self.left = None;
        self.journal.land(self.seqno, outcome, order)
    }
}

impl Left<'_> {
    fn put(&self, _journal: &Shared) -> io::Result<()> {
        if self.is_written {
            return Ok(());
        }
        #[cfg(test)]
        _journal.faults.check_write(self.entries.seqno)?;
        match self.entries.way {
            Transfer::Copied | Transfer::CopiedByMany => {
                self.entries.copy(&self.map);
                Ok(())
            }
            Transfer::Written => self.entries.write(&self.file),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(left) = self.left.take() else { return };
        // A panic. Later calls would wait for this one.
        let outcome = match left.is_written {
            true => Ok(()),
            false => Err(io::Error::other("an earlier call panicked while it was appended")),
        };
        let _ = self.journal.land(self.seqno, outcome, &Complete);
    }
}
