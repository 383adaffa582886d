//! Expiry: a row that has not been updated for the time to live is gone, for every call at once; merging gives its space back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::rocks::fate::Fate;
use crate::rocks::row::{self, Stored};

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How old the time on record may become while rows are written.
const RECORD_EVERY_MS: u64 = 60 * 1000;

/// The time, the time to live, and what increments still need to know of rows that are gone.
pub(crate) struct Expiry {
    /// Milliseconds; 0 is for ever.
    ttl_ms: AtomicU64,
    /// What a test has set the clock to; 0 for the system's.
    set_now: AtomicU64,
    /// The latest time that was used. Time never goes back, whatever the clock does: a row that is
    /// gone would be there again, in memory and not on disk.
    latest: AtomicU64,
    /// The latest time that earlier processes used, as far as it is on record.
    restored: AtomicU64,
    /// The time that is on record now. Merging goes by no later one, or a kill could lose the time
    /// by which rows are gone.
    recorded: AtomicU64,
    /// When the scans under way began, and how many at the time.
    scans: Mutex<BTreeMap<u64, usize>>,
    /// The earliest of them; u64::MAX when there is none.
    oldest_scan: AtomicU64,
    expired: AtomicU64,
    /// The number and the time of the oldest dump that an increment may follow; u64::MAX when there is none.
    oldest_number: AtomicU64,
    oldest_time: AtomicU64,
    /// Dumps that are about to be remembered.
    holds: AtomicUsize,
    /// All calls before this time are on disk; u64::MAX where none is ever made again.
    settled: AtomicU64,
    /// No journal has a call with this number, or a smaller one.
    settled_number: AtomicU64,
}

/// While one exists, rows that go leave tombstones, and tombstones stay.
pub(crate) struct TombstoneHold<'a>(&'a Expiry);

impl Drop for TombstoneHold<'_> {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

/// While one exists, merging leaves the rows that were there when it was made.
pub(crate) struct RowHold {
    expiry: Arc<Expiry>,
    time: u64,
}

impl Drop for RowHold {
    fn drop(&mut self) {
        let mut scans = self.expiry.scans.lock();
        if let Some(count) = scans.get_mut(&self.time) {
            *count -= 1;
            if *count == 0 {
                scans.remove(&self.time);
            }
        }
        self.expiry.tell_oldest(&scans);
    }
}

impl Expiry {
    /// # Errors
    /// `INVALID_ARGUMENT` for a time that is negative, or longer than a clock can tell.
    pub(crate) fn new(ttl_seconds: i64) -> Result<Expiry> {
        let expiry = Expiry {
            ttl_ms: AtomicU64::new(0),
            set_now: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            restored: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            scans: Mutex::new(BTreeMap::new()),
            oldest_scan: AtomicU64::new(u64::MAX),
            expired: AtomicU64::new(0),
            oldest_number: AtomicU64::new(u64::MAX),
            oldest_time: AtomicU64::new(u64::MAX),
            holds: AtomicUsize::new(0),
            settled: AtomicU64::new(0),
            settled_number: AtomicU64::new(0),
        };
        let ttl_ms = u64::try_from(ttl_seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
        let ttl_ms = ttl_ms.ok_or_else(|| {
            Error::invalid(format!(
                "ttl_seconds is {ttl_seconds}; 0 (never expire) or a number of seconds up to {} is needed",
                u64::MAX / 1000
            ))
        })?;
        expiry.set_ttl_ms(ttl_ms);
        Ok(expiry)
    }

    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn set_ttl_ms(&self, ttl_ms: u64) {
        self.ttl_ms.store(ttl_ms, Ordering::Relaxed);
    }

    /// Milliseconds since 1970: what the clock says, or the latest time that was used if that is
    /// later.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = self.clock_ms();
        let latest = self.latest.load(Ordering::SeqCst);
        // Most calls find the millisecond there, and do not take the cache line from each other.
        if now <= latest { latest } else { self.latest.fetch_max(now, Ordering::SeqCst).max(now) }
    }

    /// As `now_ms`, but the clock's time does not count as used.
    pub(crate) fn now_unused_ms(&self) -> u64 {
        self.clock_ms().max(self.latest_ms())
    }

