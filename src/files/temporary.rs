//! A file under a temporary name, until it is whole and gets its own.

use std::fs;
use std::path::{Path, PathBuf};

use super::publish::{Unpublished, publish};

/// The temporary name of a file. Dropping it deletes the file, unless the file got its own name.
pub(crate) struct TemporaryName {
    path: PathBuf,
    is_named: bool,
    pid: u32,
}

impl TemporaryName {
    /// The file at `path` is from now on deleted when this is dropped.
    pub(crate) fn new(path: PathBuf) -> TemporaryName {
        TemporaryName { path, is_named: false, pid: std::process::id() }
    }

    /// Gives the file its own name, for good, as [`publish`] does.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn publish(mut self, path: &Path) -> Result<(), Unpublished> {
        let published = publish(&self.path, path);
        self.is_named = published.as_ref().err().is_none_or(Unpublished::is_in_place);
        published
    }

    /// Gives the file its own name, replacing any file there. The name may not be on disk yet.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn rename(mut self, path: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        // A forked child does not own the file.
        if !self.is_named && self.pid == std::process::id() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
