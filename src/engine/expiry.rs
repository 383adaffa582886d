//! Expiry: a row that was not updated for the time to live (TTL) is absent for every call at once.
//! Merging gives its space back. Also decides which tombstones merging drops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::rocks::fate::Fate;
use crate::rocks::row::{self, Stored};
use crate::seqno::{AtomicSeqno, Seqno};

pub(crate) const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// How far the recorded time may lag behind while rows are written.
const RECORD_EVERY_MS: u64 = 60 * 1000;

/// The clock, the TTL, and what decides on the fate of expired rows and tombstones.
pub(crate) struct Expiry {
    /// Milliseconds; 0: rows never expire.
    ttl_ms: AtomicU64,
    /// The time that a test has set the clock to; 0 for the system's clock.
    set_now: AtomicU64,
    /// The latest time that was used. Time never goes back, whatever the clock does. Otherwise an
    /// expired row would be visible again, in memory and not on disk.
    latest: AtomicU64,
    /// The latest time that earlier processes are known to have used.
    restored: AtomicU64,
    /// The time that the journal document has. Merging goes by no later time: a kill could lose the
    /// time by which dropped rows had expired.
    recorded: AtomicU64,
    /// When the scans under way began, each with how many began then.
    scans: Mutex<BTreeMap<u64, usize>>,
    /// When the earliest scan under way began; u64::MAX when there is none.
    oldest_scan: AtomicU64,
    expired: AtomicU64,
    /// The sequence number of the oldest base dump; the largest value when there is none.
    oldest_seqno: AtomicSeqno,
    /// The time of the oldest base dump; u64::MAX when there is none.
    oldest_time: AtomicU64,
    /// How many dumps are under way, and may be remembered as base dumps.
    holds: AtomicUsize,
    /// All calls before this time are on disk; u64::MAX where no call is ever replayed; 0 while the
    /// storage is being opened.
    settled: AtomicU64,
    /// No journal has a call with this sequence number or a smaller one.
    settled_seqno: AtomicSeqno,
}

/// While one exists, expired rows leave tombstones, and tombstones stay.
pub(crate) struct TombstoneHold<'a>(&'a Expiry);

impl Drop for TombstoneHold<'_> {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

