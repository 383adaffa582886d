//! The likeness of a storage: the private directory that opens in place of the storage's own. It
//! has links to the storage's files, and copies of the few that opening may change.

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

/// After so many failed attempts to copy the files, the likeness is made anew.
const ATTEMPTS: usize = 20;
/// A larger file that opening does not read is not copied: the likeness gets an empty one.
const LARGEST_UNREAD: u64 = 1 << 20;
/// A larger file is no list of filters. It is linked, so that its reader refuses it.
const LARGEST_FILTER_LIST: u64 = 64 << 20;

/// A likeness. Dropping it removes its directory.
pub(in crate::storage) struct Likeness {
    path: PathBuf,
    original: PathBuf,
    /// The files of the original when the likeness was begun.
    seen: Vec<ListedFile>,
    /// The bytes of content of the journal's newest file when the likeness was made.
    journal_bytes: u64,
    is_in_use: bool,
    /// Whether the disk may have parts of calls: some of their rows, not all.
    has_parts_of_calls: AtomicBool,
    held: Held,
    _folder: Folder,
}

impl Likeness {
    /// Makes a likeness of the storage in `dir`, in the system's folder for temporary files. None
    /// if the storage kept changing, so that the copies do not fit together.
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
        // First come links to files that others may remove, then the copies, then links to files
        // that others added before the copies were made. So the likeness has every file that a copy
        // names, and every call that the copies do not have as rows.
        likeness.link_all(&seen)?;
        likeness.seen = seen;
        let Some(after) = likeness.copy_all()? else { return Ok(None) };
        let journal = after.iter().rfind(|file| file.name.starts_with(JOURNAL));
        likeness.journal_bytes = journal.map_or(0, |file| file.bytes);
        let new: Vec<ListedFile> =
            after.into_iter().filter(|file| !likeness.has(&file.name)).collect();
        likeness.link_all(&new)?;
        // The original may have been opened meanwhile.
        likeness.is_in_use |= directory::is_in_use(&likeness.original);
        Ok(Some(likeness))
    }

    /// The bytes of content of the journal's newest file when the likeness was made.
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

    /// When a file of the original last changed, milliseconds since 1970.
    pub(in crate::storage) fn changed_ms(&self) -> u64 {
        let changed = self.seen.iter().map(|file| file.changed);
        let latest = changed.map(|(seconds, nanos)| seconds * 1000 + nanos / 1_000_000).max();
        latest.and_then(|latest| u64::try_from(latest).ok()).unwrap_or(0)
    }

    /// Notes what the original's document `journal` says, before opening changes the likeness's.
    pub(crate) fn note(&self, document: &JournalDocument) {
        let has_parts = self.is_in_use && document.may_have_parts_of_calls();
        self.has_parts_of_calls.store(has_parts, Ordering::Relaxed);
    }

    /// # Errors
    /// `BUSY` when the disk may have parts of calls.
    pub(in crate::storage) fn check_whole_calls(&self) -> Result<()> {
        if self.has_parts_of_calls.load(Ordering::Relaxed) {
            Err(refusals::parts_of_calls())
        } else {
            Ok(())
        }
    }

    /// The same error, with the files' names in the original, and with a remedy.
    pub(in crate::storage) fn in_original(&self, error: Error) -> Error {
        messages::in_original(error, &self.path, &self.original, &self.held)
    }

    /// Whether the original has changed since the likeness was begun.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn has_original_changed(&self) -> Result<bool> {
        Ok(list(&self.original)? != self.seen)
    }

    /// Links the files that opening only reads. The newest come first, since they are merged
    /// soonest.
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

    /// Copies the files that opening may change, again if one of them changed meanwhile. Returns
    /// the original's files after the copies; None if `ATTEMPTS` were not enough.
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

    /// Copies those of `files` that opening may change; false if one of them is gone.
    fn copy_once(&self, files: &[ListedFile]) -> Result<bool> {
        // The inventory comes first: it lists how the others begin. RocksDB's logs come before the
        // MANIFEST, which may then know of more than they do: names of logs sort before
        // `MANIFEST-`.
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
        // `CURRENT` was copied before the files that it may name.
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
            // Not a regular file; opening the likeness refuses it.
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
