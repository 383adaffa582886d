//! Copies of a filter, for checkpoints: files of the same format, which can be opened as filters.
//! Before opening one as a filter, copy it out of the folder `filters`: damo deletes files in that
//! folder.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use crc32fast::Hasher;

use super::file::{self, NewFile, OwnedFile, failed, too_large};
use super::header::{BLOCK_LEN, Closed, HEADER_LEN, Header, Source, boot};
use super::open::resolve;
use super::{Filter, Opened, closing};
use crate::error::{Error, Result};
use crate::files::regular;

impl Filter {
    /// Writes the filter to a new file at `path`, replacing any file there; the copy is on disk
    /// when this returns. Additions continue meanwhile: the copy has all that returned before the
    /// call, and some of the others.
    ///
    /// # Errors
    /// `IO`; `BUSY` when a filter is open at the path; `INVALID_ARGUMENT` when the path is not a
    /// file; `FORKED`.
    pub fn save_copy(&self, path: &Path) -> Result<()> {
        let opened = self.begin()?;
        let path = resolve(path)?;
        let new = NewFile::take(&path)?;
        let _replaced = OwnedFile::open(&path)?;
        let mut header = Header { source: [0; 16], ..opened.header };
        let len = header.file_len().ok_or_else(|| too_large(&path))?;
        new.begin(&header, false)?;
        let blocks = opened.map.blocks();
        let mut hasher = Hasher::new();
        new.fill(len, |offset, piece| {
            let first = (offset as usize - HEADER_LEN) / BLOCK_LEN;
            for (bytes, block) in piece.chunks_exact_mut(BLOCK_LEN).zip(&blocks[first..]) {
                for (bytes, word) in bytes.chunks_exact_mut(8).zip(block) {
                    bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
                }
            }
            hasher.update(piece);
            Ok(())
        })?;
        // The copy gets its name only when all of it is on disk.
        header.closed =
            Some(Closed { checksum: hasher.finalize(), is_on_disk: true, boot: boot() });
        file::write_header(new.file(), &header, &path)?;
        new.publish_for_good()
    }

    fn open_copy(&self, path: &Path) -> Result<(File, Header)> {
        let copy = regular::open(path).map_err(|error| failed(path, "cannot be read", &error))?;
        let header = file::read_header(&copy, path)?;
        header.check_same(&self.options).map_err(|error| {
            Error::new(error.status(), format!("path '{}' {}", path.display(), error.message()))
        })?;
        Ok((copy, header))
    }

    /// Replaces all counts by those of a copy. If the process is killed meanwhile, the file has all
    /// counts of one of the two. Additions made meanwhile may be lost.
    ///
    /// # Errors
    /// As `Filter::open` for a copy that is missing, damaged or has other parameters; `IO`;
    /// `OUT_OF_MEMORY`; `FORKED`. The counts have not changed.
    pub fn restore_from(&self, path: &Path) -> Result<()> {
        self.publish(self.prepare(path)?, [0; 16])
    }

    /// The first half of [`Filter::restore_from`]: everything that can be refused, takes long or
    /// needs room. Dropping the result leaves no trace.
    ///
    /// # Errors
    /// As [`Filter::restore_from`].
    pub(crate) fn prepare(&self, path: &Path) -> Result<Restoration> {
        self.check_not_forked()?;
        let unreadable = |error: std::io::Error| failed(path, "cannot be read", &error);
        let (copy, mut header) = self.open_copy(path)?;
        let closed = header.closed.take();
        let len = header.file_len().ok_or_else(|| too_large(path))?;
        let new = NewFile::take(&self.path)?;
        new.begin(&header, true)?;
        let mut hasher = Hasher::new();
        new.fill(len, |offset, piece| {
            copy.read_exact_at(piece, offset).map_err(unreadable)?;
            hasher.update(piece);
            Ok(())
        })?;
        if let Some(closed) = closed.filter(Closed::is_binding) {
            closing::check_sum(closed, hasher.finalize(), path, closing::COPY_REMEDY)?;
        }
        Ok(Restoration { new, header })
    }

    /// The second half of [`Filter::restore_from`]. The file records that its counts are from
    /// `source`.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`; the counts have not changed.
    pub(crate) fn publish(
        &self,
        Restoration { new, header }: Restoration,
        source: Source,
    ) -> Result<()> {
        let header = Header { source, ..header };
        file::write_header(new.file(), &header, &self.path)?;
        let fresh = Opened::publish(new, header, &self.path)?;
        // Additions wait only for this exchange.
        let replaced = std::mem::replace(&mut *self.opened.write(), fresh);
        self.note_change();
        drop(replaced);
        Ok(())
    }
}

/// Counts that are ready to replace a filter's.
pub struct Restoration {
    new: NewFile,
    header: Header,
}
