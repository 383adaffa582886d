//! Puts the files of a checkpoint in the place of a storage's. At any moment one of the two is
//! there, whole.
//!
//! 1. The folder `.damo-restoring.new` is filled with links to, or copies of, the checkpoint's
//!    files, and synced.
//! 2. It becomes `.damo-restoring`. This is the point of no return: from here on the checkpoint
//!    counts.
//! 3. The storage's own files are deleted.
//! 4. The folder becomes `.damo-restored`, and its files move to their places.
//!
//! After a kill, opening does the rest, or removes a folder that did not get to 2. This file knows
//! of files, not what is in them.

use std::fs;
use std::io;
use std::path::Path;

use super::content::{content_of, is_content};
use super::in_the_way::{check_ways, in_the_way};
use super::list_files;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::files::copy::copy_file;
use crate::files::folder::{failed, is_absence, remove, sync_dir};
use crate::files::regular;
use crate::rocks::{INVENTORY, Inventory};
use crate::seqno::Seqno;
use crate::storage::filters::{FOLDER as FILTERS, is_of_filters};

const FILLING: &str = ".damo-restoring.new";
const COMPLETE: &str = ".damo-restoring";
const MOVING: &str = ".damo-restored";

/// Prepares what [`commit`] puts in place. `last` is the largest sequence number used here or in
/// the checkpoint, `time` the latest time that this storage has used. They go into the staged
/// inventory, so that neither goes back, even if the process is killed before the documents say so.
///
/// # Errors
/// `IO`, also when something is in the way of the files. The storage is as it was.
pub(in crate::storage) fn stage(
    checkpoint: &Path,
    dir: &Path,
    last: Seqno,
    time: u64,
) -> Result<()> {
    let staged = dir.join(FILLING);
    let fill = || -> io::Result<()> {
        remove(&staged)?;
        fs::create_dir(&staged)?;
        fs::create_dir(staged.join(JOURNAL))?;
        let mut files = Vec::new();
        list_files(checkpoint, "", &mut files)?;
        if files.iter().any(|(name, _)| is_of_filters(name)) {
            fs::create_dir(staged.join(FILTERS))?;
        }
        for (name, _) in files.iter().filter(|(name, _)| is_content(name) && name != INVENTORY) {
            link_or_copy(&checkpoint.join(name), &staged.join(name))?;
        }
        sync_folders(&staged)?;
        sync_dir(&staged)
    };
    let filled = fill().map_err(|error| failed(&staged, &error));
    let listed =
        filled.and_then(|()| Inventory::take(&staged, true, last)?.at(time).write(&staged));
    let checked = listed.and_then(|()| check_ways(dir, &content_of(&staged)?));
    checked.inspect_err(|_| drop(remove(&staged)))
}

/// Notes in the staged inventory what this storage has used since [`stage`]: sequence numbers up to
/// `last`, and the time `time`. Call it when no call is under way any more.
///
/// # Errors
/// `IO`. The storage is as it was.
pub(in crate::storage) fn note_use(dir: &Path, last: Seqno, time: u64) -> Result<()> {
    let staged = dir.join(FILLING);
    let Some(mut inventory) = Inventory::read(&staged)? else {
        return Err(Error::io(format!("'{}' has no {INVENTORY}", staged.display())));
    };
    inventory.last = inventory.last.max(last);
    inventory.time = inventory.time.max(time);
    inventory.write(&staged)
}

/// Removes what [`stage`] has prepared.
pub(in crate::storage) fn abandon(dir: &Path) {
    let _ = remove(&dir.join(FILLING));
}

/// Why a commit failed, and what the storage is now.
#[derive(Debug)]
pub(in crate::storage) enum CommitError {
    /// Before the point of no return: the storage is as it was.
    Before(Error),
    /// Beyond it: the next opening completes the commit.
    Beyond(Error),
}

/// Puts the staged files in place of the storage's. The database must be closed.
///
/// # Errors
/// `IO`, on either side of the point of no return.
pub(in crate::storage) fn commit(dir: &Path) -> std::result::Result<(), CommitError> {
    fs::rename(dir.join(FILLING), dir.join(COMPLETE))
        .map_err(|error| CommitError::Before(failed(dir, &error)))?;
    let synced = sync_dir(dir).map_err(|error| failed(dir, &error));
    synced.and_then(|()| finish_after(dir, true)).map_err(CommitError::Beyond)
}

