//! Pace: how long reads have lately waited for the disk. Where they hardly wait, few keys are read
//! on the calling thread: waking others would take longer.
//!
//! If a part of a batch takes a short time on the clock, its reads have not waited. If it takes
//! long, they may have waited or not: RocksDB may take 10 us of processor for a row. So once reads
//! take long, the processor time of the reading thread is measured, too. The rest of the time is
//! waiting. That costs two system calls for each part. Quick reads do without.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Reads that wait at most this many nanoseconds each hardly wait for the disk.
const QUICK: u64 = 5_000;
/// A slower part counts as this slow, so that the average soon forgets a single one.
const SLOWEST: u64 = 200_000;
/// The newest part counts for one in this many of the average.
const NEWEST_PART: u64 = 8;

pub(super) struct Pace {
    /// Nanoseconds that a read waits, on average over the latest parts.
    waits: AtomicU64,
    /// The latest part took long, and it is not known whether it waited.
    is_in_doubt: AtomicBool,
}

impl Default for Pace {
    fn default() -> Pace {
        // Slow, until parts were measured.
        Pace { waits: AtomicU64::new(SLOWEST), is_in_doubt: AtomicBool::new(false) }
    }
}

/// When a part began: on the clock, and in processor time of this thread.
pub(super) struct Begin(Option<(Instant, Duration)>);

impl Pace {
    pub(super) fn is_quick(&self) -> bool {
        self.waits.load(Ordering::Relaxed) <= QUICK
    }

    /// Before a part is read, on the thread that reads it.
    pub(super) fn begin(&self) -> Begin {
        let looks = !self.is_quick() || self.is_in_doubt.load(Ordering::Relaxed);
        Begin(looks.then(|| (Instant::now(), processor_time())))
    }

    /// After a part, whose `reads` reads took `took` on the clock together. A part without reads
    /// says nothing about the disk.
    pub(super) fn note(&self, begin: Begin, took: Duration, reads: usize) {
        let waited = match begin.0 {
            _ if reads == 0 => return,
            // It cannot have waited longer than it took.
            _ if is_quick(took, reads) => took,
            None => {
                self.is_in_doubt.store(true, Ordering::Relaxed);
                return;
            }
            Some((began, processor)) => {
                began.elapsed().saturating_sub(processor_time().saturating_sub(processor))
            }
        };
        self.is_in_doubt.store(false, Ordering::Relaxed);
        self.add(waited, reads);
    }

    fn add(&self, waited: Duration, reads: usize) {
        let before = self.waits.load(Ordering::Relaxed);
        let newest = nanoseconds_each(waited, reads).min(SLOWEST);
        self.waits.store(before - before / NEWEST_PART + newest / NEWEST_PART, Ordering::Relaxed);
    }

    /// Makes reads just quick, or just not.
    #[cfg(test)]
    pub(super) fn set(&self, is_quick: bool) {
        self.waits.store(if is_quick { QUICK } else { QUICK + 1 }, Ordering::Relaxed);
    }
}

/// Whether reads took so short a time together that they can hardly have waited for the disk.
pub(super) fn is_quick(took: Duration, reads: usize) -> bool {
    reads == 0 || nanoseconds_each(took, reads) <= QUICK
}

fn nanoseconds_each(took: Duration, reads: usize) -> u64 {
    took.as_nanos() as u64 / reads as u64
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn the_pace_follows_what_reads_wait() {
        let pace = Pace::default();
        let waits = || pace.waits.load(Ordering::Relaxed);
        for _ in 0..60 {
            pace.add(Duration::from_micros(128), 128);
        }
        assert!(pace.is_quick(), "{}", waits());
        pace.add(Duration::from_secs(10), 8);
        assert!((QUICK + 1..SLOWEST / 4).contains(&waits()), "{}", waits());
        for _ in 0..30 {
            pace.note(pace.begin(), Duration::from_micros(16), 8);
            pace.note(pace.begin(), Duration::from_secs(1), 0);
        }
        assert!(pace.is_quick(), "{}", waits());
    }

    /// Reads `reads` rows: computes for a while, or sleeps.
    fn part(pace: &Pace, reads: usize, sleeps: bool) {
        let (begin, began) = (pace.begin(), Instant::now());
        if sleeps {
            sleep(Duration::from_millis(2));
        } else {
            let before = processor_time();
            // Five times what counts as quick, and short enough for a busy machine's time slice.
            while processor_time() - before < Duration::from_nanos(5 * QUICK * reads as u64) {}
        }
        pace.note(begin, began.elapsed(), reads);
    }

    #[test]
    fn reads_that_compute_for_long_are_quick_and_reads_that_sleep_are_not() {
        let pace = Pace::default();
        // A busy machine may take the processor away from some parts.
        let becomes = |is_quick, sleeps| {
            (0..100_000).any(|_| {
                part(&pace, 8, sleeps);
                pace.is_quick() == is_quick
            })
        };
        assert!(becomes(true, false));
        assert!(becomes(false, true));
        assert!(becomes(true, false));
    }
}
