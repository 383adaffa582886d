//! The header of a resident row: everything beside its floats, in 32 bytes.
//!
//! Whoever changes a row holds its latch, be it with the shard locked or without. So the rows of
//! one shard are used side by side, and a call of few keys locks no shard. Reading takes nothing
//! from other readers: behind its lowest bit the latch is a sequence lock, odd while the holder
//! changes the row. A reader that finds it as it was has read nothing half changed. All fields are
//! atomics since a thread may look at a header while another one changes it.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::seqno::Seqno;

const RELAXED: Ordering = Ordering::Relaxed;

/// An integer below 2^48 in two fields, so that a slot is half a cache line.
const MAX_U48: u64 = (1 << 48) - 1;

/// Holds a row; a slot without it is free.
pub(super) const USED: u8 = 1;
/// Differs from the row on disk.
pub(super) const DIRTY: u8 = 2;
/// Handed over for writing; the write has not been confirmed yet.
pub(super) const WRITING: u8 = 4;
/// Known to have no row: deleted (also dirty until the tombstone is on disk), or not found on disk.
pub(crate) const ABSENT: u8 = 16;
/// On which side of the latest cut a dirty row became dirty; each cut flips its meaning.
pub(super) const EPOCH: u8 = 32;

/// A row with any of these cannot be evicted.
const KEPT: u8 = DIRTY | WRITING;

/// The largest update count of a row: stored rows have seven bytes for it.
pub(crate) const MAX_UPDATES: u64 = (1 << 56) - 1;

/// The bits of `updates` above the count: how many calls have the row pinned, so that it stays in
/// its slot. They change with the shard locked.
const PIN: u64 = MAX_UPDATES + 1;
const PINS: u64 = !MAX_UPDATES;
/// The most calls that may have a row pinned.
pub(crate) const MAX_PINS: usize = (PINS / PIN) as usize;

/// The bits of the latch: a thread holds the row; it changes the row. The bits above count changes.
const HELD: u16 = 1;
const CHANGING: u16 = 2;

/// The clock passes a row over at most this often before it evicts it.
pub(crate) const MAX_USES: u8 = 3;

/// How often a thread that waits for a latch looks again at once, and up to which look it lets
/// others run in between. After that it sleeps: the holder may have lost its processor.
const SPINS: u32 = 64;
const YIELDS_END: u32 = SPINS + 32;
const SLEEP: Duration = Duration::from_micros(50);

/// The header of a resident row. All zeros is a free slot.
#[derive(Default)]
pub(crate) struct Slot {
    key: AtomicI64,
    updates: AtomicU64,
    time_low: AtomicU32,
    seqno_low: AtomicU32,
    time_high: AtomicU16,
    seqno_high: AtomicU16,
    flags: AtomicU8,
    uses: AtomicU8,
    latch: AtomicU16,
}

const _: () = assert!(size_of::<Slot>() == 32);

/// What a row's header says about its last change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version {
    seqno: Seqno,
    updates: u64,
    time: u64,
}

impl Version {
    /// Of no row.
    pub(crate) const NONE: Version = Version { seqno: Seqno::MAX, updates: MAX_UPDATES, time: 0 };

    /// The version, or NONE for a row without a step that was written at `now`: one that is made
    /// after it in this millisecond may get the same.
    #[inline(always)]
    pub(crate) fn unless_new(self, now: u64) -> Version {
        if self.updates == 0 && self.time >= now { Version::NONE } else { self }
    }

    /// Whether a row has the same floats in both versions; false when in doubt.
    #[inline(always)]
    pub(crate) fn is_same(self, other: Version) -> bool {
        // Only their counts tell steps of one call apart, and counting ends at MAX_UPDATES.
        self.seqno == other.seqno
            && self.time == other.time
            && self.updates == other.updates
            && self.updates < MAX_UPDATES
    }
}

impl Slot {
    #[inline(always)]
    pub(crate) fn key(&self) -> i64 {
        self.key.load(RELAXED)
    }

    /// Gradients applied.
    #[inline(always)]
    pub(crate) fn updates(&self) -> u64 {
        self.updates.load(RELAXED) & MAX_UPDATES
    }

    /// Milliseconds since 1970 of the last write.
    #[inline(always)]
    pub(crate) fn time(&self) -> u64 {
        u64::from(self.time_high.load(RELAXED)) << 32 | u64::from(self.time_low.load(RELAXED))
    }

    /// The sequence number of the last change.
    #[inline(always)]
    pub(crate) fn seqno(&self) -> Seqno {
        let (high, low) = (self.seqno_high.load(RELAXED), self.seqno_low.load(RELAXED));
        Seqno::new(u64::from(high) << 32 | u64::from(low))
    }

    /// The version of the row. Read it before the floats: if those are newer, the versions differ.
    #[inline(always)]
    pub(crate) fn version(&self) -> Version {
        let version = Version { seqno: self.seqno(), updates: self.updates(), time: self.time() };
        // Another thread may be changing the row. Whoever has seen a part of its change here sees
        // in the latch, too, that it has begun.
        fence(Ordering::Acquire);
        version
    }

