//! The likeness of a storage: the private directory that is opened in place of the storage's own.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::folder::Folder;
use super::held::Held;
use super::listing::{ListedFile, is_copied, is_rows, is_unread, list};
use super::{messages, refusals};
use crate::engine::journal_document::JournalDocument;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result};
use crate::files::copy::copy_to_new_file;
use crate::files::regular;
use crate::rocks::INVENTORY;
use crate::rocks::file_names::CURRENT;
use crate::storage::directory;

/// How often the files are copied in vain before the likeness is made anew.
const ATTEMPTS: usize = 20;
/// In place of a larger file that nobody reads an empty one will do.
const LARGEST_UNREAD: u64 = 1 << 20;
/// A larger list of filters is none. It is linked, so that whoever reads it refuses it.
const LARGEST_FILTER_LIST: u64 = 64 << 20;

/// The directory; removed when dropped.
pub(in crate::storage) struct Likeness {
    path: PathBuf,
    original: PathBuf,
    /// The files of the original when the likeness was begun.
    seen: Vec<ListedFile>,
    /// The bytes that the newest file of the journal had when the likeness was made.
    journal_bytes: u64,
    is_in_use: bool,
    /// Whether rows may be there of calls of which others are not.
    has_parts_of_calls: AtomicBool,
    held: Held,
    _folder: Folder,
}

impl Likeness {
    /// Makes a likeness of the storage in `dir`, in the system's folder for temporary files; None
    /// if the storage was changed meanwhile in such a way that the copies do not fit together.
    ///
    /// # Errors
    /// `IO`, naming what cannot be read or made.
    pub(super) fn make(dir: &Path) -> Result<Option<Likeness>> {
        let original = fs::canonicalize(dir)
            .map_err(|error| Error::io(format!("'{}' cannot be read: {error}", dir.display())))?;
        let folder = Folder::make()?;
        let seen = list(&original)?;
        let held = Held::new(seen.iter().filter(|file| is_rows(&file.name)).count());
        let is_in_use = directory::is_in_use(&original);
        let mut likeness = Likeness {
            path: folder.storage(),
            original,
            seen: Vec::new(),
            journal_bytes: 0,
            is_in_use,
            has_parts_of_calls: AtomicBool::new(false),
            held,
            _folder: folder,
        };
        // First what others may remove, then the copies, then what others have added before the
        // copies were made. So what a copy names is there, and so is each call that it has not.
        likeness.link_all(&seen)?;
        likeness.seen = seen;
        let Some(after) = likeness.copy_all()? else { return Ok(None) };
        let journal = after.iter().rfind(|file| file.name.starts_with(JOURNAL));
        likeness.journal_bytes = journal.map_or(0, |file| file.bytes);
        let new: Vec<ListedFile> =
            after.into_iter().filter(|file| !likeness.has(&file.name)).collect();
        likeness.link_all(&new)?;
        // It may have been opened meanwhile.
        likeness.is_in_use |= directory::is_in_use(&likeness.original);
        Ok(Some(likeness))
    }

    /// The bytes that the newest file of the journal had when the likeness was made.
    pub(in crate::storage) fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that it is a likeness of.
    pub(crate) fn original(&self) -> &Path {
        &self.original
    }

    /// Whether a storage had the original open, here or in another process.
    pub(in crate::storage) fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// When a file of the original had changed last, milliseconds since 1970.
    pub(in crate::storage) fn changed_ms(&self) -> u64 {
        let changed = self.seen.iter().map(|file| file.changed);
        let latest = changed.map(|(seconds, nanos)| seconds * 1000 + nanos / 1_000_000).max();
        latest.and_then(|latest| u64::try_from(latest).ok()).unwrap_or(0)
    }

    /// Notes what the storage says of its journal before opening goes on.
    pub(crate) fn note(&self, record: &JournalDocument) {
        let has_parts = self.is_in_use && record.may_have_parts_of_calls();
        self.has_parts_of_calls.store(has_parts, Ordering::Relaxed);
    }