    /// What the clock says, at most the largest time that a row can store. A row made later would
    /// be stamped with that, and count as expired.
    fn clock_ms(&self) -> u64 {
        let now = match self.set_now.load(Ordering::Relaxed) {
            0 => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_millis() as u64),
            set => set,
        };
        now.min(row::MAX_TIME)
    }

    /// The latest time that was used.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.latest.load(Ordering::SeqCst)
    }

    /// The latest time that earlier processes used, as far as it is on record.
    pub(crate) fn restored_ms(&self) -> u64 {
        self.restored.load(Ordering::SeqCst)
    }

    /// Whether what is on record is so old that it should be written anew.
    pub(super) fn is_record_old(&self) -> bool {
        self.latest_ms() > self.recorded.load(Ordering::Relaxed).saturating_add(RECORD_EVERY_MS)
    }

    /// Says which time is on record.
    pub(crate) fn set_recorded(&self, time: u64) {
        self.recorded.store(time, Ordering::Release);
    }

    /// Says which time was used before: by an earlier process, or in what is loaded.
    pub(crate) fn restore_time(&self, time: u64) {
        let time = time.min(row::MAX_TIME);
        self.restored.fetch_max(time, Ordering::SeqCst);
        self.latest.fetch_max(time, Ordering::SeqCst);
    }

    /// For tests: what the clock says from now on; 0 for the system's clock. What the system's has
    /// said is forgotten, so that a test's may be earlier.
    pub(crate) fn set_now_ms(&self, now: u64) {
        if self.set_now.swap(now, Ordering::Relaxed) == 0 && now != 0 {
            self.latest.store(self.restored.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// Rows whose last update is before this are gone at the time `now`; 0 when none are.
    pub(super) fn cutoff_at(&self, now: u64) -> u64 {
        match self.ttl_ms() {
            0 => 0,
            ttl_ms => now.saturating_add(1).saturating_sub(ttl_ms),
        }
    }

    /// Rows that were found to be expired and made anew, or dropped in merging.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    pub(super) fn count_expired(&self, rows: u64) {
        if rows > 0 {
            self.expired.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Says which dump is the oldest that an increment may follow.
    pub(crate) fn set_oldest_base(&self, oldest: Option<(u64, u64)>) {
        let (number, time) = oldest.unwrap_or((u64::MAX, u64::MAX));
        self.oldest_number.store(number, Ordering::Relaxed);
        self.oldest_time.store(time, Ordering::Relaxed);
    }

    /// Whether increments need to know of rows that go.
    pub(super) fn keeps_tombstones(&self) -> bool {
        self.oldest_number.load(Ordering::Relaxed) != u64::MAX || self.is_held()
    }

    /// Keeps tombstones for a dump that begins.
    pub(crate) fn hold_tombstones(&self) -> TombstoneHold<'_> {
        self.holds.fetch_add(1, Ordering::AcqRel);
        TombstoneHold(self)
    }

    /// Keeps the rows of now, and of each later moment, for a scan that begins.
    pub(crate) fn hold_rows(self: &Arc<Expiry>) -> RowHold {
        let mut scans = self.scans.lock();
        let time = self.now_ms();
        *scans.entry(time).or_default() += 1;
        self.tell_oldest(&scans);
        RowHold { expiry: Arc::clone(self), time }
    }

    fn tell_oldest(&self, scans: &BTreeMap<u64, usize>) {
        let oldest = scans.first_key_value().map_or(u64::MAX, |(time, _)| *time);
        self.oldest_scan.store(oldest, Ordering::SeqCst);
    }

    fn is_held(&self) -> bool {
        self.holds.load(Ordering::Acquire) > 0
    }

    /// Says that every call before `time`, with numbers up to `number`, is on disk and in no
    /// journal. The version of a row on disk may be older than that in memory, and is what the
    /// journal's calls are made on again after a crash: it must not go because of the time that has
    /// passed since.
    ///
    /// A tombstone stays as long as the journal may have earlier calls on its key: after losing
    /// power the call that deleted the row may be missing there, and the earlier ones must not make
    /// the row anew.
    pub(crate) fn set_settled(&self, time: u64, number: u64) {
        self.settled_number.store(number, Ordering::Release);
        self.settled.store(time, Ordering::Release);
    }

    /// What merging does with a stored row. Called by RocksDB's threads: it must not panic.
    pub(crate) fn fate(&self, value: &[u8]) -> Fate {
        let settled = self.settled.load(Ordering::Acquire);
        // The storage is being opened: which calls must be made again, and what dumps need, is not known yet.
        if settled == 0 {
            return Fate::Stay;
        }
        // RocksDB asks for rows that a snapshot needs, too. In this order: the moment of a scan
        // that is not seen here yet is not earlier than this time.
        let now = self.now_ms();
        let now = now.min(settled).min(self.oldest_scan.load(Ordering::SeqCst));
        let now = now.min(self.recorded.load(Ordering::Acquire));
        match row::parse(value) {
            Ok(Stored::Row(header, _)) if header.update_time < self.cutoff_at(now) => {
                self.count_expired(1);
                match self.keeps_tombstones() {
                    true => Fate::Leave(row::expired_on(now / DAY_MS)),
                    false => Fate::Go,
                }
            }
            Ok(Stored::Deleted { .. } | Stored::Expired { .. }) if self.is_held() => Fate::Stay,
            Ok(Stored::Deleted { journal, .. })
                if journal > self.settled_number.load(Ordering::Acquire) =>
            {
                Fate::Stay
            }
            Ok(Stored::Deleted { journal, .. })
                if journal < self.oldest_number.load(Ordering::Relaxed) =>
            {
                Fate::Go
            }
            Ok(Stored::Expired { day })
                if day < self.oldest_time.load(Ordering::Relaxed) / DAY_MS =>
            {
                Fate::Go
            }
            // Damage comes out when it is read.
            _ => Fate::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::row::RowHeader;

    fn stored(update_time: u64) -> Vec<u8> {
        let mut value = Vec::new();
        row::encode(&mut value, RowHeader { update_time, update_num: 1, journal: 7 }, &[1.0]);
        value
    }

    #[test]
    fn a_row_goes_when_its_time_is_over_and_not_before() {
        let expiry = Expiry::new(10).unwrap();
        expiry.set_now_ms(100_000);
        assert_eq!(expiry.fate(&stored(90_000)), Fate::Stay, "while it is opened");
        expiry.set_settled(99_999, 7);
        expiry.set_recorded(100_000);
        assert_eq!(
            expiry.fate(&stored(90_000)),
            Fate::Stay,
            "a call at 99,999 may have to be made again"
        );
        expiry.set_settled(u64::MAX, u64::MAX);
        expiry.set_recorded(99_999);
        assert_eq!(expiry.fate(&stored(90_000)), Fate::Stay, "a kill could lose the time");
        expiry.set_recorded(100_000);
        assert_eq!(expiry.cutoff_at(100_000), 90_001);
        assert_eq!(expiry.fate(&stored(90_001)), Fate::Stay);
        assert_eq!((expiry.fate(&stored(90_000)), expiry.expired()), (Fate::Go, 1));
        expiry.set_ttl_ms(0);
        assert_eq!(expiry.fate(&stored(0)), Fate::Stay);
        assert_eq!(expiry.fate(b"damaged"), Fate::Stay);
    }

    #[test]
    fn time_does_not_go_back() {
        let expiry = Expiry::new(10).unwrap();
        assert!(expiry.now_ms() > 1_700_000_000_000);
        expiry.set_now_ms(5_000);
        assert_eq!((expiry.now_unused_ms(), expiry.latest_ms()), (5_000, 0));
        assert_eq!((expiry.now_ms(), expiry.latest_ms()), (5_000, 5_000));
        expiry.set_now_ms(4_000);
        assert_eq!(expiry.now_ms(), 5_000);
        expiry.set_now_ms(6_000);
        expiry.restore_time(7_000);
        assert_eq!(expiry.now_ms(), 7_000);
        expiry.set_now_ms(0);
        assert!(expiry.now_ms() > 1_700_000_000_000);
        expiry.set_now_ms(1);
        assert_eq!(expiry.now_ms(), 7_000);
    }

    #[test]
    fn rows_that_a_scan_has_to_see_stay_until_it_has_ended() {
        let expiry = Arc::new(Expiry::new(10).unwrap());
        expiry.set_now_ms(100_000);
        expiry.set_settled(u64::MAX, u64::MAX);
        expiry.set_recorded(u64::MAX);
        let early = expiry.hold_rows();
        expiry.set_now_ms(105_000);
        let (late, again) = (expiry.hold_rows(), expiry.hold_rows());
        expiry.set_now_ms(200_000);
        let fates =
            |expiry: &Expiry| [90_000, 90_001, 95_001].map(|time| expiry.fate(&stored(time)));
        assert_eq!(fates(&expiry), [Fate::Go, Fate::Stay, Fate::Stay]);
        drop(early);
        assert_eq!(fates(&expiry), [Fate::Go, Fate::Go, Fate::Stay]);
        drop(late);
        assert_eq!(fates(&expiry), [Fate::Go, Fate::Go, Fate::Stay]);
        drop(again);
        assert_eq!(fates(&expiry), [Fate::Go; 3]);
    }

    #[test]
    fn what_increments_need_stays_as_long_as_they_do() {
        let expiry = Expiry::new(10).unwrap();
        expiry.set_now_ms(3 * DAY_MS);
        expiry.set_settled(u64::MAX, u64::MAX);
        expiry.set_recorded(u64::MAX);
        expiry.set_oldest_base(Some((5, 2 * DAY_MS)));
        let Fate::Leave(tombstone) = expiry.fate(&stored(1)) else { panic!("nothing was left") };
        assert_eq!(expiry.fate(tombstone), Fate::Stay);
        let mut deleted = Vec::new();
        row::encode_deleted(&mut deleted, 1, 6);
        assert_eq!(expiry.fate(&deleted), Fate::Stay);
        expiry.set_oldest_base(Some((7, 4 * DAY_MS)));
        assert_eq!((expiry.fate(tombstone), expiry.fate(&deleted)), (Fate::Go, Fate::Go));
        expiry.set_oldest_base(None);
        assert_eq!((expiry.fate(tombstone), expiry.fate(&deleted)), (Fate::Go, Fate::Go));
        expiry.set_settled(u64::MAX, 5);
        assert_eq!(
            expiry.fate(&deleted),
            Fate::Stay,
            "the journal may have calls before the one that deleted it"
        );
        expiry.set_settled(u64::MAX, 6);
        assert_eq!(expiry.fate(&deleted), Fate::Go);
    }

    #[test]
    fn times_to_live_that_make_no_sense_are_refused() {
        assert!(Expiry::new(-1).is_err() && Expiry::new(i64::MAX).is_err());
        assert_eq!(Expiry::new(0).unwrap().cutoff_at(u64::MAX - 1), 0);
    }
}
