//! Where a file's bytes come from: a system call each time, or memory that has all of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::block::{Handle, TRAILER, content};
use crate::memory::filled;

/// A file's bytes.
pub(crate) trait Source: Send + Sync {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// All bytes, where memory has them: a mapping, or a file that was read whole.
    fn whole(&self) -> Option<&[u8]>;

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// The system's; `UnexpectedEof` beyond the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// An open file, of which each read is a system call. A failing disk is an error, where reading a
/// mapping would end the process.
pub(crate) struct OpenFile {
    file: File,
    len: u64,
}

impl OpenFile {
    /// # Errors
    /// The system's.
    pub(crate) fn new(file: File) -> io::Result<OpenFile> {
        let len = file.metadata()?.len();
        Ok(OpenFile { file, len })
    }
}

impl Source for OpenFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn whole(&self) -> Option<&[u8]> {
        None
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }
}

impl Source for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn whole(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let start = usize::try_from(at).ok();
        let bytes = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// The content of a block of at most `limit` bytes whose checksum fits. `base` is the number that
/// the file's checksums are mixed with.
///
/// # Errors
/// What is wrong with the block, in words that follow its name.
pub(super) fn read_block(
    source: &dyn Source,
    base: u32,
    handle: Handle,
    limit: u64,
) -> Result<Vec<u8>, String> {
    let damaged = || "is damaged".to_owned();
    if handle.size > limit || handle.end().is_none_or(|end| end > source.len()) {
        return Err(damaged());
    }
    let mut bytes =
        filled(0, handle.size as usize + TRAILER).map_err(|error| error.message().to_owned())?;
    source
        .read_at(&mut bytes, handle.offset)
        .map_err(|error| format!("cannot be read: {error}"))?;
    content(bytes, base, handle.offset, limit).ok_or_else(damaged)
}
