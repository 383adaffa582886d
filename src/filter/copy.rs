//! Copies of a filter, for checkpoints: files of the same format, which can be opened as filters.
//! To attach a copy, copy it out of the folder `filters` first: in that folder damo deletes files.

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
    /// Writes the filter to a new file at `path`, in place of what is there; it is on disk when this returns. Additions go
    /// on meanwhile: the copy has all that returned before, and of the others some.
    ///
    /// # Errors
    /// `IO`; `BUSY` when the path is that of a filter that is open; `INVALID_ARGUMENT` when it is no file; `FORKED`.
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
        // All of it is on disk before it gets its name.
        header.closed =
            Some(Closed { checksum: hasher.finalize(), is_on_disk: true, boot: boot() });
        file::write_header(new.file()?, &header, &path)?;
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

    /// Replaces all counts by those of a copy. Should the process be killed meanwhile, the file has the one or the other;
    /// additions made meanwhile may be lost.
    ///
    /// # Errors
    /// As `Filter::open` for a copy that is missing, damaged or has other parameters; `IO`; `OUT_OF_MEMORY`; `FORKED`.
    /// The counts are as they were then.
    pub fn restore_from(&self, path: &Path) -> Result<()> {
        self.publish(self.prepare(path)?, [0; 16])
    }

    /// The first half of [`Filter::restore_from`]: what can be refused, and what takes long or needs room. Dropped, it leaves nothing.
    ///
    /// # Errors
    /// As there.
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

    /// The second half. The file says that its counts are from `source`.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`; the counts are as they were then.
    pub(crate) fn publish(
        &self,
        Restoration { new, header }: Restoration,
        source: Source,
    ) -> Result<()> {
        let header = Header { source, ..header };
        file::write_header(new.file()?, &header, &self.path)?;
        let fresh = Opened::publish(new, header, &self.path)?;
        // Additions wait no longer than this takes.
        let replaced = std::mem::replace(&mut *self.opened.write(), fresh);
        self.note_change();
        drop(replaced);
        Ok(())
    }
}

/// Counts that are about to take the place of a filter's.
pub struct Restoration {
    new: NewFile,
    header: Header,
}
