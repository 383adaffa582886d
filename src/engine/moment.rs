//! The moment at which a call sees the rows.

use std::sync::atomic::Ordering;

use super::expiry::Expiry;
use crate::seqno::{AtomicSeqno, Seqno};

/// The time at which a call sees the rows; those that expired before it are absent.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// Rows last updated before this have expired.
    pub(crate) cutoff: u64,
    /// The sequence number of the latest cut, which may rise during the call.
    pub(crate) cut_seqno: &'a AtomicSeqno,
    pub(crate) expiry: &'a Expiry,
}

impl Moment<'_> {
    /// The sequence number for a row that is made now. Ask with the row's shard locked: a row that
    /// is made after a cut has passed the shard is then not older than the cut.
    pub(crate) fn seqno(&self) -> Seqno {
        self.cut_seqno.load(Ordering::Acquire)
    }
}
