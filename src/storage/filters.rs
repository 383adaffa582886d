//! The filters that the embeddings of a storage have now, so that flushing and checkpoints can take them along.
//!
//! In a checkpoint they are in the folder `filters`, each named after the first group that has it.

use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Core;
use crate::error::{Error, Result};
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

    /// Every filter that is in use by its name in a checkpoint.
    fn named(&self) -> Vec<(String, Arc<Filter>)> {
        let mut named: Vec<(String, Arc<Filter>)> = Vec::new();
        for (groups, filter) in self.live() {
            let group = groups.first().copied().unwrap_or(0);
            let mut name = format!("{group:05}.filter");
            // Two embeddings of a group may have different ones.
            for number in 1.. {
                if !named.iter().any(|(other, _)| *other == name) {
                    break;
                }
                name = format!("{group:05}-{number}.filter");
            }
            named.push((name, filter));
        }
        named
    }

    /// Brings all counts to disk.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn sync(&self) -> Result<()> {
        self.live().iter().try_for_each(|(_, filter)| filter.sync())
    }
}

/// The folder in a checkpoint.
const FOLDER: &str = "filters";

impl Core {
    /// Copies every filter into a checkpoint.
    ///
    /// # Errors
    /// `IO`, naming the file.
    pub(super) fn save_filters(&self, dir: &Path) -> Result<()> {
        let named = self.filters.named();
        if named.is_empty() {
            return Ok(());
        }
        let folder = dir.join(FOLDER);
        let made = std::fs::create_dir(&folder);
        made.map_err(|error| Error::io(format!("'{}': {error}", folder.display())))?;
        named.iter().try_for_each(|(name, filter)| filter.save_copy(&folder.join(name)))
    }

    /// Makes sure that the copies in a checkpoint are what the filters here can take.
    ///
    /// # Errors
    /// As [`Filter::restore_from`]; nothing has changed.
    pub(super) fn check_filters(&self, dir: &Path) -> Result<()> {
        self.with_copies(dir, Filter::check_copy)
    }

    /// Gives the filters here the counts that they had in a checkpoint; those that it does not have keep theirs.
    ///
    /// # Errors
    /// As [`Filter::restore_from`].
    pub(super) fn restore_filters(&self, dir: &Path) -> Result<()> {
        self.with_copies(dir, Filter::restore_from)
    }

    fn with_copies(&self, dir: &Path, work: impl Fn(&Filter, &Path) -> Result<()>) -> Result<()> {
        let folder = dir.join(FOLDER);
        let copies = self.filters.named().into_iter().map(|(name, filter)| (folder.join(name), filter));
        copies.filter(|(path, _)| path.exists()).try_for_each(|(path, filter)| work(&filter, &path))
    }

    /// The filters that embeddings have now.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

fn is_same(known: &Weak<Filter>, filter: &Arc<Filter>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(filter))
}
