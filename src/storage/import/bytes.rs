//! Reads a file to import from front to back, little-endian.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::regular;
use crate::memory::reserve;

const BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Bytes {
    file: BufReader<File>,
    path: PathBuf,
    at: u64,
    len: u64,
}

impl Bytes {
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for what is no file; `IO`.
    pub(super) fn open(path: &Path) -> Result<Bytes> {
        if path.as_os_str().is_empty() {
            return Err(Error::invalid("path is empty; the path of a file is needed"));
        }
        // Opening a pipe would wait for a writer, and a pipe cannot be read twice.
        let shown = format!("path '{}'", path.display());
        let (file, found) = regular::open_argument(path, &shown, "a file is needed")?;
        let file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok(Bytes { file, path: path.to_owned(), at: 0, len: found.len() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    /// # Errors
    /// `IO`.
    pub(super) fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = self.file.seek_relative(i64::try_from(bytes).unwrap_or(i64::MAX));
        skipped.map_err(|error| self.unreadable(&error))?;
        self.at += bytes;
        Ok(())
    }

    /// Reads `more` floats and appends them to `floats`.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `CORRUPTION` when the file has become shorter.
    pub(super) fn read_floats(&mut self, more: u64, floats: &mut Vec<f32>) -> Result<()> {
        let (start, more) = (floats.len(), more as usize);
        reserve(floats, more)?;
        floats.resize(start + more, 0.0);
        self.read(bytemuck::cast_slice_mut(&mut floats[start..]))
    }

    pub(super) fn read_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(super) fn read_i64(&mut self) -> Result<i64> {
        self.read_u64().map(|number| number as i64)
    }

    pub(super) fn read_i32(&mut self) -> Result<i32> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(i32::from_le_bytes(bytes))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.file.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.damaged(
                "checkpoint or dump",
                &format!("it ends in the midst of byte {}", self.at),
            )),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// The error for a damaged file. `kind` is the format that the file is taken for.
    pub(super) fn damaged(&self, kind: &str, what: &str) -> Error {
        Error::corruption(format!(
            "path '{}' is not a whole {kind} file of the earlier implementation: {what}",
            self.path.display()
        ))
    }

    fn unreadable(&self, error: &std::io::Error) -> Error {
        Error::io(format!(
            "path '{}' cannot be read at byte {}: {error}",
            self.path.display(),
            self.at
        ))
    }
}

#[cfg(test)]
impl Bytes {
    /// The same file as on a disk that fails: reading returns an error.
    pub(super) fn on_failing_disk(self) -> Bytes {
        let file = File::options().append(true).open(&self.path).unwrap();
        Bytes { file: BufReader::new(file), ..self }
    }
}
