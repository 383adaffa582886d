//! Checkpoint: a directory with everything of one moment: rows, optimizer state, groups, steps,
//! filters.
//!
//! SST files are hard links. So a large storage takes no longer than a small one, and no space
//! until rows change. The directory is a storage like any other, as if closed at that moment. A
//! list of its files tells whether a copy is whole.

mod content;
pub(super) mod id;
pub(super) mod in_the_way;
mod list;
pub(super) mod load;
pub(super) mod swap;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

pub(super) use list::{FileList, LIST, list_files};

use super::Storage;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::files::copy::copy_for_good;
use crate::files::folder::{failed, is_absence, parent, remove, sync_dir};
use crate::files::publish::{Unpublished, check_absent, publish_new};
use crate::journal;
use crate::memory::check_headroom;
use crate::reserved::is_in_storage;
use crate::rocks::Inventory;
use id::NewId;

/// The folder in the storage for links, when the checkpoint itself is on another file system.
const LINKED: &str = ".damo-checkpoint";

impl Storage {
    /// Writes a checkpoint to `path`, which must not exist yet, in a directory that does. Calls go
    /// on meanwhile. The checkpoint has all calls that returned before, and appears under its name
    /// only when it is whole.
    ///
    /// # Errors
    /// `ALREADY_EXISTS`; `INVALID_ARGUMENT` for a path without a name; `IO`, `OUT_OF_MEMORY`,
    /// `POISONED`; `BUSY` with `read_only` when the storage was open elsewhere without a journal,
    /// since the checkpoint could have parts of calls.
    pub fn checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        self.checkpoint_to(path.as_ref()).map_err(|error| self.in_dir(error))
    }

    fn checkpoint_to(&self, path: &Path) -> Result<()> {
        let named = |error: Error| error.within(&format!("path '{}'", path.display()));
        drop(self.begin_call()?);
        self.check_whole_calls().map_err(named)?;
        check_parent(path).map_err(named)?;
        if is_in_storage(path).map_err(|error| failed(path, &error))? {
            return Err(named(Error::invalid(
                "is in the directory of a storage; a path outside of it is needed",
            )));
        }
        check_headroom(1).map_err(named)?;
        // Taken before the call begins: loading a checkpoint holds this too, and waits for calls to
        // end.
        let _one_at_a_time = self.handle.checkpoints.lock();
        let _call = self.begin_call()?;
        self.engine().ensure_works().map_err(named)?;
        let temporary = temporary_name(path)?;
        let unfinished = Unfinished(&temporary);
        remove_stale(path);
        let rocks = self.engine().rocks()?;
        let id = NewId::begin(&rocks).map_err(named)?;
        self.write_checkpoint(&temporary, &id).map_err(named)?;
        // This never replaces something that appeared meanwhile.
        let published = publish_new(&temporary, path);
        if published.as_ref().err().is_none_or(Unpublished::is_in_place) {
            std::mem::forget(unfinished);
            id.keep();
        }
        published.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => already_exists(path),
            _ => named(Error::io(error.to_string())),
        })
    }
}

/// Refuses a path whose folder does not exist.
fn check_parent(path: &Path) -> Result<()> {
    let parent = parent(path);
    match fs::metadata(parent) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if !is_absence(&error) => Err(failed(parent, &error)),
        _ => Err(Error::io(format!(
            "the folder '{}' is not there; a path in one that is there is needed",
            parent.display()
        ))),
    }
}

