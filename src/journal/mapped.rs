//! What a mapped segment has beyond others: the mapping, its room, and the calls under way.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::entry::MAPPED_HEADER_LEN;
use super::mapping::Mapping;
use super::room::LEAST;
use crate::error::Error;
use crate::seqno::Seqno;

/// A segment is closed beyond this many bytes: small enough to be deleted soon, large enough for
/// few files.
pub(super) const SEGMENT_BYTES: u64 = 128 << 20;
/// Entries up to this length are always copied into the mapping. A longer one is copied if the file
/// has pages there, and its caller's helpers share the copy. Otherwise it is written into the file:
/// a write costs less than making so many pages writable.
pub(super) const ALWAYS_COPIED: usize = 32 << 10;
/// The length of the mapping. Behind the last byte at which an entry can begin there is room for
/// any entry that is always copied, and for most longer ones.
const MAPPED_BYTES: usize = SEGMENT_BYTES as usize + (16 << 20);

/// What a mapped segment has beyond others.
pub(super) struct Mapped {
    pub(super) map: Arc<Mapping>,
    pub(super) first: Seqno,
    /// Where the next entry goes: behind the content and the calls under way.
    pub(super) reserved: u64,
    /// The bytes that have room on the disk.
    pub(super) ready: u64,
    /// The bytes that have pages, as far as is known.
    pub(super) filled: u64,
    /// When the segment began.
    pub(super) began: Instant,
    /// Whether the next segment's file was made ahead, or is not to be.
    pub(super) next_is_settled: bool,
    /// The end of the last entry that was copied, and not written.
    pub(super) copied_to: u64,
    /// Pages up to here were made writable, from here on not yet.
    pub(super) populated: u64,
    /// Pages up to here are out of memory.
    pub(super) forgotten: u64,
    /// The calls under way, in order.
    pub(super) flights: VecDeque<Flight>,
    /// The first call under way that could not be written, and why. It and all calls behind it
    /// fail.
    pub(super) failure: Option<(Seqno, Error)>,
    /// How many of these calls know it.
    pub(super) told: usize,
}

/// A call that has reserved its bytes and is not published yet.
pub(super) struct Flight {
    pub(super) seqno: Seqno,
    /// Where its entries begin: those of configurations, and its own.
    pub(super) begins: (Vec<u64>, u64),
    pub(super) end: u64,
    pub(super) is_written: bool,
}

impl Mapped {
    /// # Errors
    /// The system's error when the file cannot be mapped.
    pub(super) fn new(file: &File, first: Seqno, ready: u64, filled: u64) -> io::Result<Mapped> {
        let map = Mapping::new(file, MAPPED_BYTES)?;
        map.set_ready(ready);
        Ok(Mapped {
            map: Arc::new(map),
            first,
            reserved: MAPPED_HEADER_LEN as u64,
            ready,
            filled,
            began: Instant::now(),
            next_is_settled: false,
            copied_to: 0,
            populated: 0,
            // The header's page is in use for good.
            forgotten: LEAST,
            flights: VecDeque::new(),
            failure: None,
            told: 0,
        })
    }

    /// Whether no call is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.flights.is_empty()
    }
}
