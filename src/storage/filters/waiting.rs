//! Counts that wait for their filter.
//!
//! When a checkpoint is loaded, or opened as a storage, one of its filters may not be attached yet:
//! no embedding of its groups is open, or none has had its filter set. Then the filter's copy waits
//! in the storage's own folder `filters`. The first filter attached to one of the copy's groups
//! takes the counts. A checkpoint copies what still waits. Every list in a storage is of copies
//! that wait: no release left another there.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use super::list::{CopyList, path_of};
use super::taking::Claim;
use super::{FOLDER, Filters, Prepared, list};
use crate::error::{Error, Result};
use crate::filter::{Filter, Restoration, Source};
use crate::locks::MutexGuard;
use crate::reserved::is_in_storage;
use crate::storage::Storage;

impl Storage {
    /// Keeps checkpoints from being made and loaded while a filter is attached. So a checkpoint has
    /// the filter's counts once: among those that wait, or among those of filters in use. Take it
    /// before the call begins, as checkpoints do.
    ///
    /// # Errors
    /// As [`Storage::begin_call`].
    pub(crate) fn hold_checkpoints(&self) -> Result<MutexGuard<'_, ()>> {
        drop(self.begin_call()?);
        Ok(self.handle.checkpoints.lock())
    }

    /// How many copies of a checkpoint's filters wait for a filter to be attached.
    ///
    /// # Errors
    /// `CORRUPTION`, `IO`.
    pub fn waiting_filters(&self) -> Result<usize> {
        let _call = self.begin_call()?;
        let filters = self.filters();
        let _waiting = filters.waiting.lock();
        Ok(CopyList::read(&filters.dir.join(FOLDER))?.copies.len())
    }

    /// Gives a filter that is about to be attached to a group the counts that wait for that group,
    /// if any do.
    ///
    /// # Errors
    /// As [`Filter::restore_from`]; `INVALID_ARGUMENT` when its file is in a folder of copies, and
    /// when it has counts of other groups. After an error the filter is as it was, unless the
    /// message says that it has the counts; these still wait, too.
    pub(crate) fn give_waiting_counts(&self, group: u16, filter: &Arc<Filter>) -> Result<()> {
        check_is_no_copy(filter)?;
        if self.engine().is_read_only() {
            return Ok(());
        }
        self.filters().give_waiting_counts(group, filter)
    }
}

impl Filters {
    fn give_waiting_counts(&self, group: u16, filter: &Arc<Filter>) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        let _waiting = self.waiting.lock();
        let mut list = CopyList::read(&folder)?;
        list::sweep(&folder, &list.copies);
        let (found, restoration) = match list.claim(&path_of(filter), filter.source()?, group) {
            Claim::Nothing => return Ok(()),
            Claim::Has(found) => (found, None),
            Claim::Takes(found) if !self.has_other_group(group, filter) => {
                let copy = folder.join(&list.copies[found].file);
                (found, Some(filter.prepare(&copy).map_err(|error| within(error, group, &folder))?))
            }
            Claim::Takes(_) | Claim::Refused => return Err(refused(group, filter, &folder)),
        };
        let source = list.source(found, &folder)?;
        list.note_taken(found, &[group]);
        self.keep_waiting(
            list,
            restoration.map(|restoration| (Arc::clone(filter), restoration, source)),
        )
    }

    /// Gives the attached filters the counts of the checkpoint that was loaded. Counts that no
    /// filter takes wait.
    ///
    /// # Errors
    /// As [`Filter::publish`]; `CORRUPTION`, `IO`.
    pub(in crate::storage) fn publish_counts(&self, prepared: Vec<Prepared>) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        let _waiting = self.waiting.lock();
        let mut list = CopyList::read(&folder)?;
        let mut given = Vec::new();
        for Prepared { groups, filter, file, restoration } in prepared {
            let mut source = [0; 16];
            if let Some(found) = list.copies.iter().position(|copy| copy.file == file) {
                source = list.source(found, &folder)?;
                list.note_taken(found, &groups);
            }
            given.push((filter, restoration, source));
        }
        if given.is_empty() {
            return Ok(());
        }
        self.keep_waiting(list, given)
    }

    /// Gives filters their counts. Then the list, without the copies that wait for no group any
    /// more, replaces the previous one.
    ///
    /// Until then the counts still wait, also after a kill. A filter that already has them has
    /// noted its source.
    fn keep_waiting(
        &self,
        mut list: CopyList,
        given: impl IntoIterator<Item = Given>,
    ) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        let failed = |error: io::Error| Error::io(format!("'{}': {error}", folder.display()));
        list.forget_given();
        let draft = list.draft(&folder).map_err(failed)?;
        let mut having = None;
        for (filter, restoration, source) in given {
            filter.publish(restoration, source)?;
            // The new file must survive a power cut, since the copy is removed below.
            filter.sync().map_err(|error| has_counts(error, &filter))?;
            having = Some(filter);
        }
        draft.publish().map_err(|error| match &having {
            Some(filter) => has_counts(failed(error), filter),
            None => failed(error),
        })?;
        list::sweep(&folder, &list.copies);
        Ok(())
    }
}

/// A filter, the counts that it gets, and their source.
type Given = (Arc<Filter>, Restoration, Source);

/// The error for a failure after a filter got its counts.
fn has_counts(error: Error, filter: &Filter) -> Error {
    error.within(&format!(
        "'{}' has the counts of the checkpoint now, and is not attached; attach it again",
        filter.path().display()
    ))
}

fn refused(group: u16, filter: &Filter, folder: &Path) -> Error {
    Error::invalid(format!(
        "group {group} has counts of a checkpoint that wait for its filter, and '{}' has counts of \
         other groups, which they would replace; attach a filter of its own, attach this one to \
         group {group} first, or remove the folder '{}' to go on without them",
        filter.path().display(),
        folder.display()
    ))
}

/// The error for counts that wait for a group and cannot be given to a filter.
fn within(error: Error, group: u16, folder: &Path) -> Error {
    error.within(&format!(
        "group {group} has counts of a checkpoint that wait for its filter; attach one with the \
         same parameters, or remove the folder '{}' to go on without them",
        folder.display()
    ))
}

/// Refuses a filter whose file is in a folder of copies: damo deletes copies there once their
/// counts are taken, and when a checkpoint is loaded.
fn check_is_no_copy(filter: &Filter) -> Result<()> {
    let path = filter.path();
    let Some(Ok(folder)) = path.parent().map(fs::canonicalize) else { return Ok(()) };
    let is_in = folder.ends_with(FOLDER) && is_in_storage(&folder.join(FOLDER)).unwrap_or(true);
    if !is_in {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the filter's path '{}' is in the folder '{FOLDER}' of a storage or checkpoint, whose \
         files damo deletes; a filter elsewhere is needed (copy the file)",
        path.display()
    )))
}
