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
/// How large the buffers of a small call may be that a thread keeps.
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

thread_local! {
    /// The buffers of this thread's latest small call: so short a call takes no lock for them.
    static OF_FEW: Cell<Option<Box<Dedup>>> = const { Cell::new(None) };
}

impl Kept {
    /// Takes what was kept of the same batch. Otherwise buffers that nobody waits for: this
    /// thread's, or those of a finished change.
    pub(super) fn take(&self, batch: KeyBatch<'_>) -> Box<Dedup> {
        if batch.keys.len() <= FEW {
            return OF_FEW.try_with(Cell::take).ok().flatten().unwrap_or_default();
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
            if dedup.capacity() <= MAX_FEW_BYTES {
                let _ = OF_FEW.try_with(|kept| kept.set(Some(dedup)));
            }
            return;
        }
        let (bytes, thread) = (dedup.capacity(), threads::token());
        let mut batches = self.0.lock();
        // Usually a thread steps only its latest lookup.
        batches.iter_mut().filter(|kept| kept.thread == thread).for_each(|kept| {
            kept.is_awaited = false;
        });
        let all = bytes + batches.iter().map(|kept| kept.bytes).sum::<usize>();
        if all <= MAX_BYTES && batches.len() < MAX_KEPT {
            batches.push(Batch { dedup, bytes, thread, is_awaited });
        }
    }
}
