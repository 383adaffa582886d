//! The filters that the embeddings of a storage have now, so that flushing and checkpoints can take them along.
//!
//! In a checkpoint they are in the folder `filters`, with a list of where each was and which groups had it.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Weak};

use serde::{Deserialize, Serialize};

use super::Core;
use super::checkpoint::is_absence;
use crate::error::{Error, Result};
use crate::filter::{Filter, Restoration, verify_file};
use crate::locks::Mutex;

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

/// The folder in a checkpoint, and the list in it.
const FOLDER: &str = "filters";
const LIST: &str = "filters.json";

/// A filter in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Copy {
    file: String,
    /// Where the filter was.
    path: String,
    /// The groups that had it.
    groups: Vec<u16>,
}

/// A filter, and the counts that it is about to get from a checkpoint.
pub(super) struct Prepared {
    filter: Arc<Filter>,
    restoration: Restoration,
}

impl Prepared {
    /// # Errors
    /// As [`Filter::publish`].
    pub(super) fn publish(self) -> Result<()> {
        self.filter.publish(self.restoration)
    }
}

impl Core {
    /// Copies every filter into a checkpoint.
    ///
    /// # Errors
    /// `IO`, naming the file.
    pub(super) fn save_filters(&self, dir: &Path) -> Result<()> {
        let live = self.filters.live();
        if live.is_empty() {
            return Ok(());
        }
        let folder = dir.join(FOLDER);
        let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", folder.display()));
        std::fs::create_dir(&folder).map_err(failed)?;
        let mut copies = Vec::new();
        for (number, (groups, filter)) in live.into_iter().enumerate() {
            let file = format!("{number}.filter");
            filter.save_copy(&folder.join(&file))?;
            copies.push(Copy { file, path: filter.path().display().to_string(), groups });
        }
        let json = serde_json::to_vec_pretty(&copies).map_err(|error| Error::invalid(error.to_string()))?;
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create_new(folder.join(LIST))?;
            file.write_all(&json)?;
            file.sync_all()?;
            std::fs::File::open(&folder)?.sync_all()
        };
        write().map_err(failed)
    }

    /// Finds for each filter here its counts in a checkpoint: the copy of the same file, or else one that a common group had. A
    /// filter whose groups had none there keeps its counts.
    ///
    /// # Errors
    /// As [`Filter::prepare`]; `CORRUPTION` when the list is damaged. Nothing has changed.
    pub(super) fn prepare_filters(&self, dir: &Path) -> Result<Vec<Prepared>> {
        let folder = dir.join(FOLDER);
        let copies = read_list(&folder)?;
        verify(&folder, &copies)?;
        let mut prepared = Vec::new();
        for (groups, filter) in self.filters.live() {
            let path = filter.path().display().to_string();
            let has_common_group = |copy: &&Copy| copy.groups.iter().any(|group| groups.contains(group));
            let same_path = copies.iter().find(|copy| copy.path == path);
            if let Some(copy) = same_path.or_else(|| copies.iter().find(has_common_group)) {
                let restoration = filter.prepare(&folder.join(&copy.file))?;
                prepared.push(Prepared { filter, restoration });
            }
        }
        Ok(prepared)
    }

    /// Compares the copies of filters that came with the checkpoint which this storage was, if it
    /// was one.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(super) fn verify_filters(&self) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        verify(&folder, &read_list(&folder)?)
    }

    /// The filters that embeddings have now.
    pub fn filters(&self) -> &Filters {
        &self.filters
    }
}

/// The list of the copies in a folder; empty where there is none.
fn read_list(folder: &Path) -> Result<Vec<Copy>> {
    let list = folder.join(LIST);
    match std::fs::read(&list) {
        Err(error) if is_absence(&error) => Ok(Vec::new()),
        Err(error) => Err(Error::io(format!("'{}': {error}", list.display()))),
        Ok(json) => serde_json::from_slice(&json).map_err(|error| {
            Error::corruption(format!("its list of filters '{}' is damaged: {error}", list.display()))
        }),
    }
}

/// Reads the copies through.
fn verify(folder: &Path, copies: &[Copy]) -> Result<()> {
    copies.iter().try_for_each(|copy| verify_file(&folder.join(&copy.file)))
}

fn is_same(known: &Weak<Filter>, filter: &Arc<Filter>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(filter))
}