impl Storage {
    fn write_checkpoint(&self, dir: &Path, id: &NewId) -> Result<()> {
        let engine = self.engine();
        let rocks = engine.rocks()?;
        // Links come first, since they take no time: the writer waits while the disk has nothing
        // later than the cut. On another file system the files are copied afterwards.
        let linked = match is_same_device(&engine.dir, parent(dir))? {
            true => dir.to_owned(),
            false => engine.dir.join(LINKED),
        };
        let away = (linked != dir).then(|| Unfinished(&linked));
        if away.is_some() {
            remove(&linked).map_err(|error| failed(&linked, &error))?;
        }
        let cut = engine.with_cut(&rocks, |cut| {
            id.write()?;
            rocks.checkpoint(&linked).map(|()| cut)
        })?;
        // A likeness has symbolic links. For another file system `copy_files` copies what they lead
        // to.
        if engine.is_read_only() && away.is_none() {
            replace_links(&linked).map_err(|error| failed(&linked, &error))?;
        }
        if away.is_some() {
            copy_files(&linked, dir).map_err(|error| failed(dir, &error))?;
        }
        drop(away);
        Inventory::take(dir, true, cut.seqno)?.write(dir)?;
        self.filters().save(dir)?;
        if engine.journal().is_some() {
            // The documents say that there is a journal. This one is empty: no call comes after the
            // cut.
            journal::write_empty(&dir.join(JOURNAL), cut.seqno)?;
        }
        FileList::of(dir, id.id(), cut)?.write(dir)
    }
}

/// Removes a directory when dropped.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let _ = remove(self.0);
    }
}

/// A path for the unfinished checkpoint: beside its final place, so that a rename puts it there.
fn temporary_name(path: &Path) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(format!(
            "path '{}' does not end in a name; a path that does not exist yet is needed",
            path.display()
        )));
    };
    check_absent(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => already_exists(path),
        _ => failed(path, &error),
    })?;
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut hidden = unfinished_prefix(name);
    hidden.push(format!("{pid}.{count}"));
    Ok(parent(path).join(hidden))
}

/// How the names of unfinished checkpoints called `name` begin; the id of the process that makes
/// one follows.
fn unfinished_prefix(name: &OsStr) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".unfinished.");
    hidden
}

/// Removes unfinished checkpoints of this name that killed processes have left.
fn remove_stale(path: &Path) {
    let Some(prefix) = path.file_name().map(unfinished_prefix) else { return };
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(rest) = name.as_bytes().strip_prefix(prefix.as_bytes()) else { continue };
        let rest = String::from_utf8_lossy(rest);
        let pid = rest.split('.').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // Only ESRCH says that the process is gone.
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            let _ = remove(&entry.path());
        }
    }
}

fn is_same_device(a: &Path, b: &Path) -> Result<bool> {
    let device = |path: &Path| {
        fs::metadata(path).map(|found| found.dev()).map_err(|error| failed(path, &error))
    };
    Ok(device(a)? == device(b)?)
}

/// Replaces symbolic links, which a likeness has, by hard links to their files, or by copies where
/// a hard link is not possible.
fn replace_links(dir: &Path) -> std::io::Result<()> {
    let entries = fs::read_dir(dir)?.collect::<std::io::Result<Vec<_>>>()?;
    for path in entries.iter().map(fs::DirEntry::path) {
        if fs::symlink_metadata(&path)?.is_symlink() {
            let new = path.with_extension("new");
            link_or_copy(&path, &new)?;
            fs::rename(&new, &path)?;
        }
    }
    sync_dir(dir)
}

/// Makes a hard link to the file that a symbolic link leads to, or a copy where that is not
/// possible: the file may have no name any more.
fn link_or_copy(link: &Path, to: &Path) -> std::io::Result<()> {
    match linkat(CWD, link, CWD, to, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(()),
        Err(_) => copy_for_good(link, to).map_err(|error| name_target(link, error)),
    }
}

/// The same error. If the link's target is gone, the error names the target.
fn name_target(link: &Path, error: std::io::Error) -> std::io::Error {
    match fs::read_link(link) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            std::io::Error::new(error.kind(), format!("'{}': {error}", target.display()))
        }
        _ => error,
    }
}

/// Copies a directory that has only files to a new one.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_symlink() {
            true => link_or_copy(&path, &copy)?,
            false => copy_for_good(&path, &copy)?,
        }
    }
    sync_dir(to)
}

fn already_exists(path: &Path) -> Error {
    Error::already_exists(format!(
        "path '{}' exists; a path that does not exist yet is needed",
        path.display()
    ))
}