/// While one exists, merging keeps the rows that were visible when it was made.
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
            oldest_seqno: AtomicSeqno::new(Seqno::MAX),
            oldest_time: AtomicU64::new(u64::MAX),
            holds: AtomicUsize::new(0),
            settled: AtomicU64::new(0),
            settled_seqno: AtomicSeqno::default(),
        };
        let ttl_ms = u64::try_from(ttl_seconds).ok().and_then(|seconds| seconds.checked_mul(1000));
        let ttl_ms = ttl_ms.ok_or_else(|| {
            Error::invalid(format!(
                "ttl_seconds is {ttl_seconds}; 0 (never expire) or a number of seconds up to {} is \
                 needed",
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

    /// Milliseconds since 1970: the clock's time, or the latest time that was used if that is
    /// later.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = self.clock_ms();
        let latest = self.latest.load(Ordering::SeqCst);
        // Most calls find the millisecond used already, and do not take the cache line from each
        // other.
        if now <= latest { latest } else { self.latest.fetch_max(now, Ordering::SeqCst).max(now) }
    }

    /// As `now_ms`, but the time does not count as used.
    pub(crate) fn now_unused_ms(&self) -> u64 {
        self.clock_ms().max(self.latest_ms())
    }

    /// The clock's time, or the latest that a row can store if that is earlier. A row with a later
    /// time would be stamped with the latest, and count as expired.
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

    /// The latest time that earlier processes are known to have used.
    pub(crate) fn restored_ms(&self) -> u64 {
        self.restored.load(Ordering::SeqCst)
    }

    /// Whether the recorded time is so old that it should be written anew.
    pub(super) fn is_record_old(&self) -> bool {
        self.latest_ms() > self.recorded.load(Ordering::Relaxed).saturating_add(RECORD_EVERY_MS)
    }

    /// Notes which time the journal document has now.
    pub(crate) fn set_recorded(&self, time: u64) {
        self.recorded.store(time, Ordering::Release);
    }

    /// Notes a time that was used before, by an earlier process or in what is loaded.
    pub(crate) fn restore_time(&self, time: u64) {
        let time = time.min(row::MAX_TIME);
        self.restored.fetch_max(time, Ordering::SeqCst);
        self.latest.fetch_max(time, Ordering::SeqCst);
    }

    /// For tests: sets the clock; 0 for the system's clock. The system's times are forgotten, so
    /// that a test's may be earlier.
    pub(crate) fn set_now_ms(&self, now: u64) {
        if self.set_now.swap(now, Ordering::Relaxed) == 0 && now != 0 {
            self.latest.store(self.restored.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// The time before which a row must have been updated last to have expired at `now`; 0 when no
    /// row expires.
    pub(super) fn cutoff_at(&self, now: u64) -> u64 {
        match self.ttl_ms() {
            0 => 0,
            ttl_ms => now.saturating_add(1).saturating_sub(ttl_ms),
        }
    }

    /// The time before which a row must have been updated last to have expired by now; 0 when no
    /// row expires. Looks at no clock then.
    pub(super) fn cutoff(&self) -> u64 {
        if self.ttl_ms() == 0 { 0 } else { self.cutoff_at(self.now_ms()) }
    }

    /// How many rows were found to be expired and made anew, or dropped in merging.
    pub(crate) fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    pub(super) fn count_expired(&self, rows: u64) {
        if rows > 0 {
            self.expired.fetch_add(rows, Ordering::Relaxed);
        }
    }

    /// Notes the sequence number and the time of the oldest base dump.
    pub(crate) fn set_oldest_base(&self, oldest: Option<(Seqno, u64)>) {
        let (seqno, time) = oldest.unwrap_or((Seqno::MAX, u64::MAX));
        self.oldest_seqno.store(seqno, Ordering::Relaxed);
        self.oldest_time.store(time, Ordering::Relaxed);
    }

    /// Whether increments need tombstones of the rows that expire or are deleted.
    pub(super) fn keeps_tombstones(&self) -> bool {
        self.oldest_seqno.load(Ordering::Relaxed) != Seqno::MAX || self.is_held()
    }

    /// Keeps tombstones for a dump that begins.
    pub(crate) fn hold_tombstones(&self) -> TombstoneHold<'_> {
        self.holds.fetch_add(1, Ordering::AcqRel);
        TombstoneHold(self)
    }

    /// Keeps the rows that are visible now or at a later moment, for a scan that begins.
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

    /// Notes that every call before `time`, up to the sequence number `seqno`, is on disk and in
    /// no journal. Merging goes by that time. The version of a row on disk may be older than the
    /// one in memory, and after a crash the journal's calls are replayed on it. So the time that
    /// has passed since must not make it expire.
    ///
    /// A tombstone stays as long as the journal may have earlier calls on its key. After losing
    /// power the call that deleted the row may be missing there, and the earlier calls must not
    /// make the row anew.
    pub(crate) fn set_settled(&self, time: u64, seqno: Seqno) {
        self.settled_seqno.store(seqno, Ordering::Release);
        self.settled.store(time, Ordering::Release);
    }

    /// What merging does with a stored row. RocksDB's threads call it: it must not panic.
    pub(crate) fn fate(&self, value: &[u8]) -> Fate {
        let settled = self.settled.load(Ordering::Acquire);
        // The storage is being opened. It is not known yet which calls must be replayed, and what
        // increments need.
        if settled == 0 {
            return Fate::Stay;
        }
        match row::parse(value) {
            Ok(Stored::Row(header, _)) => self.fate_of_row(header.update_time, settled),
            Ok(Stored::Deleted { .. } | Stored::Expired { .. }) if self.is_held() => Fate::Stay,
            Ok(Stored::Deleted { seqno, .. })
                if seqno > self.settled_seqno.load(Ordering::Acquire) =>
            {
                Fate::Stay
            }
            Ok(Stored::Deleted { seqno, .. })
                if seqno < self.oldest_seqno.load(Ordering::Relaxed) =>
            {
                Fate::Go
            }
            Ok(Stored::Expired { day })
                if day < self.oldest_time.load(Ordering::Relaxed) / DAY_MS =>
            {
                Fate::Go
            }
            // Damage is reported when the row is read.
            _ => Fate::Stay,
        }
    }

    /// What merging does with a row that was last updated at this time.
    fn fate_of_row(&self, update_time: u64, settled: u64) -> Fate {
        // Merging goes by no later time than this. A row that has not expired by then needs no
        // clock, which would take longer than all else here. That is nearly every row.
        let at_most = settled.min(self.recorded.load(Ordering::Acquire));
        if update_time >= self.cutoff_at(at_most) {
            return Fate::Stay;
        }
        // RocksDB also asks about rows that a snapshot needs. The order of these reads matters: a
        // scan that is not seen here yet has a moment no earlier than this time.
        let now = self.now_ms();
        let now = now.min(at_most).min(self.oldest_scan.load(Ordering::SeqCst));
        if update_time >= self.cutoff_at(now) {
            return Fate::Stay;
        }
        self.count_expired(1);
        match self.keeps_tombstones() {
            true => Fate::Leave(row::expired_on(now / DAY_MS)),
            false => Fate::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::row::RowHeader;

    fn stored(update_time: u64) -> Vec<u8> {
        let mut value = Vec::new();
        row::encode(
            &mut value,
            RowHeader { update_time, update_num: 1, seqno: Seqno::new(7) },
            &[1.0],
        );
        value
    }

    #[test]
    fn a_row_goes_when_its_time_is_over_and_not_before() {
        let expiry = Expiry::new(10).unwrap();
        expiry.set_now_ms(100_000);
        assert_eq!(expiry.fate(&stored(90_000)), Fate::Stay, "while it is opened");
        expiry.set_settled(99_999, Seqno::new(7));
        expiry.set_recorded(100_000);
        assert_eq!(
            expiry.fate(&stored(90_000)),
            Fate::Stay,
            "a call at 99,999 may have to be made again"
        );
        expiry.set_settled(u64::MAX, Seqno::MAX);
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
    fn merging_looks_at_the_clock_only_where_a_row_may_have_expired() {
        let expiry = Expiry::new(10).unwrap();
        expiry.set_now_ms(100_000);
        expiry.set_settled(u64::MAX, Seqno::MAX);
        expiry.set_recorded(99_000);
        assert_eq!((expiry.fate(&stored(89_001)), expiry.latest_ms()), (Fate::Stay, 0));
        assert_eq!((expiry.fate(&stored(89_000)), expiry.latest_ms()), (Fate::Go, 100_000));
        let forever = Expiry::new(0).unwrap();
        forever.set_now_ms(100_000);
        forever.set_settled(u64::MAX, Seqno::MAX);
        forever.set_recorded(u64::MAX);
        assert_eq!((forever.fate(&stored(1)), forever.latest_ms()), (Fate::Stay, 0));
    }

    #[test]
    fn merging_goes_by_the_earliest_of_four_times() {
        let times = [20_000, 30_000, 30_001, 40_000, u64::MAX];
        for (now, settled, recorded, scan) in all_of(times) {
            let expiry = Expiry::new(10).unwrap();
            expiry.set_now_ms(now.min(row::MAX_TIME));
            expiry.set_settled(settled, Seqno::MAX);
            expiry.set_recorded(recorded);
            expiry.oldest_scan.store(scan, Ordering::SeqCst);
            let time = now.min(row::MAX_TIME).min(settled).min(recorded).min(scan);
            for update_time in [0, 10_000, 10_001, 20_000, 20_001, 20_002, 30_001, row::MAX_TIME] {
                let fate = if update_time + 10_000 <= time { Fate::Go } else { Fate::Stay };
                assert_eq!(
                    expiry.fate(&stored(update_time)),
                    fate,
                    "{update_time}: {now} {settled} {recorded} {scan}"
                );
            }
        }
    }

    /// Every choice of four of these times.
    fn all_of(times: [u64; 5]) -> impl Iterator<Item = (u64, u64, u64, u64)> {
        (0..5_usize.pow(4)).map(move |choice| {
            let nth = |place: u32| times[choice / 5_usize.pow(place) % 5];
            (nth(0), nth(1), nth(2), nth(3))
        })
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
        expiry.set_settled(u64::MAX, Seqno::MAX);
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
        expiry.set_settled(u64::MAX, Seqno::MAX);
        expiry.set_recorded(u64::MAX);
        expiry.set_oldest_base(Some((Seqno::new(5), 2 * DAY_MS)));
        let Fate::Leave(tombstone) = expiry.fate(&stored(1)) else { panic!("nothing was left") };
        assert_eq!(expiry.fate(tombstone), Fate::Stay);
        let mut deleted = Vec::new();
        row::encode_deleted(&mut deleted, 1, Seqno::new(6));
        assert_eq!(expiry.fate(&deleted), Fate::Stay);
        expiry.set_oldest_base(Some((Seqno::new(7), 4 * DAY_MS)));
        assert_eq!((expiry.fate(tombstone), expiry.fate(&deleted)), (Fate::Go, Fate::Go));
        expiry.set_oldest_base(None);
        assert_eq!((expiry.fate(tombstone), expiry.fate(&deleted)), (Fate::Go, Fate::Go));
        expiry.set_settled(u64::MAX, Seqno::new(5));
        assert_eq!(
            expiry.fate(&deleted),
            Fate::Stay,
            "the journal may have calls before the one that deleted it"
        );
        expiry.set_settled(u64::MAX, Seqno::new(6));
        assert_eq!(expiry.fate(&deleted), Fate::Go);
    }

    #[test]
    fn times_to_live_that_make_no_sense_are_refused() {
        assert!(Expiry::new(-1).is_err() && Expiry::new(i64::MAX).is_err());
        assert_eq!(Expiry::new(0).unwrap().cutoff_at(u64::MAX - 1), 0);
    }
}
