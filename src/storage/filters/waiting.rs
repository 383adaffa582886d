//! Counts that wait for their filter.
//!
//! When a checkpoint is loaded, or opened as a storage, a filter of it may not be attached here: no
//! embedding of its groups is open, or none has had its filter set yet. Then its copy waits in the
//! storage's own folder `filters`. The first filter that is attached to one of its groups takes the
//! counts. A checkpoint copies what still waits.

use std::fs;
use std::sync::Arc;

use super::{Copy, FOLDER, Prepared, list, read_list, write_list};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::locks::MutexGuard;
use crate::reserved::is_in_storage;
use crate::storage::{Core, Storage};

impl Storage {
    /// Keeps checkpoints from being made and loaded while a filter is attached. In a checkpoint its
    /// counts are either among those that wait or among those of filters in use. Take it before the
    /// call begins, as checkpoints do.
    ///
    /// # Errors
    /// As [`Storage::begin_call`].
    pub(crate) fn hold_checkpoints(&self) -> Result<MutexGuard<'_, ()>> {
        drop(self.begin_call()?);
        Ok(self.core().checkpoints.lock())
    }

    /// How many filters of a checkpoint there are whose counts wait for a filter to be attached.
    ///
    /// # Errors
    /// `CORRUPTION`, `IO`.
    pub fn waiting_filters(&self) -> Result<usize> {
        let _call = self.begin_call()?;
        let _waiting = self.core().filters.waiting.lock();
        read_list(&self.core().dir.join(FOLDER)).map(|copies| copies.len())
    }
}

impl Core {
    /// Gives a filter that is about to be attached to a group the counts that wait for it, if any
    /// do.
    ///
    /// # Errors
    /// As [`Filter::restore_from`]; `INVALID_ARGUMENT` when its file is in a folder of copies, and
    /// when it has counts of other groups. The filter is then as it was, and the counts still wait.
    pub fn give_waiting_counts(&self, group: u16, filter: &Arc<Filter>) -> Result<()> {
        check_is_no_copy(filter)?;
        if self.is_read_only() {
            return Ok(());
        }
        let folder = self.dir.join(FOLDER);
        let _waiting = self.filters.waiting.lock();
        let mut copies = read_list(&folder)?;
        list::sweep(&folder, &copies);
        let Some(found) = list::find(&copies, filter, &[group]) else { return Ok(()) };
        let copy = &copies[found];
        if copy.is_taken_by(filter) && !copy.groups.contains(&group) {
            return Ok(());
        }
        if !copy.is_taken_by(filter) {
            let is_in_use = || self.filters.has_other_group(group, filter);
            if copy.is_withheld_from(filter) || is_in_use() {
                return Err(Error::invalid(format!(
                    "group {group} has counts of a checkpoint that wait for its filter, and '{}' has counts of other \
                     groups, which they would replace; attach a filter of its own, attach this one to group {group} \
                     first, or remove the folder '{}' to go on without them",
                    filter.path().display(),
                    folder.display()
                )));
            }
            filter.restore_from(&folder.join(&copy.file)).map_err(|error| {
                error.within(&format!(
                    "group {group} has counts of a checkpoint that wait for its filter; attach one with the same \
                     parameters, or remove the folder '{}' to go on without them",
                    folder.display()
                ))
            })?;
        }
        list::note_taken(&mut copies, found, filter, &[group]);
        self.keep_waiting(copies)
    }

    /// Gives the filters that are attached the counts of the checkpoint that was loaded. Counts
    /// that no filter took wait.
    ///
    /// # Errors
    /// As [`Filter::publish`]; `CORRUPTION`, `IO`.
    pub(in crate::storage) fn publish_counts(&self, prepared: Vec<Prepared>) -> Result<()> {
        let _waiting = self.filters.waiting.lock();
        let mut copies = read_list(&self.dir.join(FOLDER))?;
        if copies.is_empty() && prepared.is_empty() {
            return Ok(());
        }
        for Prepared { groups, filter, restoration } in prepared {
            filter.publish(restoration)?;
            if let Some(found) = list::find(&copies, &filter, &groups) {
                list::note_taken(&mut copies, found, &filter, &groups);
            }
        }
        self.keep_waiting(copies)
    }

    /// Writes the list anew, without those that wait for no group any more.
    fn keep_waiting(&self, mut copies: Vec<Copy>) -> Result<()> {
        let folder = self.dir.join(FOLDER);
        copies.retain(|copy| !copy.groups.is_empty());
        let written = match copies.is_empty() {
            true => list::remove_list(&folder),
            false => write_list(&folder, &copies),
        };
        written.map_err(|error| Error::io(format!("'{}': {error}", folder.display())))?;
        list::sweep(&folder, &copies);
        Ok(())
    }
}

/// Refuses a filter whose file is in a folder of copies: damo deletes copies there once they are
/// taken, and when a checkpoint is loaded.
fn check_is_no_copy(filter: &Filter) -> Result<()> {
    let path = filter.path();
    let Some(Ok(folder)) = path.parent().map(fs::canonicalize) else { return Ok(()) };
    let is_in = folder.ends_with(FOLDER) && is_in_storage(&folder.join(FOLDER)).unwrap_or(true);
    if !is_in {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the filter's path '{}' is in the folder '{FOLDER}' of a storage or checkpoint, whose files damo deletes; a \
         filter elsewhere is needed (copy the file)",
        path.display()
    )))
}
