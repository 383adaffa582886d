//! Publishes a file or directory that was made under a temporary name: it gets its own name for
//! good, or not at all.
//!
//! A rename lasts only once the folder is synced, and the sync may fail after the rename. An error
//! must leave nothing behind, so the rename is undone: the file from before has its name again. If
//! undoing fails, too, the error says so.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::folder::open_parent;

/// Why a file or directory has not got its name for good.
#[derive(Debug)]
pub(crate) struct Unpublished {
    error: io::Error,
    /// Why the rename could not be undone, if it was made. The name may be lost when the machine
    /// loses power.
    remains: Option<String>,
}

impl Unpublished {
    /// The kind of the system's error.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.error.kind()
    }

    /// Whether it has its name in spite of the error.
    pub(crate) fn is_in_place(&self) -> bool {
        self.remains.is_some()
    }
}

impl fmt::Display for Unpublished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = &self.error;
        let Some(reason) = &self.remains else { return write!(formatter, "{error}") };
        write!(
            formatter,
            "its folder cannot be synchronised: {error}. It is in its place, whole, since \
             {reason}; should the machine lose power, what was there before may be there again"
        )
    }
}

impl From<io::Error> for Unpublished {
    fn from(error: io::Error) -> Unpublished {
        Unpublished { error, remains: None }
    }
}

/// Gives a file or directory the unused name `path`.
///
/// # Errors
/// `AlreadyExists` when the name is in use; the system's error.
pub(crate) fn publish_new(made: &Path, path: &Path) -> Result<(), Unpublished> {
    // Before anything changes.
    let folder = open_parent(path)?;
    match renameat_with(CWD, made, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // The file system has no rename that refuses to replace.
        Err(error) if is_unsupported(error) => {
            check_absent(path)?;
            fs::rename(made, path)?;
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    finish(&folder, || fs::rename(path, made))
}

/// Gives a file the name `path`, replacing any file there.
///
/// # Errors
/// The system's error.
pub(crate) fn publish(made: &Path, path: &Path) -> Result<(), Unpublished> {
    // Before anything changes.
    let folder = open_parent(path)?;
    let old = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {
            // The exchange gives the old file the temporary name. It is locked, so that another
            // maker of that file does not take it for a leftover. A lock that somebody else holds
            // serves as well.
            File::open(path)
                .ok()
                .filter(|old| !matches!(old.try_lock(), Err(TryLockError::Error(_))))
        }
        Ok(_) => None,
        Err(error) if error.kind() == ErrorKind::NotFound => return publish_new(made, path),
        Err(error) => return Err(error.into()),
    };
    let exchange = || renameat_with(CWD, made, CWD, path, RenameFlags::EXCHANGE);
    if old.is_some() {
        match exchange() {
            Ok(()) => {
                finish(&folder, || exchange().map_err(io::Error::from))?;
                // The old file has the temporary name now.
                let _ = fs::remove_file(made);
                return Ok(());
            }
            Err(error) if is_unsupported(error) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    fs::rename(made, path)?;
    finish(&folder, || Err(io::Error::other("what it has replaced cannot be had back here")))
}

/// Syncs the folder, or undoes the rename.
fn finish(
    folder: &Option<File>,
    take_back: impl FnOnce() -> io::Result<()>,
) -> Result<(), Unpublished> {
    let Some(folder) = folder else { return Ok(()) };
    let Err(error) = folder.sync_all() else { return Ok(()) };
    match take_back() {
        Ok(()) => {
            // Brings the undone rename to disk, if the folder can be synced by now.
            let _ = folder.sync_all();
            Err(error.into())
        }
        Err(reason) => {
            let remains = Some(format!("it cannot be taken back ({reason})"));
            Err(Unpublished { error, remains })
        }
    }
}

/// Refuses a path that is in use. An error in looking is returned, and not taken for absence.
///
/// # Errors
/// `AlreadyExists`; the system's error.
pub(crate) fn check_absent(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_unsupported(error: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].contains(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_new_name_is_never_one_that_something_has() {
        let scratch = tempfile::tempdir().unwrap();
        let (made, path) = (scratch.path().join("made"), scratch.path().join("path"));
        fs::write(&made, "new").unwrap();
        publish_new(&made, &path).unwrap();
        assert_eq!(read(&path), "new");
        fs::write(&made, "newer").unwrap();
        let refused = publish_new(&made, &path).unwrap_err();
        assert_eq!(refused.error.kind(), ErrorKind::AlreadyExists);
        assert_eq!((read(&made), read(&path)), ("newer".to_owned(), "new".to_owned()));
    }

    #[test]
    fn a_file_takes_the_place_of_another_and_nothing_is_left() {
        let scratch = tempfile::tempdir().unwrap();
        let (made, path) = (scratch.path().join("made"), scratch.path().join("path"));
        for text in ["first", "second", "third"] {
            fs::write(&made, text).unwrap();
            publish(&made, &path).unwrap();
            assert_eq!(read(&path), text);
            assert!(!made.exists());
        }
    }

    /// A link is replaced; its target stays.
    #[test]
    fn a_link_is_replaced_itself() {
        let scratch = tempfile::tempdir().unwrap();
        let [made, path, there] = ["made", "path", "there"].map(|name| scratch.path().join(name));
        fs::write(&there, "there").unwrap();
        std::os::unix::fs::symlink(&there, &path).unwrap();
        fs::write(&made, "new").unwrap();
        publish(&made, &path).unwrap();
        assert_eq!((read(&path), read(&there)), ("new".to_owned(), "there".to_owned()));
    }

    #[test]
    fn what_cannot_last_is_taken_back() {
        let scratch = tempfile::tempdir().unwrap();
        let (made, path) = (scratch.path().join("made"), scratch.path().join("path"));
        fs::write(&made, "new").unwrap();
        fs::rename(&made, &path).unwrap();
        // A descriptor on which fsync fails, as it does on a pipe.
        let (pipe, _other) = io::pipe().unwrap();
        let folder = Some(File::from(std::os::fd::OwnedFd::from(pipe)));
        let refused = finish(&folder, || fs::rename(&path, &made)).unwrap_err();
        assert!(!refused.is_in_place() && !path.exists());
        assert_eq!(read(&made), "new");
        let refused = finish(&folder, || Err(io::Error::other("no"))).unwrap_err();
        assert!(refused.is_in_place());
        assert!(refused.to_string().contains("is in its place, whole"), "{refused}");
    }
}