    /// # Errors
    /// `BUSY` when there may be rows of calls of which others are not there.
    pub(in crate::storage) fn check_whole_calls(&self) -> Result<()> {
        if self.has_parts_of_calls.load(Ordering::Relaxed) {
            Err(refusals::parts_of_calls())
        } else {
            Ok(())
        }
    }

    /// The same error, with the names that the files have in the original, and with what to do.
    pub(in crate::storage) fn in_original(&self, error: Error) -> Error {
        messages::in_original(error, &self.path, &self.original, &self.held)
    }

    /// Whether somebody has changed the original since.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn has_original_changed(&self) -> Result<bool> {
        Ok(list(&self.original)? != self.seen)
    }

    /// Links to files that opening only reads. The newest come first: these are merged soonest.
    fn link_all(&mut self, files: &[ListedFile]) -> Result<()> {
        for file in files.iter().rev().filter(|file| !is_copied(&file.name)) {
            let (from, to) = (self.original.join(&file.name), self.path.join(&file.name));
            make_folder_of(&to)
                .and_then(|()| self.held.link(&from, &to))
                .map_err(|error| not_had(&from, &to, &error))?;
        }
        Ok(())
    }

    fn has(&self, name: &Path) -> bool {
        fs::symlink_metadata(self.path.join(name)).is_ok()
    }

    /// Copies the files that opening may change, of which none changes meanwhile; returns what the
    /// original has afterwards, or None if they change all the time.
    fn copy_all(&self) -> Result<Option<Vec<ListedFile>>> {
        for _ in 0..ATTEMPTS {
            let before = list(&self.original)?;
            let are_copied = self.copy_once(&before)?;
            let after = list(&self.original)?;
            if are_copied && copied(&before).eq(copied(&after)) {
                return Ok(Some(after));
            }
            for file in copied(&before) {
                let _ = fs::remove_file(self.path.join(&file.name));
            }
        }
        Ok(None)
    }

    /// Copies these of the files that opening may change; false if one of them is gone.
    fn copy_once(&self, files: &[ListedFile]) -> Result<bool> {
        // The inventory says how the others begin, and the MANIFEST may know of files that the logs
        // do not know of yet. Names of logs come before `MANIFEST-`.
        let is_inventory = |file: &&ListedFile| file.name == Path::new(INVENTORY);
        let others = copied(files).filter(|file| !is_inventory(file));
        for file in files.iter().filter(is_inventory).chain(others) {
            let (from, to) = (self.original.join(&file.name), self.path.join(&file.name));
            match self.copy(file, &from, &to) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                copied => copied.map_err(|error| not_had(&from, &to, &error))?,
            }
        }
        Ok(true)
    }

    fn copy(&self, file: &ListedFile, from: &Path, to: &Path) -> io::Result<()> {
        make_folder_of(to)?;
        // It was copied before those that it may name.
        let current = || regular::read(&self.path.join(file.name.with_file_name(CURRENT))).ok();
        if file.bytes > LARGEST_UNREAD && is_unread(&file.name, current().as_deref()) {
            return match fs::metadata(from)?.is_file() {
                true => File::create_new(to).map(drop),
                false => symlink(from, to),
            };
        }
        if file.bytes > LARGEST_FILTER_LIST && file.name.ends_with("filters.json") {
            return symlink(from, to);
        }
        match copy_to_new_file(from, to) {
            // No file; whoever opens the likeness refuses it.
            Err(error) if error.kind() == ErrorKind::Other => symlink(from, to),
            copied => copied,
        }
    }
}

fn copied(files: &[ListedFile]) -> impl Iterator<Item = &ListedFile> {
    files.iter().filter(|file| is_copied(&file.name))
}

fn make_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn not_had(from: &Path, to: &Path, error: &io::Error) -> Error {
    let message =
        format!("'{}' cannot be linked or copied to '{}': {error}", from.display(), to.display());
    Error::io(messages::with_room(message))
}
