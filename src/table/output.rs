//! Bytes on their way into a new file: gathered in a buffer, summed up section by section, written in large pieces.

use std::os::unix::fs::FileExt;
use std::path::Path;

use super::file::NewFile;
use super::format::ALIGN;
use crate::error::{Error, Result};
use crate::memory::filled;

/// What stays in a processor's second-level cache between encoding, summing and copying.
const BUFFER: usize = 1 << 20;

pub(super) struct Output {
    file: NewFile,
    buffer: Vec<u8>,
    used: usize,
    crc: crc32fast::Hasher,
    /// Where in the file the buffer begins.
    start: u64,
    /// What once went wrong: the file then cannot be finished.
    broken: Option<Error>,
}

impl Output {
    /// Leaves `head` bytes at the beginning, to be written last. `piece` is the most that room is asked for at once.
    ///
    /// # Errors
    /// As `NewFile::create`; `OUT_OF_MEMORY`.
    pub(super) fn create(path: &Path, head: usize, piece: usize) -> Result<Output> {
        let file = NewFile::create(path)?;
        let buffer = filled(0, BUFFER.max(piece))?;
        let crc = crc32fast::Hasher::new();
        Ok(Output { file, buffer, used: 0, crc, start: head as u64, broken: None })
    }

    pub(super) fn file(&self) -> &NewFile {
        &self.file
    }

    /// Bytes of the file so far.
    pub(super) fn position(&self) -> u64 {
        self.start + self.used as u64
    }

    /// Room for at least `bytes`, of which [`Output::advance`] tells how much was used.
    ///
    /// # Errors
    /// `IO`; the error of an earlier call again, since the file is then not what it should be.
    #[inline]
    pub(super) fn room(&mut self, bytes: usize) -> Result<&mut [u8]> {
        if self.buffer.len() - self.used < bytes {
            self.flush()?;
        }
        Ok(self.buffer.get_mut(self.used..).unwrap_or_default())
    }

    #[inline]
    pub(super) fn advance(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// # Errors
    /// As [`Output::room`].
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room(1)?;
            let len = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(len);
            if let Some(place) = room.get_mut(..len) {
                place.copy_from_slice(now);
            }
            self.advance(len);
            bytes = later;
        }
        Ok(())
    }

    /// Fills up the section with zeros and returns its checksum.
    ///
    /// # Errors
    /// As [`Output::room`].
    pub(super) fn end_section(&mut self) -> Result<u32> {
        let padding = self.position().next_multiple_of(ALIGN) - self.position();
        self.write(&[0; ALIGN as usize][..padding as usize])?;
        self.flush()?;
        Ok(std::mem::take(&mut self.crc).finalize())
    }

    /// Writes the head and gives the file its name.
    ///
    /// # Errors
    /// As [`Output::room`].
    pub(super) fn finish(mut self, head: &[u8]) -> Result<()> {
        self.flush()?;
        self.file.file().write_all_at(head, 0).map_err(|error| self.file.failed("be written", &error))?;
        self.file.finish()
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let bytes = self.buffer.get(..self.used).unwrap_or_default();
        self.crc.update(bytes);
        if let Err(error) = self.file.file().write_all_at(bytes, self.start) {
            let error = self.file.failed("be written", &error);
            self.broken = Some(error.clone());
            return Err(error);
        }
        self.start += self.used as u64;
        self.used = 0;
        Ok(())
    }
}