    /// Whether the row exists and was last written at `cutoff` or later.
    #[inline(always)]
    pub(crate) fn is_row(&self, cutoff: u64) -> bool {
        !self.has(ABSENT) && self.time() >= cutoff
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags.load(RELAXED) & flag != 0
    }

    /// Whether this is the slot of a key.
    #[inline(always)]
    pub(super) fn is_of(&self, key: i64) -> bool {
        self.key() == key && self.has(USED)
    }

    pub(super) fn may_be_evicted(&self) -> bool {
        self.flags.load(RELAXED) & (KEPT | USED) == USED && !self.is_pinned()
    }

    /// Whether another row may take the place.
    pub(super) fn is_room(&self) -> bool {
        !self.has(USED) || self.may_be_evicted()
    }

    #[inline(always)]
    pub(crate) fn is_pinned(&self) -> bool {
        self.updates.load(RELAXED) & PINS != 0
    }

    /// Counts a use. Writes nothing once the count is full, so that reading hot rows leaves their
    /// cache lines clean.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        let uses = self.uses.load(RELAXED);
        if uses < MAX_USES {
            // Two uses at once may count as one, which does no harm.
            self.uses.store(uses + 1, RELAXED);
        }
    }

    /// Takes one use off as the clock passes; true when none was left.
    pub(super) fn pass(&self) -> bool {
        let uses = self.uses.load(RELAXED);
        self.uses.store(uses.saturating_sub(1), RELAXED);
        uses == 0
    }

    /// Pins the row once more. For a call that changes rows, with the shard locked.
    #[inline(always)]
    pub(super) fn pin(&self) {
        let before = self.updates.fetch_add(PIN, RELAXED);
        debug_assert!(before & PINS != PINS, "too many pins");
    }

    /// Takes a pin of this call off.
    #[inline(always)]
    pub(super) fn unpin(&self) {
        let before = self.updates.fetch_sub(PIN, RELAXED);
        debug_assert!(before & PINS != 0, "a pin");
    }

    pub(super) fn uses(&self) -> u8 {
        self.uses.load(RELAXED)
    }

    pub(super) fn is_cold(&self) -> bool {
        self.uses() == 0
    }

    /// Takes the latch if nobody has it.
    #[inline(always)]
    pub(super) fn try_latch(&self) -> bool {
        let seen = self.latch.load(RELAXED);
        seen & HELD == 0
            && self.latch.compare_exchange(seen, seen | HELD, Ordering::Acquire, RELAXED).is_ok()
    }

    /// Waits for the latch, as long as `may_wait` says so. True if this thread has it. Whoever else
    /// has it waits for no shard's lock.
    #[inline(always)]
    pub(super) fn latch(&self, may_wait: impl Fn() -> bool) -> bool {
        self.try_latch() || self.wait_for_latch(may_wait)
    }

    #[cold]
    fn wait_for_latch(&self, may_wait: impl Fn() -> bool) -> bool {
        let mut round = 0;
        while may_wait() {
            pause(round);
            round = round.saturating_add(1);
            if self.try_latch() {
                return true;
            }
        }
        false
    }

    /// Says that the holder of the latch begins to change the row.
    #[inline(always)]
    pub(super) fn begin_change(&self) {
        self.latch.store(self.latch.load(RELAXED).wrapping_add(CHANGING), RELAXED);
        // Whoever sees a change of the row sees this, too.
        fence(Ordering::Release);
    }

    /// Gives the latch back. `has_changed`: after [`Slot::begin_change`].
    #[inline(always)]
    pub(super) fn unlatch(&self, has_changed: bool) {
        let more = if has_changed { CHANGING } else { 0 };
        let latch = self.latch.load(RELAXED).wrapping_add(more) & !HELD;
        self.latch.store(latch, Ordering::Release);
    }

    /// What [`Slot::is_unchanged`] compares; None while a thread changes the row.
    #[inline(always)]
    pub(super) fn begin_reading(&self) -> Option<(u16, u32)> {
        let latch = self.latch.load(Ordering::Acquire);
        (latch & CHANGING == 0).then(|| (latch & !HELD, self.seqno_low.load(RELAXED)))
    }

    /// Whether nobody has changed the row since [`Slot::begin_reading`].
    #[inline(always)]
    pub(super) fn is_unchanged(&self, (latch, seqno): (u16, u32)) -> bool {
        // What was read before comes before the second look at the latch. The sequence number tells
        // changes from none where a reader has slept for so many of them that the latch is the
        // same.
        fence(Ordering::Acquire);
        self.latch.load(RELAXED) & !HELD == latch && self.seqno_low.load(RELAXED) == seqno
    }

    // What follows is for the holder of the latch.

    /// Makes this the slot of a key that is absent.
    pub(super) fn begin(&self, key: i64) {
        self.clear_all();
        self.key.store(key, RELAXED);
        self.flags.store(USED | ABSENT, RELAXED);
    }

    /// Frees the slot.
    pub(super) fn clear_all(&self) {
        self.copy_from(&Slot::default());
        self.updates.store(0, RELAXED);
    }

    /// Copies everything but the latch and the pins.
    pub(super) fn copy_from(&self, other: &Slot) {
        self.key.store(other.key(), RELAXED);
        self.set_updates(other.updates());
        self.stamp(other.time(), other.seqno());
        self.flags.store(other.flags.load(RELAXED), RELAXED);
        self.uses.store(other.uses.load(RELAXED), RELAXED);
    }

    pub(super) fn set_updates(&self, updates: u64) {
        // Others pin and unpin without the latch.
        let set = |now| Some(now & PINS | updates);
        let _ = self.updates.fetch_update(RELAXED, RELAXED, set);
    }

    /// Records the time and sequence number of a write.
    #[inline(always)]
    pub(super) fn stamp(&self, time: u64, seqno: Seqno) {
        let (time, seqno) = (time.min(MAX_U48), seqno.get().min(MAX_U48));
        self.time_low.store(time as u32, RELAXED);
        self.time_high.store((time >> 32) as u16, RELAXED);
        self.seqno_low.store(seqno as u32, RELAXED);
        self.seqno_high.store((seqno >> 32) as u16, RELAXED);
    }

    /// Counts an update and returns the new count.
    #[inline(always)]
    pub(super) fn count_update(&self) -> u64 {
        if self.updates() == MAX_UPDATES {
            return MAX_UPDATES;
        }
        (self.updates.fetch_add(1, RELAXED) & MAX_UPDATES) + 1
    }

    /// Marks the row as different from the one on disk, on a side of the latest cut.
    #[inline(always)]
    pub(super) fn set_dirty(&self, epoch: bool) {
        let flags = self.flags.load(RELAXED) & !EPOCH | DIRTY;
        self.flags.store(if epoch { flags | EPOCH } else { flags }, RELAXED);
    }

    #[inline(always)]
    pub(super) fn set_to(&self, flag: u8, on: bool) {
        let flags = self.flags.load(RELAXED);
        self.flags.store(if on { flags | flag } else { flags & !flag }, RELAXED);
    }
}

