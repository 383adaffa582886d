//! The checksum of a closed filter.
//!
//! Counters change all the time, so a checksum of them holds only while nobody has the filter open.
//! Closing writes it into the header. Opening compares it and removes it again before anything
//! changes. A filter whose process was killed has no checksum and is as good as any other. A closed
//! filter that does not fit its checksum is damaged.

use std::path::Path;
use std::sync::atomic::Ordering;

use super::file::{PIECE, failed, read_header, synchronise, too_large, write_header};
use super::header::{Closed, HEADER_LEN, Header, boot};
use super::{Filter, Opened};
use crate::error::{Error, Result};
use crate::files::regular;
use crate::memory::filled;

impl Filter {
    /// Call after counters may have changed.
    #[inline(always)]
    pub(super) fn note_change(&self) {
        for flag in [&self.is_changed, &self.is_ahead_of_disk] {
            // A set flag is only read, so that threads do not take its cache line from each other.
            if !flag.load(Ordering::SeqCst) {
                flag.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Writes the checksum of the counters into the header. Nobody else may be using the filter.
    fn close(&mut self) -> Result<()> {
        let is_on_disk = !*self.is_ahead_of_disk.get_mut();
        let is_changed = *self.is_changed.get_mut();
        let opened = self.opened.get_mut();
        let (file, header) = (opened.file.file(), &mut opened.header);
        let checksum = match opened.found {
            // A checksum that opening did not compare may not fit the counters.
            Some(found) if !is_changed && found.is_binding() => found.checksum,
            _ => checksum(file, header, &self.path)?,
        };
        header.closed = Some(Closed { checksum, is_on_disk, boot: boot() });
        write_header(file, header, &self.path)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // In a forked child the filter is the parent's.
        if self.options.verify && self.pid == std::process::id() {
            // If that fails, the next opening has nothing to compare with.
            let _ = self.close();
        }
    }
}

impl Opened {
    /// Removes the checksum from the header, before anything changes.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn begin(&mut self, path: &Path) -> Result<()> {
        let Some(found) = self.header.closed.take() else { return Ok(()) };
        self.found = Some(found);
        write_header(self.file.file(), &self.header, path)?;
        if !found.is_on_disk {
            return Ok(());
        }
        // Otherwise counters that change from now on might reach the disk before this header.
        synchronise(self.file.file(), path).inspect_err(|_| {
            // The next opening must find the checksum and bring its removal to disk.
            self.header.closed = Some(found);
            let _ = write_header(self.file.file(), &self.header, path);
        })
    }
}

/// The remedy for a damaged filter.
pub(super) const REMEDY: &str = "\
    put a copy in its place (checkpoints have one, in the folder filters), begin anew with reload \
    false, or open it as it is with verify false";
/// The remedy for a damaged copy in a checkpoint.
pub(super) const COPY_REMEDY: &str = "use another checkpoint";

/// Compares a file's counters with the checksum in its header, if there is one.
///
/// # Errors
/// `IO`; `CORRUPTION` when they differ.
pub(super) fn check(
    file: &std::fs::File,
    header: &Header,
    path: &Path,
    remedy: &str,
) -> Result<()> {
    match header.closed.filter(Closed::is_binding) {
        Some(closed) => check_sum(closed, checksum(file, header, path)?, path, remedy),
        None => Ok(()),
    }
}

/// Refuses counters whose checksum is not the one in the header.
///
/// # Errors
/// `CORRUPTION`.
pub(super) fn check_sum(closed: Closed, checksum: u32, path: &Path, remedy: &str) -> Result<()> {
    if closed.checksum == checksum {
        return Ok(());
    }
    Err(Error::corruption(format!(
        "path '{}' is damaged: its counters are not those that were there when it was closed; \
         {remedy}",
        path.display()
    )))
}

/// Compares the copy at `path`, which nobody has open, with its header.
///
/// # Errors
/// `IO`, `CORRUPTION`, and those of opening a file that is no filter.
pub(crate) fn verify_file(path: &Path) -> Result<()> {
    let file = regular::open(path).map_err(|error| failed(path, "cannot be read", &error))?;
    let header = read_header(&file, path)?;
    check(&file, &header, path, COPY_REMEDY)
}

/// The CRC-32 of all counters. They are read from the file and not through the mapping: so a
/// failing disk is an error, not a signal.
fn checksum(file: &std::fs::File, header: &Header, path: &Path) -> Result<u32> {
    use std::os::unix::fs::FileExt;
    let len = header.file_len().ok_or_else(|| too_large(path))?;
    let mut piece = filled(0u8, PIECE)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut offset = HEADER_LEN as u64;
    while offset < len {
        let piece = &mut piece[..PIECE.min((len - offset) as usize)];
        file.read_exact_at(piece, offset)
            .map_err(|error| failed(path, "cannot be read", &error))?;
        hasher.update(piece);
        offset += piece.len() as u64;
    }
    Ok(hasher.finalize())
}
