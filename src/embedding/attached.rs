//! The filter that is attached to an embedding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::filter::Filter;
use crate::locks::RwLock;

/// The filter of an embedding, if it has one.
#[derive(Default)]
pub(super) struct AttachedFilter {
    pub(super) filter: RwLock<Option<Arc<Filter>>>,
    /// Whether a filter is attached; saves embeddings without one from sharing a lock.
    pub(super) is_attached: AtomicBool,
}

impl AttachedFilter {
    #[inline]
    pub(super) fn get(&self) -> Option<Arc<Filter>> {
        if self.is_attached.load(Ordering::Acquire) { self.filter.read().clone() } else { None }
    }
}
