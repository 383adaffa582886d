//! The filters that the embeddings of a storage have now, so that flushing and checkpoints can take them along.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Core;
use crate::error::Result;
use crate::filter::Filter;

/// One entry for each embedding that has a filter.
#[derive(Default)]
pub struct Filters {
    attached: Mutex<Vec<(u16, Weak<Filter>)>>,
}

impl Filters {
    /// An embedding of `group` has `filter` from now on.
    pub fn register(&self, group: u16, filter: &Arc<Filter>) {
        let mut attached = self.attached.lock();
        attached.retain(|(_, filter)| filter.strong_count() > 0);
        attached.push((group, Arc::downgrade(filter)));
    }

    /// An embedding of `group` has it no more; others may.
    pub fn unregister(&self, group: u16, filter: &Arc<Filter>) {
        let mut attached = self.attached.lock();
        let is_it = |(other, known): &(u16, Weak<Filter>)| *other == group && is_same(known, filter);
        if let Some(index) = attached.iter().position(is_it) {
            attached.swap_remove(index);
        }
    }

    /// Every filter that is in use with the groups that use it, ascending; the filters by their first group.
    pub fn live(&self) -> Vec<(Vec<u16>, Arc<Filter>)> {
        let mut attached: Vec<_> = {
            let attached = self.attached.lock();
            attached.iter().filter_map(|(group, filter)| Some((*group, filter.upgrade()?))).collect()
        };
        attached.sort_by_key(|(group, _)| *group);
        let mut live: Vec<(Vec<u16>, Arc<Filter>)> = Vec::new();
        for (group, filter) in attached {
            match live.iter_mut().find(|(_, known)| Arc::ptr_eq(known, &filter)) {
                Some((groups, _)) if groups.last() == Some(&group) => {}
                Some((groups, _)) => groups.push(group),
                None => live.push((vec![group], filter)),
            }
        }
        live
    }

    /// Brings all counts to disk.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn sync(&self) -> Result<()> {
        self.live().iter().try_for_each(|(_, filter)| filter.sync())
    }
}

impl Core {
    /// The filters that embeddings have now.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

fn is_same(known: &Weak<Filter>, filter: &Arc<Filter>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(filter))
}
