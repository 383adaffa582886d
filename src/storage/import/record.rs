//! A record of a file that is imported, and the check whether the import goes on.

use crate::error::{Error, Result, Status};
use crate::process::is_ending;

/// Times in milliseconds are above this, counts of updates are not.
pub(super) const SMALLEST_TIME: i64 = 100_000_000_000;
/// Records between two calls of progress.
pub(super) const REPORT_EVERY: u64 = 4096;

/// A record without its floats, which follow in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRecord {
    /// From 0.
    pub(super) index: u64,
    pub(super) group: i32,
    pub(super) key: i64,
    pub(super) value_group: i32,
    pub(super) value_key: i64,
    /// The update_time and update_num, in the file's order.
    pub(super) pair: (i64, i64),
    pub(super) dim: i32,
    pub(super) floats: u64,
}

/// Refuses to go on if progress returned false for `wanted`, or the process ends.
///
/// # Errors
/// `CANCELLED`, `EXITING`.
pub(super) fn go_on(wanted: bool, imported: u64) -> Result<()> {
    let ended = |status, why: &str| {
        Err(Error::new(
            status,
            format!("{why}; {imported} records were imported, the others were not"),
        ))
    };
    if !wanted {
        return ended(Status::Cancelled, "progress returned false");
    }
    if is_ending() {
        return ended(Status::Exiting, "the process is ending");
    }
    Ok(())
}
