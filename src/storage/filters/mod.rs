//! The filters that the embeddings of a storage have now, so that flushing and checkpoints can take
//! them along.
//!
//! In a checkpoint they are in the folder `filters`, with a list of where each was and which groups
//! had it (`list`). After a checkpoint was loaded, or opened as a storage, copies wait there until
//! a filter is attached (`waiting`).

mod list;
mod waiting;

use std::path::Path;
use std::sync::{Arc, Weak};

use list::{Copy, read_list, verify, write_list};
pub(super) use list::{FOLDER, is_of_filters};

use super::Core;
use super::checkpoint::copy_for_good;
use crate::error::{Error, Result};
use crate::filter::{Filter, Restoration};
use crate::locks::Mutex;

/// One entry for each embedding that has a filter.
#[derive(Default)]
pub struct Filters {
    attached: Mutex<Vec<(u16, Weak<Filter>)>>,
    /// Held by whoever reads or changes what waits in the storage's own folder.
    waiting: Mutex<()>,
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

    /// Whether an embedding of another group has it.
    fn has_other_group(&self, group: u16, filter: &Arc<Filter>) -> bool {
        self.attached.lock().iter().any(|(other, known)| *other != group && is_same(known, filter))
    }

    /// Every filter that is in use with the groups that use it, ascending; the filters by their
    /// first group.
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

/// A filter with the groups that have it, and the counts that it is about to get from a checkpoint.
pub(super) struct Prepared {
    groups: Vec<u16>,
    filter: Arc<Filter>,
    restoration: Restoration,
}

impl Core {
    /// Copies every filter into a checkpoint, and what waits for one.
    ///
    /// # Errors
    /// `IO`, naming the file.
    pub(super) fn save_filters(&self, dir: &Path) -> Result<()> {
        debug_assert!(self.checkpoints.is_locked());
        let live = self.filters.live();
        let _waiting = self.filters.waiting.lock();
        let own = self.dir.join(FOLDER);
        let waiting = read_list(&own)?;
        if live.is_empty() && waiting.is_empty() {
            return Ok(());
        }
        let folder = dir.join(FOLDER);
        let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", folder.display()));
        std::fs::create_dir(&folder).map_err(failed)?;
        let mut copies = Vec::new();
        for (groups, filter) in live {
            let file = format!("{}.filter", copies.len());
            filter.save_copy(&folder.join(&file))?;
            copies.push(Copy::new(file, &filter, groups));
        }
        for copy in waiting {
            let file = format!("{}.filter", copies.len());
            copy_for_good(&own.join(&copy.file), &folder.join(&file)).map_err(failed)?;
            copies.push(copy.renamed(file));
        }
        write_list(&folder, &copies).map_err(failed)
    }

    /// Finds for each filter here its counts in a checkpoint: the copy of the same file, or else
    /// one that a common group had. A filter whose groups had none there keeps its counts.
    ///
    /// # Errors
    /// As [`Filter::prepare`]; `CORRUPTION` when the list is damaged. Nothing has changed.
    pub(super) fn prepare_filters(&self, dir: &Path) -> Result<Vec<Prepared>> {
        let folder = dir.join(FOLDER);
        let copies = read_list(&folder)?;
        verify(&folder, &copies)?;
        let mut prepared = Vec::new();
        for (groups, filter) in self.filters.live() {
            if let Some(copy) = list::find(&copies, &filter, &groups) {
                let restoration = filter.prepare(&folder.join(&copies[copy].file))?;
                prepared.push(Prepared { groups, filter, restoration });
            }
        }
        Ok(prepared)
    }

    /// Compares the copies of filters that wait here.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(super) fn verify_filters(&self) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        let _waiting = self.filters.waiting.lock();
        verify(&folder, &read_list(&folder)?)
    }

    /// The filters that embeddings have now.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

fn is_same(known: &Weak<Filter>, filter: &Arc<Filter>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(filter))
}