/// Whether a process was killed in [`commit`], beyond the point of no return, and the directory was
/// not opened since.
///
/// # Errors
/// `IO`.
pub(in crate::storage) fn is_committed(dir: &Path) -> Result<bool> {
    let there =
        |name: &str| is_there(&dir.join(name)).map_err(|error| failed(&dir.join(name), &error));
    Ok(there(COMPLETE)? || there(MOVING)?)
}

/// Whether there is a directory. An error while looking must not pass for none.
fn is_there(dir: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(dir) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Does what a killed process has left to do. Call it before the database is opened.
///
/// # Errors
/// `IO`.
pub(in crate::storage) fn finish(dir: &Path) -> Result<()> {
    finish_after(dir, false)
}

/// As [`finish`]. `is_complete` says that the staged files are known to be complete; otherwise this
/// looks for `.damo-restoring`.
fn finish_after(dir: &Path, is_complete: bool) -> Result<()> {
    let (complete, moving) = (dir.join(COMPLETE), dir.join(MOVING));
    let named = |error: io::Error| failed(dir, &error);
    remove(&dir.join(FILLING)).map_err(named)?;
    if is_complete || is_there(&complete).map_err(named)? {
        for path in content_of(dir)?.iter().map(|name| dir.join(name)) {
            match fs::remove_file(&path) {
                // The journal's thread may have deleted this spare meanwhile.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&path, &error));
                }
                _ => {}
            }
        }
        sync_dir(dir).and_then(|()| fs::rename(&complete, &moving)).map_err(named)?;
        sync_dir(dir).map_err(named)?;
    }
    if is_there(&moving).map_err(named)? {
        let content = content_of(&moving)?;
        make_folder(&dir.join(JOURNAL))?;
        if content.iter().any(|name| is_of_filters(name)) {
            make_folder(&dir.join(FILTERS))?;
        }
        for name in content {
            let path = dir.join(&name);
            fs::rename(moving.join(&name), &path).map_err(|error| failed(&path, &error))?;
        }
        sync_folders(dir).and_then(|()| sync_dir(dir)).map_err(named)?;
        remove(&moving).and_then(|()| sync_dir(dir)).map_err(named)?;
    }
    Ok(())
}

/// Makes a folder, unless it exists.
fn make_folder(path: &Path) -> Result<()> {
    match fs::create_dir_all(path) {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) => Err(in_the_way(
            path,
            "is no folder, and the loaded checkpoint has files for that folder",
        )),
        made => made.map_err(|error| failed(path, &error)),
    }
}

/// Syncs those folders with content that a directory has.
fn sync_folders(dir: &Path) -> io::Result<()> {
    for folder in [JOURNAL, FILTERS].map(|folder| dir.join(folder)) {
        // A folder, or a link to one.
        if folder.is_dir() {
            sync_dir(&folder)?;
        }
    }
    Ok(())
}

