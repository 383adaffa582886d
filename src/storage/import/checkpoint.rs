//! A checkpoint file of the earlier implementation, read from front to back; every length is checked before it is believed.
//!
//! ```text
//! i64   count, then for each record
//! u64   bytes of the key: 12           u64   bytes of the value: 32 + 4 for each float
//! i32   group   }                      i32   group
//! i64   key     } the key              i64   key
//!                                      i64   update_time, or update_num in later releases
//!                                      i64   update_num, or update_time in later releases
//!                                      i32   dim
//!                                      f32   weights[dim], then the optimizer's state
//! ```
//!
//! Nothing tells such a file from any other but that its lengths add up to its end, to the byte.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Status};
use crate::memory::reserve;

const COUNT_BYTES: u64 = 8;
const KEY_BYTES: u64 = 12;
const VALUE_HEADER_BYTES: u64 = 32;
/// Two lengths, the key, and a value without floats.
const MIN_RECORD_BYTES: u64 = 8 + KEY_BYTES + 8 + VALUE_HEADER_BYTES;
const BUFFER_BYTES: usize = 1 << 20;

/// A record without its floats, which are read or skipped next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// From 0.
    pub(super) index: u64,
    pub(super) key_group: i32,
    pub(super) key: i64,
    pub(super) value_group: i32,
    pub(super) value_key: i64,
    /// The update_time and update_num, in the file's order.
    pub(super) pair: (i64, i64),
    pub(super) dim: i32,
    pub(super) floats: u64,
}

pub(super) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    at: u64,
    len: u64,
    count: u64,
    next: u64,
}

impl Reader {
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for what is no file; `CORRUPTION` for a count that the file is too short for; `IO`.
    pub(super) fn open(path: &Path) -> Result<Reader> {
        let unreadable = |error: std::io::Error| {
            let status = if error.kind() == ErrorKind::NotFound { Status::NotFound } else { Status::Io };
            Error::new(status, format!("path '{}' cannot be read: {error}", path.display()))
        };
        if path.as_os_str().is_empty() {
            return Err(Error::invalid("path is empty; the path of a file is needed"));
        }
        // Opening a pipe would wait for somebody who writes to it, and it could not be read twice.
        let found = fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() {
            let what = if found.is_dir() { "a directory" } else { "no regular file" };
            return Err(Error::invalid(format!("path '{}' is {what}; a file is needed", path.display())));
        }
        let file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(unreadable)?);
        let mut reader = Reader { file, path: path.to_owned(), at: 0, len: found.len(), count: 0, next: 0 };
        if reader.len < COUNT_BYTES {
            return Err(
                reader.damaged(&format!("it has {} bytes, less than its count of records", reader.len))
            );
        }
        let count = reader.read_i64()?;
        let most = (reader.len - COUNT_BYTES) / MIN_RECORD_BYTES;
        match u64::try_from(count) {
            Ok(count) if count <= most => reader.count = count,
            _ => {
                return Err(reader.damaged(&format!(
                    "it begins with a count of {count} records, and its {} bytes have room for {most} at most; it is \
                     cut off, or no such file",
                    reader.len
                )));
            }
        }
        Ok(reader)
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next record; None at the end, which is where the file ends. Its floats must then be read or skipped.
    ///
    /// # Errors
    /// `CORRUPTION` naming the record and the byte; `IO`.
    pub(super) fn next(&mut self) -> Result<Option<Head>> {
        if self.next == self.count {
            if self.at < self.len {
                return Err(self.damaged(&format!(
                    "after its {} records {} bytes follow, of which it says nothing",
                    self.count,
                    self.len - self.at
                )));
            }
            return Ok(None);
        }
        let index = self.next;
        let key_len = self.read_u64()?;
        if key_len != KEY_BYTES {
            return Err(self.strange(&format!("its key has {key_len} bytes; {KEY_BYTES} are needed")));
        }
        let (key_group, key) = (self.read_i32()?, self.read_i64()?);
        let value_len = self.read_u64()?;
        let left = self.len.saturating_sub(self.at);
        let floats = value_len.checked_sub(VALUE_HEADER_BYTES).filter(|bytes| bytes % 4 == 0);
        let Some(floats) = floats else {
            return Err(self.strange(&format!(
                "its value has {value_len} bytes; {VALUE_HEADER_BYTES} and 4 for each float are needed"
            )));
        };
        if value_len > left {
            return Err(
                self.strange(&format!("its value has {value_len} bytes, and the file ends after {left}"))
            );
        }
        let (value_group, value_key) = (self.read_i32()?, self.read_i64()?);
        let pair = (self.read_i64()?, self.read_i64()?);
        let dim = self.read_i32()?;
        self.next += 1;
        Ok(Some(Head { index, key_group, key, value_group, value_key, pair, dim, floats: floats / 4 }))
    }

    /// # Errors
    /// `IO`.
    pub(super) fn skip_floats(&mut self, head: &Head) -> Result<()> {
        let bytes = 4 * head.floats;
        let offset = i64::try_from(bytes).unwrap_or(i64::MAX);
        let skipped = self.file.seek_relative(offset);
        skipped.map_err(|error| self.unreadable(&error))?;
        self.at += bytes;
        Ok(())
    }

    /// Puts the record's floats behind those that are there.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`, `CORRUPTION` when the file has become shorter.
    pub(super) fn read_floats(&mut self, head: &Head, floats: &mut Vec<f32>) -> Result<()> {
        let (start, more) = (floats.len(), head.floats as usize);
        reserve(floats, more)?;
        floats.resize(start + more, 0.0);
        self.read(bytemuck::cast_slice_mut(floats.get_mut(start..).unwrap_or_default()))
    }

    fn read_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn read_i64(&mut self) -> Result<i64> {
        self.read_u64().map(|number| number as i64)
    }

    fn read_i32(&mut self) -> Result<i32> {
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
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.strange("the file ends in the midst of it"))
            }
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn strange(&self, what: &str) -> Error {
        self.damaged(&format!("record {} (from 0; byte {}): {what}", self.next, self.at))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corruption(format!(
            "path '{}' is not a whole checkpoint file of the earlier implementation: {what}",
            self.path.display()
        ))
    }

    fn unreadable(&self, error: &std::io::Error) -> Error {
        Error::io(format!("path '{}' cannot be read at byte {}: {error}", self.path.display(), self.at))
    }
}