/// What a thread does before its next look at a row that another one has.
#[cold]
pub(super) fn pause(round: u32) {
    match round {
        0..SPINS => std::hint::spin_loop(),
        SPINS..YIELDS_END => std::thread::yield_now(),
        _ => std::thread::sleep(SLEEP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_where_stored_rows_end() {
        let slot = Slot::default();
        slot.set_updates(MAX_UPDATES - 2);
        let counts = [(); 4].map(|()| slot.count_update());
        assert_eq!(counts, [MAX_UPDATES - 1, MAX_UPDATES, MAX_UPDATES, MAX_UPDATES]);
        assert_eq!(slot.updates(), MAX_UPDATES);
    }

    #[test]
    fn stamps_hold_48_bits_and_saturate() {
        let slot = Slot::default();
        for value in [0, 1, 0xffff, 0x1_0000, 1_795_000_000_000, MAX_U48] {
            slot.stamp(value, Seqno::new(MAX_U48 - value));
            assert_eq!((slot.time(), slot.seqno()), (value, Seqno::new(MAX_U48 - value)));
        }
        slot.stamp(u64::MAX, Seqno::MAX);
        assert_eq!((slot.time(), slot.seqno()), (MAX_U48, Seqno::new(MAX_U48)));
    }

    #[test]
    fn a_latch_has_one_holder() {
        let slot = Slot::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        assert!(slot.latch(|| true));
                        slot.begin_change();
                        slot.set_updates(slot.updates() + 1);
                        slot.unlatch(true);
                    }
                });
            }
        });
        assert_eq!(slot.updates(), 20_000);
    }

    #[test]
    fn a_reader_notices_changes_and_no_holders() {
        let slot = Slot::default();
        let before = slot.begin_reading().unwrap();
        assert!(slot.latch(|| true) && slot.is_unchanged(before));
        assert!(!slot.try_latch() && !slot.latch(|| false));
        slot.begin_change();
        assert!(slot.begin_reading().is_none() && !slot.is_unchanged(before));
        slot.unlatch(true);
        assert!(!slot.is_unchanged(before));
        let before = slot.begin_reading().unwrap();
        assert!(slot.try_latch());
        slot.unlatch(false);
        assert!(slot.is_unchanged(before));
        // As many changes as bring the latch back to where it was.
        for number in 1..=1 << 14 {
            assert!(slot.try_latch());
            slot.begin_change();
            slot.stamp(0, Seqno::new(number));
            slot.unlatch(true);
        }
        assert_eq!(slot.begin_reading().map(|read| read.0), Some(before.0));
        assert!(!slot.is_unchanged(before));
    }
}