/// Links an SST file, which never changes. Copies any other, since it may be written to, or where
/// no link can be made.
fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    let never_changes = from.extension().is_some_and(|extension| extension == "sst");
    if !never_changes || fs::hard_link(from, to).is_err() {
        copy_file(from, to)?;
    }
    // A linked file is synced too: the checkpoint may have been copied here a moment ago.
    regular::open(to)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn read(dir: &Path) -> Vec<(String, String)> {
        let mut files = Vec::new();
        list_files(dir, "", &mut files).unwrap();
        files.sort();
        files
            .into_iter()
            .map(|(name, _)| (name.clone(), fs::read_to_string(dir.join(name)).unwrap()))
            .collect()
    }

    /// As [`read`], but without the inventory, which it checks.
    fn read_loaded(dir: &Path) -> Vec<(String, String)> {
        let inventory = Inventory::read(dir).unwrap().unwrap();
        assert_eq!((inventory.last, inventory.time), (LAST, TIME));
        inventory.check(dir).unwrap();
        read(dir).into_iter().filter(|(name, _)| name != INVENTORY).collect()
    }

    const LAST: Seqno = Seqno::new(42);
    const TIME: u64 = 4_000_000_000_000;

    const OLD: [(&str, &str); 7] = [
        ("INVENTORY", "old"),
        ("000009.sst", "old"),
        ("000011.sst", "old"),
        ("CURRENT", "old"),
        ("LOCK", ""),
        ("LOG", "old"),
        ("journal/5.journal", "old"),
    ];
    const NEW: [(&str, &str); 4] = [
        ("000009.sst", "new"),
        ("CURRENT", "MANIFEST-000001\n"),
        ("MANIFEST-000001", "new"),
        ("journal/9.journal", "new"),
    ];

    fn expected() -> Vec<(String, String)> {
        let mut files: Vec<_> = NEW
            .iter()
            .chain(&[("LOCK", ""), ("LOG", "old")])
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_checkpoint_takes_the_place_of_what_was_there() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, checkpoint) = (scratch.path().join("dir"), scratch.path().join("checkpoint"));
        write(&dir, &OLD);
        write(&checkpoint, &NEW);
        stage(&checkpoint, &dir, LAST, TIME).unwrap();
        commit(&dir).unwrap();
        assert_eq!(read_loaded(&dir), expected());
        assert_eq!(read(&checkpoint).len(), NEW.len(), "the checkpoint is as it was");
    }

    #[test]
    fn what_is_used_while_files_are_copied_is_noted() {
        let scratch = tempfile::tempdir().unwrap();
        let (dir, checkpoint) = (scratch.path().join("dir"), scratch.path().join("checkpoint"));
        write(&dir, &OLD);
        write(&checkpoint, &NEW);
        let noted = || {
            let inventory = Inventory::read(&dir).unwrap().unwrap();
            inventory.check(&dir).unwrap();
            (inventory.last, inventory.time)
        };
        stage(&checkpoint, &dir, LAST, TIME).unwrap();
        // Neither goes back.
        note_use(&dir, LAST.saturating_add(7), TIME - 1).unwrap();
        note_use(&dir, LAST, TIME + 9).unwrap();
        fs::rename(dir.join(FILLING), dir.join(COMPLETE)).unwrap();
        finish(&dir).unwrap();
        assert_eq!(noted(), (LAST.saturating_add(7), TIME + 9));
        let error = note_use(&dir, LAST, TIME).unwrap_err();
        assert!(error.message().contains(FILLING), "{error}");
    }

    #[test]
    fn killed_at_any_point_it_is_the_one_or_the_other() {
        let scratch = tempfile::tempdir().unwrap();
        let checkpoint = scratch.path().join("checkpoint");
        write(&checkpoint, &NEW);
        // Before the point of no return.
        let dir = scratch.path().join("before");
        write(&dir, &OLD);
        let before = read(&dir);
        stage(&checkpoint, &dir, LAST, TIME).unwrap();
        finish(&dir).unwrap();
        assert_eq!(read(&dir), before);
        // After it: with any number of old files deleted, and any number of new ones moved.
        for deleted in 0..=5 {
            let dir = scratch.path().join(format!("deleted{deleted}"));
            write(&dir, &OLD);
            stage(&checkpoint, &dir, LAST, TIME).unwrap();
            fs::rename(dir.join(FILLING), dir.join(COMPLETE)).unwrap();
            for name in content_of(&dir).unwrap().into_iter().take(deleted) {
                fs::remove_file(dir.join(name)).unwrap();
            }
            assert!(is_committed(&dir).unwrap());
            finish(&dir).unwrap();
            assert_eq!(read_loaded(&dir), expected());
        }
        for moved in 0..=5 {
            let dir = scratch.path().join(format!("moved{moved}"));
            write(&dir, &OLD);
            stage(&checkpoint, &dir, LAST, TIME).unwrap();
            fs::rename(dir.join(FILLING), dir.join(COMPLETE)).unwrap();
            for name in content_of(&dir).unwrap() {
                fs::remove_file(dir.join(name)).unwrap();
            }
            fs::rename(dir.join(COMPLETE), dir.join(MOVING)).unwrap();
            for name in content_of(&dir.join(MOVING)).unwrap().into_iter().take(moved) {
                fs::rename(dir.join(MOVING).join(&name), dir.join(&name)).unwrap();
            }
            finish(&dir).unwrap();
            assert_eq!(read_loaded(&dir), expected());
        }
    }
}
