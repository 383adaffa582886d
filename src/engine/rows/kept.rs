//! What calls leave for later ones: their buffers, and what a lookup found out about its batch. The
//! next call with the same batch, the apply_gradients of a training step, need not find it again.

use std::cell::Cell;

use super::batch::KeyBatch;
use super::dedup::Dedup;
use crate::locks::Mutex;
use crate::threads;

/// At most so many keys are few. Looking for each by itself then costs less than sorting them by
/// shard.
pub(super) const FEW: usize = 256;
/// A thread keeps at most so many bytes of buffers of small calls.
const MAX_FEW_BYTES: usize = 4 << 20;
/// How many batches a group keeps at most, and how large the buffers of all may be together.
const MAX_KEPT: usize = 16;
const MAX_BYTES: usize = 128 << 20;

/// The batches of finished calls.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Batch>>);

/// The batch of a finished call.
struct Batch {
    dedup: Box<Dedup>,
    bytes: usize,
    /// The thread of the call.
    thread: usize,
    /// Whether a change with the same batch is to be expected.
    is_awaited: bool,
}

/// The buffers of small calls.
#[derive(Default)]
struct OfFew {
    #[expect(clippy::vec_box, reason = "calls pass them on without moving them")]
    dedups: Vec<Box<Dedup>>,
    /// How large they are together.
    bytes: usize,
}

thread_local! {
    /// The buffers of this thread's latest small calls, which take no lock for them. A training
    /// step needs those of all its groups at the same time.
    static OF_FEW: Cell<OfFew> = const { Cell::new(OfFew { dedups: Vec::new(), bytes: 0 }) };
}

impl OfFew {
    fn take(&mut self) -> Option<Box<Dedup>> {
        let dedup = self.dedups.pop()?;
        self.bytes -= dedup.capacity();
        Some(dedup)
    }

    fn keep(&mut self, dedup: Box<Dedup>) {
        let bytes = dedup.capacity();
        if self.bytes + bytes <= MAX_FEW_BYTES && self.dedups.try_reserve(1).is_ok() {
            self.bytes += bytes;
            self.dedups.push(dedup);
        }
    }
}

/// Does something with this thread's buffers of small calls, unless the thread ends.
fn with_few<T>(what: impl FnOnce(&mut OfFew) -> T) -> Option<T> {
    OF_FEW
        .try_with(|cell| {
            let mut few = cell.take();
            let done = what(&mut few);
            cell.set(few);
            done
        })
        .ok()
}

impl Kept {
    /// Takes what was kept of the same batch. Otherwise buffers that nobody waits for: this
    /// thread's, or those of a finished change.
    pub(super) fn take(&self, batch: KeyBatch<'_>) -> Box<Dedup> {
        if batch.keys.len() <= FEW {
            return with_few(OfFew::take).flatten().unwrap_or_default();
        }
        let thread = threads::token();
        let mut batches = self.0.lock();
        let same = batches.iter().position(|kept| kept.dedup.may_be_of(batch));
        let own = || batches.iter().position(|kept| kept.thread == thread);
        let idle = || batches.iter().position(|kept| !kept.is_awaited);
        let oldest = || (batches.len() >= MAX_KEPT).then_some(0);
        match same.or_else(own).or_else(idle).or_else(oldest) {
            Some(index) => batches.remove(index).dedup,
            None => Box::default(),
        }
    }

    /// Takes buffers that nobody waits for.
    pub(super) fn take_idle(&self) -> Box<Dedup> {
        let mut batches = self.0.lock();
        let idle = batches.iter().position(|kept| !kept.is_awaited);
        idle.map_or_else(Box::default, |index| batches.remove(index).dedup)
    }

    /// Keeps a finished call's buffers. `is_awaited`: a change with the same batch is to be
    /// expected.
    pub(super) fn keep(&self, dedup: Box<Dedup>, is_awaited: bool) {
        if dedup.is_of_few() {
            with_few(|few| few.keep(dedup));
            return;
        }
        let (bytes, thread) = (dedup.capacity(), threads::token());
        let mut batches = self.0.lock();
        // Usually a thread steps only its latest lookup.
        batches.iter_mut().filter(|kept| kept.thread == thread).for_each(|kept| {
            kept.is_awaited = false;
        });
        let all = bytes + batches.iter().map(|kept| kept.bytes).sum::<usize>();
        if all <= MAX_BYTES && batches.len() < MAX_KEPT && batches.try_reserve(1).is_ok() {
            batches.push(Batch { dedup, bytes, thread, is_awaited });
        }
    }
}
