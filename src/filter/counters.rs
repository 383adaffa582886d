//! Adds to the counters of a key, and reads them.
//!
//! An addition raises only those of the key's counters that are below its new count ("conservative
//! update", Estan and Varghese 2002). A key's count is its lowest counter; raising the others would
//! only make other keys look more frequent. So ids beyond the capacity, most of which come once or
//! twice, hardly do any harm.
//!
//! The invariant: every counter of a key is at least the number of its additions, up to `count`. To
//! keep it, the lowest counter is read and all are raised in one step under the block's lock: two
//! threads that both read 3 and both raise to 4 would lose an addition. Reading takes no lock,
//! since counters only grow. Counters stop at `count`, the value that `check` asks for. So a
//! frequent key is only read: neither its lock nor its memory is written, whatever the number of
//! threads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::CounterPlace;
use super::map::Block;
use crate::error::Result;
use crate::locks::Mutex;
use crate::memory::room_for;

/// Many enough that threads hardly ever meet, few enough to stay in the processor's caches.
const LOCKS: usize = 512;

/// Locks for blocks; each lock has many blocks.
pub(super) struct Locks(Vec<Lock>);

/// A lock on a cache line of its own.
#[repr(align(64))]
#[derive(Default)]
struct Lock(Mutex<()>);

impl Locks {
    /// Makes all locks.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn new() -> Result<Locks> {
        let mut locks = room_for(LOCKS)?;
        locks.resize_with(LOCKS, Lock::default);
        Ok(Locks(locks))
    }
}

/// The parameters of one filter's counters.
#[derive(Clone, Copy)]
pub(super) struct CounterConfig {
    /// Counters of a key.
    pub(super) per_key: usize,
    /// The value at which counters stop.
    pub(super) count: u32,
}

impl CounterConfig {
    /// Adds `num` to a key; true when its count then is `count`.
    #[inline(always)]
    pub(super) fn add(self, block: &Block, place: CounterPlace, num: u32, locks: &Locks) -> bool {
        if self.is_admitted(block, place) {
            return true;
        }
        if num == 0 {
            return false;
        }
        let _locked = locks.0[place.block % LOCKS].0.lock();
        let wanted = self.lowest(block, place).saturating_add(num).min(self.count);
        for &counter in &place.counters[..self.per_key] {
            let (word, shift) = position(block, counter);
            // Nobody else writes while the lock is held.
            let now = u64::from_le(word.load(Ordering::Relaxed));
            let value = (now >> shift & 15) as u32;
            if value < wanted {
                let raised = now + (u64::from(wanted - value) << shift);
                word.store(raised.to_le(), Ordering::Relaxed);
            }
        }
        wanted == self.count
    }

    #[inline(always)]
    pub(super) fn is_admitted(self, block: &Block, place: CounterPlace) -> bool {
        self.lowest(block, place) >= self.count
    }

    /// The key's lowest counter.
    #[inline(always)]
    fn lowest(self, block: &Block, place: CounterPlace) -> u32 {
        place.counters[..self.per_key].iter().fold(15, |lowest, &counter| {
            let (word, shift) = position(block, counter);
            lowest.min((u64::from_le(word.load(Ordering::Relaxed)) >> shift) as u32 & 15)
        })
    }
}

/// Counter 0 is the low half of a block's first byte, counter 1 its high half.
#[inline(always)]
fn position(block: &Block, counter: u8) -> (&AtomicU64, u32) {
    (&block[usize::from(counter >> 4)], u32::from(counter & 15) * 4)
}
