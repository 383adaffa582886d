//! The header of a resident row: everything beside its floats, in 32 bytes.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::seqno::Seqno;

/// An integer below 2^48 in six bytes, so that a slot is half a cache line.
#[derive(Clone, Copy, Default)]
struct U48([u16; 3]);

const MAX_U48: u64 = (1 << 48) - 1;

impl U48 {
    fn new(value: u64) -> U48 {
        let value = value.min(MAX_U48);
        U48([value as u16, (value >> 16) as u16, (value >> 32) as u16])
    }

    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }
}

/// Holds a row; a slot without it is free.
pub(super) const USED: u8 = 1;
/// Differs from the row on disk.
pub(super) const DIRTY: u8 = 2;
/// Handed over for writing; the write has not been confirmed yet.
pub(super) const WRITING: u8 = 4;
/// In use by a call: stays in its slot.
pub(super) const PINNED: u8 = 8;
/// Known to have no row: deleted (also dirty until the tombstone is on disk), or not found on disk.
pub(crate) const ABSENT: u8 = 16;
/// On which side of the latest cut a dirty row became dirty; each cut flips its meaning.
pub(super) const EPOCH: u8 = 32;

/// A row with any of these cannot be evicted.
const KEPT: u8 = DIRTY | WRITING | PINNED;

/// The largest update count of a row: stored rows have seven bytes for it.
pub(crate) const MAX_UPDATES: u64 = (1 << 56) - 1;

/// The clock passes a row over at most this often before it evicts it.
const MAX_USES: u8 = 3;

/// The header of a resident row. All zeros is a free slot.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) key: i64,
    /// Gradients applied.
    pub(crate) updates: u64,
    time: U48,
    seqno: U48,
    flags: u8,
    /// Recent uses; atomic since readers share the shard's lock.
    uses: AtomicU8,
}

const _: () = assert!(size_of::<Slot>() == 32);

impl Slot {
    /// Milliseconds since 1970 of the last write.
    pub(crate) fn time(&self) -> u64 {
        self.time.get()
    }

    /// The sequence number of the last change.
    pub(crate) fn seqno(&self) -> Seqno {
        Seqno::new(self.seqno.get())
    }

    /// Whether the row exists and was last written at `cutoff` or later.
    #[inline(always)]
    pub(crate) fn is_row(&self, cutoff: u64) -> bool {
        !self.has(ABSENT) && self.time() >= cutoff
    }

    /// Records the time and sequence number of a write.
    #[inline(always)]
    pub(crate) fn stamp(&mut self, time: u64, seqno: Seqno) {
        self.time = U48::new(time);
        self.seqno = U48::new(seqno.get());
    }

    /// Counts an update and returns the new count.
    #[inline(always)]
    pub(crate) fn count_update(&mut self) -> u64 {
        self.updates = (self.updates + 1).min(MAX_UPDATES);
        self.updates
    }

    #[inline(always)]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    #[inline(always)]
    pub(super) fn set(&mut self, flag: u8) {
        self.flags |= flag;
    }

    #[inline(always)]
    pub(super) fn set_to(&mut self, flag: u8, on: bool) {
        self.flags = if on { self.flags | flag } else { self.flags & !flag };
    }

    #[inline(always)]
    pub(super) fn clear(&mut self, flag: u8) {
        self.flags &= !flag;
    }

    pub(super) fn may_be_evicted(&self) -> bool {
        self.flags & (KEPT | USED) == USED
    }

    /// Counts a use. Writes nothing once the count is full, so that reading hot rows leaves their
    /// cache lines clean.
    #[inline(always)]
    pub(crate) fn touch(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < MAX_USES {
            // Two uses at once may count as one, which does no harm.
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    /// Takes one use off as the clock passes; true when none was left.
    pub(super) fn pass(&mut self) -> bool {
        let uses = self.uses.get_mut();
        let cold = *uses == 0;
        *uses = uses.saturating_sub(1);
        cold
    }

    pub(super) fn copy(&self) -> Slot {
        let uses = AtomicU8::new(self.uses.load(Ordering::Relaxed));
        Slot {
            key: self.key,
            updates: self.updates,
            time: self.time,
            seqno: self.seqno,
            flags: self.flags,
            uses,
        }
    }

    pub(super) fn is_cold(&self) -> bool {
        self.uses.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_where_stored_rows_end() {
        let mut slot = Slot { updates: MAX_UPDATES - 2, ..Slot::default() };
        let counts = [(); 4].map(|()| slot.count_update());
        assert_eq!(counts, [MAX_UPDATES - 1, MAX_UPDATES, MAX_UPDATES, MAX_UPDATES]);
        assert_eq!(slot.updates, MAX_UPDATES);
    }

    #[test]
    fn six_bytes_hold_48_bits_and_saturate() {
        for value in [0, 1, 0xffff, 0x1_0000, 1_795_000_000_000, MAX_U48] {
            assert_eq!(U48::new(value).get(), value);
        }
        assert_eq!(U48::new(u64::MAX).get(), MAX_U48);
    }
}
