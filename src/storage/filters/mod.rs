//! The filters attached to a storage's embeddings. Flushing and checkpoints include them.
//!
//! A checkpoint has copies of them in the folder `filters`, with a list of each one's path and
//! groups (`list`). After a checkpoint is loaded, or opened as a storage, copies wait in that
//! folder until a filter is attached (`waiting`). `taking` decides which counts a filter gets.

mod list;
mod taking;
mod waiting;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use list::{CopyList, FilterCopy, path_of};
pub(super) use list::{FOLDER, is_of_filters};

use crate::error::{Error, Result};
use crate::files::copy::copy_for_good;
use crate::files::folder::is_absence;
use crate::files::regular;
use crate::filter::{Filter, Restoration};
use crate::locks::Mutex;

/// The filters of a storage.
pub struct Filters {
    /// The storage's directory.
    dir: PathBuf,
    /// One element for each embedding that has a filter.
    attached: Mutex<Vec<(u16, Weak<Filter>)>>,
    /// Held while copies that wait in the storage's own folder are read or changed.
    waiting: Mutex<()>,
}

impl Filters {
    pub(super) fn new(dir: &Path) -> Filters {
        Filters { dir: dir.to_owned(), attached: Mutex::default(), waiting: Mutex::default() }
    }

    /// Notes that `filter` is attached to an embedding of `group`.
    pub(crate) fn register(&self, group: u16, filter: &Arc<Filter>) {
        let mut attached = self.attached.lock();
        attached.retain(|(_, filter)| filter.strong_count() > 0);
        attached.push((group, Arc::downgrade(filter)));
    }

    /// Notes that `filter` is detached from one embedding of `group`; others may still have it.
    pub(crate) fn unregister(&self, group: u16, filter: &Arc<Filter>) {
        let mut attached = self.attached.lock();
        let is_it =
            |(other, known): &(u16, Weak<Filter>)| *other == group && is_same(known, filter);
        if let Some(index) = attached.iter().position(is_it) {
            attached.swap_remove(index);
        }
    }

    /// Whether an embedding of another group has `filter`.
    fn has_other_group(&self, group: u16, filter: &Arc<Filter>) -> bool {
        self.attached.lock().iter().any(|(other, known)| *other != group && is_same(known, filter))
    }

    /// Every filter in use, with the groups that use it, ascending. The filters are in the order of
    /// their first groups.
    pub fn live(&self) -> Vec<(Vec<u16>, Arc<Filter>)> {
        let mut attached: Vec<_> = {
            let attached = self.attached.lock();
            attached
                .iter()
                .filter_map(|(group, filter)| Some((*group, filter.upgrade()?)))
                .collect()
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

/// A filter, its groups, and the counts that it is about to get from a checkpoint.
pub(super) struct Prepared {
    groups: Vec<u16>,
    filter: Arc<Filter>,
    /// The copy that the counts are from.
    file: String,
    restoration: Restoration,
}

impl Filters {
    /// Copies every filter into a checkpoint, and every copy that waits for a filter. The caller
    /// keeps others from making or loading a checkpoint meanwhile.
    ///
    /// # Errors
    /// `IO`, naming the file.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let live = self.live();
        let _waiting = self.waiting.lock();
        let own = self.dir.join(FOLDER);
        let waiting = CopyList::read(&own)?;
        if live.is_empty() && waiting.copies.is_empty() {
            return Ok(());
        }
        let folder = dir.join(FOLDER);
        let failed = |error: std::io::Error| Error::io(format!("'{}': {error}", folder.display()));
        std::fs::create_dir(&folder).map_err(failed)?;
        let (mut copies, mut sources) = (Vec::new(), Vec::new());
        for (groups, filter) in live {
            let file = format!("{}.filter", copies.len());
            filter.save_copy(&folder.join(&file))?;
            sources.extend(waiting.copy_of(filter.source()?).map(|had| (had, file.clone())));
            copies.push(FilterCopy::new(file, &filter, groups));
        }
        let first_waiting = copies.len();
        let renamed = |old: &str| {
            let index = waiting.copies.iter().position(|copy| copy.file == old)?;
            Some(format!("{}.filter", first_waiting + index))
        };
        for copy in &waiting.copies {
            let file = format!("{}.filter", copies.len());
            save_waiting(copy, &own, &folder.join(&file))?;
            // Waiting copies, and filters copied above, whose counts include these.
            let taken_by =
                sources.iter().filter(|(had, _)| copy.is_in(had)).map(|(_, file)| file.clone());
            let part_of =
                copy.part_of.iter().filter_map(|file| renamed(file)).chain(taken_by).collect();
            copies.push(FilterCopy {
                file,
                path: copy.path.clone(),
                groups: copy.groups.clone(),
                part_of,
            });
        }
        CopyList::new(copies).write(&folder).map_err(failed)
    }

    /// For each live filter, finds its copy in the checkpoint: one with a group in common, by
    /// preference one of the same path. A filter without such a copy keeps its counts.
    ///
    /// # Errors
    /// As [`Filter::prepare`]; `CORRUPTION` when the list is damaged. Nothing is changed.
    pub(super) fn prepare(&self, dir: &Path) -> Result<Vec<Prepared>> {
        let folder = dir.join(FOLDER);
        let list = CopyList::read(&folder)?;
        list.verify(&folder)?;
        let mut prepared = Vec::new();
        // A copy that no other filter has taken is preferred: a group may have had several.
        let mut left = list.clone();
        for (groups, filter) in self.live() {
            let path = path_of(&filter);
            if let Some(index) = left.find(&path, &groups).or_else(|| list.find(&path, &groups)) {
                left.note_taken(index, &groups);
                let file = list.copies[index].file.clone();
                let restoration = filter.prepare(&folder.join(&file))?;
                prepared.push(Prepared { groups, filter, file, restoration });
            }
        }
        Ok(prepared)
    }

    /// Verifies the copies that wait here.
    ///
    /// # Errors
    /// `CORRUPTION` naming the file; `IO`.
    pub(super) fn verify(&self) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        let _waiting = self.waiting.lock();
        CopyList::read(&folder)?.verify(&folder)
    }
}

/// Copies a copy that waits in the storage's folder `own` into a checkpoint.
fn save_waiting(copy: &FilterCopy, own: &Path, to: &Path) -> Result<()> {
    let from = own.join(&copy.file);
    let remedy = format!(
        "it has the counts that wait for a filter of the groups {:?}; put it back, or remove the \
         folder '{}' to go on without any that wait",
        copy.groups,
        own.display()
    );
    match regular::open(&from) {
        Err(error) if is_absence(&error) => {
            return Err(Error::corruption(format!("'{}' is missing; {remedy}", from.display())));
        }
        Err(error) => {
            return Err(Error::io(format!(
                "'{}' cannot be read: {error}; {remedy}",
                from.display()
            )));
        }
        Ok(_) => {}
    }
    copy_for_good(&from, to).map_err(|error| {
        Error::io(format!("'{}' cannot be copied to '{}': {error}", from.display(), to.display()))
    })
}

fn is_same(known: &Weak<Filter>, filter: &Arc<Filter>) -> bool {
    std::ptr::eq(known.as_ptr(), Arc::as_ptr(filter))
}
