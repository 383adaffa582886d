//! The moment at which a call looks at rows.

use std::sync::atomic::Ordering;

use super::expiry::Expiry;
use crate::seqno::{AtomicSeqno, Seqno};

/// When a call looks at rows: what has expired by then is not there.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// Milliseconds since 1970.
    pub(crate) now: u64,
    /// Rows that were last updated before this have expired.
    pub(crate) cutoff: u64,
    pub(crate) cut_seqno: &'a AtomicSeqno,
    pub(crate) expiry: &'a Expiry,
}

impl Moment<'_> {
    /// What a row that is made now is numbered with. To be asked with the row's shard locked: what is made after a cut
    /// has passed the shard is then not older than the cut.
    pub(crate) fn seqno(&self) -> Seqno {
        self.cut_seqno.load(Ordering::Acquire)
    }
}
