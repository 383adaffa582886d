//! The filter that is attached to an embedding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Result;
use crate::filter::Filter;
use crate::locks::RwLock;
use crate::memory::filled;

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

    /// Which keys of a group it admits, a byte each; None without a filter.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of the filter.
    pub(super) fn admitted(&self, group: u16, keys: &[i64]) -> Result<Option<Vec<u8>>> {
        let Some(filter) = self.get() else { return Ok(None) };
        let mut admitted = filled(0u8, keys.len())?;
        filter.check_batch(group.into(), keys, &mut admitted)?;
        Ok(Some(admitted))
    }
}
