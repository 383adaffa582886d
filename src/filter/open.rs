//! Opens a filter: an existing file, or a new one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::counters::Locks;
use super::file::{self, NewFile, OwnedFile, failed, too_large};
use super::header::Header;
use super::layout::FilterLayout;
use super::map::MappedBlocks;
use super::{Filter, FilterOptions, Opened, closing};
use crate::error::{Error, Result};
use crate::locks::{self, RwLock};
use crate::params::Params;
use crate::reserved::storage_that_owns;

impl Filter {
    /// Opens the filter that `params` describe. Makes its file when there is none, or when `reload`
    /// is false.
    ///
    /// # Errors
    /// - `INVALID_ARGUMENT`: a parameter is wrong; the path is not a file, not a filter's, that of
    ///   a filter with other parameters, or one that a storage has for its own files
    /// - `BUSY`: another handle, here or in another process, has the file
    /// - `CORRUPTION`: the file is damaged, cut off or empty
    /// - `NOT_SUPPORTED`: its format is of a later release
    /// - `IO`: it cannot be created, read or written, or the disk has no room for it
    /// - `OUT_OF_MEMORY`
    pub fn open(params: &Params) -> Result<Filter> {
        locks::report_cycles();
        let options = FilterOptions::read(params)?;
        let path = resolve(&options.path)?;
        check_is_nobodys(&path)?;
        let opened = if options.reload {
            match Opened::existing(&path, &options)? {
                Some(opened) => opened,
                None => Opened::make(&path, &options)?,
            }
        } else {
            Opened::make(&path, &options)?
        };
        // If the counters were on disk when the filter was closed, they still are.
        let is_ahead_of_disk = !opened.found.is_some_and(|found| found.is_on_disk);
        Ok(Filter {
            options,
            path,
            opened: RwLock::new(opened),
            locks: Locks::new()?,
            is_changed: AtomicBool::new(false),
            is_ahead_of_disk: AtomicBool::new(is_ahead_of_disk),
            pid: std::process::id(),
        })
    }
}

impl Opened {
    /// Opens the file at `path`; None when nothing is there.
    fn existing(path: &Path, options: &FilterOptions) -> Result<Option<Opened>> {
        let Some(file) = OwnedFile::open(path)? else { return Ok(None) };
        let header = file::read_header(file.file(), path)?;
        header.check_same(options).map_err(|error| {
            Error::new(error.status(), format!("path '{}' {}", path.display(), error.message()))
        })?;
        let len = header.file_len().ok_or_else(|| too_large(path))?;
        file::reserve(file.file(), len)
            .map_err(|error| failed(path, "has no room on disk", &error))?;
        if options.verify {
            closing::check(file.file(), &header, path, closing::REMEDY)?;
        }
        let map = map(file.file(), &header, path)?;
        let mut opened = Opened { header, map, file, found: None };
        opened.begin(path)?;
        Ok(Some(opened))
    }

    /// Makes a new file in place of any there. With `reload`, a file that has appeared meanwhile is
    /// opened.
    fn make(path: &Path, options: &FilterOptions) -> Result<Opened> {
        let new = NewFile::take(path)?;
        // Only the owner of the new file may replace the present file.
        if options.reload
            && let Some(opened) = Opened::existing(path, options)?
        {
            return Ok(opened);
        }
        // The old file's lock is held until the new file is in its place, so that nobody opens the
        // old one.
        let _replaced = OwnedFile::open(path)?;
        let FilterOptions { capacity, count, fpr, .. } = *options;
        let FilterLayout { blocks, per_key } = FilterLayout::new(capacity, fpr);
        let header =
            Header { capacity, count, fpr, per_key, blocks, source: [0; 16], closed: None };
        new.begin(&header, true)?;
        Opened::publish(new, header, path)
    }

    /// Gives a new file its name and opens it.
    pub(super) fn publish(new: NewFile, header: Header, path: &Path) -> Result<Opened> {
        // Mapping can fail, so it comes before the rename.
        let map = map(new.file(), &header, path)?;
        Ok(Opened { header, map, file: new.publish()?, found: None })
    }
}

/// Refuses a path that a storage reserves for a file of damo's or RocksDB's.
fn check_is_nobodys(path: &Path) -> Result<()> {
    let owner =
        storage_that_owns(path).map_err(|error| failed(path, "cannot be looked at", &error))?;
    let Some(storage) = owner else { return Ok(()) };
    Err(Error::invalid(format!(
        "path '{}' is one of those that the storage in '{}' has for its own files; a path \
         elsewhere is needed",
        path.display(),
        storage.display()
    )))
}

fn map(file: &fs::File, header: &Header, path: &Path) -> Result<MappedBlocks> {
    let blocks = usize::try_from(header.blocks).map_err(|_| too_large(path))?;
    MappedBlocks::new(file, blocks).map_err(|error| {
        let len = header.file_len().unwrap_or(u64::MAX);
        let message = format!(
            "path '{}': its {len} bytes cannot be mapped into memory: {error}",
            path.display()
        );
        match error.kind() {
            std::io::ErrorKind::OutOfMemory => Error::out_of_memory(message),
            _ => Error::io(message),
        }
    })
}

/// The file itself as an absolute path. A link is resolved, so that it is not replaced itself; an
/// absolute path stays the same when the program changes its directory.
pub(super) fn resolve(path: &Path) -> Result<PathBuf> {
    let found = match fs::canonicalize(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => std::path::absolute(path),
        found => found,
    };
    found.map_err(|error| failed(path, "cannot be looked at", &error))
}
