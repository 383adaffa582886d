//! Points at which `scripts/torture steps` kills the process. A call that changes memory and a
//! mapped file makes no system calls, so those alone would miss most of it.
//!
//! The feature `kill-points` compiles them in, for that program only. Without it they are nothing.

use std::sync::atomic::{AtomicI64, AtomicU32};

/// Whether the points are compiled in.
pub const ARE_COMPILED_IN: bool = cfg!(feature = "kill-points");

/// Where a call is, roughly in the order in which it comes by.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Point {
    /// The order of a group is locked.
    OrderLocked,
    /// A group has its next global step. The journal has nothing of the call.
    StepTaken,
    /// The entry has its place in the journal.
    EntryReserved,
    /// A piece of the entry is about to be copied: a head, a table, some keys or floats.
    PieceIsNext,
    /// The whole entry is copied, and is not part of the journal yet.
    EntryCopied,
    /// The entry is part of the journal.
    EntryPublished,
    /// The entry is about to be written into a file that is not mapped.
    EntryIsNext,
    /// It was written.
    EntryWritten,
    /// The journal is about to be synced.
    SyncIsNext,
    /// It was synced.
    Synced,
    /// The tickets of a group are drawn.
    TicketsDrawn,
    /// A row is about to change.
    RowIsNext,
    /// A row has changed.
    RowChanged,
    /// The next call may change the rows of some shards.
    TurnPassed,
}

const POINTS: [Point; 14] = [
    Point::OrderLocked,
    Point::StepTaken,
    Point::EntryReserved,
    Point::PieceIsNext,
    Point::EntryCopied,
    Point::EntryPublished,
    Point::EntryIsNext,
    Point::EntryWritten,
    Point::SyncIsNext,
    Point::Synced,
    Point::TicketsDrawn,
    Point::RowIsNext,
    Point::RowChanged,
    Point::TurnPassed,
];

/// Counts the points that threads pass. It may be in memory that processes share.
#[derive(Debug)]
pub struct Countdown {
    /// The point that makes this 0 kills the process.
    pub left: AtomicI64,
    /// The number of that point, from 1; 0 if there was none.
    pub at: AtomicU32,
}

/// Points count from now on, until the process ends.
pub fn arm(countdown: &'static Countdown) {
    #[cfg(feature = "kill-points")]
    compiled::arm(countdown);
    #[cfg(not(feature = "kill-points"))]
    let _ = countdown;
}

/// The name of the point with this number.
pub fn name(number: u32) -> String {
    let point = (number as usize).checked_sub(1).and_then(|index| POINTS.get(index));
    point.map_or_else(|| "no point".to_owned(), |point| format!("{point:?}"))
}

/// Passes a point, or ends there.
#[inline(always)]
pub(crate) fn pass(point: Point) {
    #[cfg(feature = "kill-points")]
    compiled::pass(point);
    #[cfg(not(feature = "kill-points"))]
    let _ = point;
}

#[cfg(feature = "kill-points")]
mod compiled {
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    use rustix::process::{Signal, getpid, kill_process};

    use super::{Countdown, Point};

    static ARMED: OnceLock<&'static Countdown> = OnceLock::new();

    pub(super) fn arm(countdown: &'static Countdown) {
        let _ = ARMED.set(countdown);
    }

    pub(super) fn pass(point: Point) {
        let Some(countdown) = ARMED.get() else { return };
        if countdown.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            countdown.at.store(point as u32 + 1, Ordering::SeqCst);
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_their_names() {
        for (index, point) in POINTS.into_iter().enumerate() {
            assert_eq!(point as usize, index);
            assert_eq!(name(index as u32 + 1), format!("{point:?}"));
        }
        assert_eq!([0, POINTS.len() as u32 + 1].map(name), ["no point", "no point"]);
    }
}
