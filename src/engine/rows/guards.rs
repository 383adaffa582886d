//! What a call owes at its end, whether it succeeds or fails: memory beyond the group's share, and
//! the pins of its rows.

use super::OpenGroup;
use super::part::Part;
use crate::cache::{Place, hash};
use crate::engine::Engine;

/// Memory that a call may take beyond its group's share. Dropping this gives the excess back.
///
/// A call drops it once it has used its rows: before that, it could lose them again.
pub(super) struct Loaned<'a> {
    pub(super) engine: &'a Engine,
}

impl Loaned<'_> {
    pub(super) fn new(engine: &Engine) -> Loaned<'_> {
        Loaned { engine }
    }
}

impl Drop for Loaned<'_> {
    fn drop(&mut self) {
        // After a panic the next call gives it back.
        if !std::thread::panicking() {
            self.engine.give_back_excess();
        }
    }
}

/// The parts of a call that changes rows. Dropping this unpins every row whose place they know.
pub(super) struct Pinned<'a> {
    pub(super) group: &'a OpenGroup,
    pub(super) parts: &'a mut [Part],
}

impl<'a> Pinned<'a> {
    /// Takes the parts before their rows are found and pinned.
    pub(super) fn new(group: &'a OpenGroup, parts: &'a mut [Part]) -> Pinned<'a> {
        Pinned { group, parts }
    }

    /// The parts, for a caller that unpins their rows itself.
    pub(super) fn release(mut self) -> &'a mut [Part] {
        std::mem::take(&mut self.parts)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // A panic poisons the group, and may have left a shard in a state to stay away from.
        if std::thread::panicking() {
            return;
        }
        for part in &*self.parts {
            for (&key, &place) in part.keys.iter().zip(&part.places) {
                if ![Place::SKIP, Place::NOT_RESIDENT].contains(&place) {
                    self.group.cache.lock_for(hash(key)).unpin(place);
                }
            }
        }
    }
}
