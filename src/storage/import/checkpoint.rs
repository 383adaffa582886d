//! A checkpoint file of the earlier implementation. Every length is checked before it is used.
//!
//! ```text
//! i64   count, then for each record
//! u64   bytes of the key: 12           u64   bytes of the value: the header and 4 for each float
//! i32   group   }                      i32   group
//! i64   key     } the key              i64   key
//!                                      i64   update_time, or update_num in later releases
//!                                      i64   update_num, or update_time in later releases
//!                                      8 bytes, in the last release only; they are skipped
//!                                      i32   dim
//!                                      f32   weights[dim], then the optimizer's state
//! ```
//!
//! The format has no magic number. Only the lengths tell such a file: they add up to its end, to
//! the byte.

use std::path::Path;

use super::bytes::Bytes;
use super::record::FileRecord;
use super::report::Layout;
use crate::error::{Error, Result, Status};

const KIND: &str = "checkpoint";
const COUNT_BYTES: u64 = 8;
const KEY_BYTES: u64 = 12;
/// Bytes of a value's first fields: group, key, update_time, update_num.
const FIELD_BYTES: u64 = 28;
/// Two lengths, the key, and a value without floats.
const MIN_RECORD_BYTES: u64 = 8 + KEY_BYTES + 8 + Layout::Short.bytes();

pub(super) struct Checkpoint {
    bytes: Bytes,
    count: u64,
    next: u64,
}

/// A record's possible dims: those in the places of the short and of the long header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dims {
    short: Option<i32>,
    long: Option<i32>,
    value_len: u64,
}

impl Dims {
    /// Whether the value's length fits this layout: weights, or weights and a state.
    pub(super) fn suits(&self, layout: Layout) -> bool {
        let dim = match layout {
            Layout::Short => self.short,
            Layout::Long => self.long,
        };
        let floats = self.value_len.saturating_sub(layout.bytes()) / 4;
        match dim.map(u64::try_from) {
            Some(Ok(dim)) if dim > 0 => {
                (floats.is_multiple_of(dim) && (1..=4).contains(&(floats / dim)))
                    || floats == dim + 1
            }
            _ => false,
        }
    }
}

impl Checkpoint {
    /// # Errors
    /// `CORRUPTION` for a count that the file is too short for; `NOT_FOUND`, `INVALID_ARGUMENT`,
    /// `IO`.
    pub(super) fn open(path: &Path) -> Result<Checkpoint> {
        let mut bytes = Bytes::open(path)?;
        let len = bytes.len();
        if len < COUNT_BYTES {
            let what = format!("it has {len} bytes, less than its count of records");
            return Err(bytes.damaged(KIND, &what));
        }
        let count = bytes.read_i64()?;
        let most = (len - COUNT_BYTES) / MIN_RECORD_BYTES;
        match u64::try_from(count) {
            Ok(count) if count <= most => Ok(Checkpoint { bytes, count, next: 0 }),
            _ => Err(bytes.damaged(
                KIND,
                &format!(
                    "it begins with a count of {count} records, and its {len} bytes have room for \
                     {most} at most; it is cut off, or no such file"
                ),
            )),
        }
    }

    /// Whether the file begins as a checkpoint does.
    ///
    /// # Errors
    /// As `open`, without `CORRUPTION`.
    pub(super) fn is_one(path: &Path) -> Result<bool> {
        match Checkpoint::open(path) {
            Ok(found) if found.count == 0 => Ok(found.bytes.left() == 0),
            Ok(mut found) => Ok(found.bytes.read_u64()? == KEY_BYTES),
            Err(error) if error.status() == Status::Corruption => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn bytes(&mut self) -> &mut Bytes {
        &mut self.bytes
    }

    /// The next record and its possible dims. Its floats are skipped.
    ///
    /// # Errors
    /// As `next`.
    pub(super) fn survey_next(&mut self) -> Result<Option<(FileRecord, Dims)>> {
        let Some((record, value_len)) = self.begin_record()? else { return Ok(None) };
        let short = Some(self.bytes.read_i32()?);
        let mut left = value_len - Layout::Short.bytes();
        let mut long = None;
        if value_len >= Layout::Long.bytes() {
            self.bytes.skip(4)?;
            long = Some(self.bytes.read_i32()?);
            left -= 8;
        }
        self.bytes.skip(left)?;
        Ok(Some((record, Dims { short, long, value_len })))
    }

    /// The next record; None at the end of the file. The caller must read or skip its floats before
    /// the next call. A value that is too short for the layout has the dim 0.
    ///
    /// # Errors
    /// `CORRUPTION` naming the record and the byte; `IO`.
    pub(super) fn next(&mut self, layout: Layout) -> Result<Option<FileRecord>> {
        let Some((mut record, value_len)) = self.begin_record()? else { return Ok(None) };
        if value_len < layout.bytes() {
            record.floats = (value_len - FIELD_BYTES) / 4;
            return Ok(Some(record));
        }
        self.bytes.skip(layout.bytes() - FIELD_BYTES - 4)?;
        record.dim = self.bytes.read_i32()?;
        record.floats = (value_len - layout.bytes()) / 4;
        Ok(Some(record))
    }

    /// Reads a record up to its update_time and update_num. Returns the length of its value, too,
    /// of which 28 bytes are read.
    fn begin_record(&mut self) -> Result<Option<(FileRecord, u64)>> {
        if self.next == self.count {
            if self.bytes.left() > 0 {
                let (count, left) = (self.count, self.bytes.left());
                let what = format!(
                    "after its {count} records {left} bytes follow, of which it says nothing"
                );
                return Err(self.bytes.damaged(KIND, &what));
            }
            return Ok(None);
        }
        let index = self.next;
        let key_len = self.bytes.read_u64().map_err(|error| match error.status() {
            Status::Corruption => self.cut_off(),
            // The disk failed; the file may be whole.
            _ => error,
        })?;
        if key_len != KEY_BYTES {
            return Err(
                self.strange(&format!("its key has {key_len} bytes; {KEY_BYTES} are needed"))
            );
        }
        if self.bytes.left() < KEY_BYTES + 8 {
            return Err(self.cut_off());
        }
        let (group, key) = (self.bytes.read_i32()?, self.bytes.read_i64()?);
        let value_len = self.bytes.read_u64()?;
        let left = self.bytes.left();
        if value_len < Layout::Short.bytes() || value_len % 4 != 0 {
            return Err(self.strange(&format!(
                "its value has {value_len} bytes; {} or {} and 4 for each float are needed",
                Layout::Short.bytes(),
                Layout::Long.bytes()
            )));
        }
        if value_len > left {
            return Err(self.strange(&format!(
                "its value has {value_len} bytes, and the file ends after {left}"
            )));
        }
        let value_group = self.bytes.read_i32()?;
        let value_key = self.bytes.read_i64()?;
        let pair = (self.bytes.read_i64()?, self.bytes.read_i64()?);
        self.next += 1;
        Ok(Some((
            FileRecord { index, group, key, value_group, value_key, pair, dim: 0, floats: 0 },
            value_len,
        )))
    }

    fn cut_off(&self) -> Error {
        self.strange("the file ends in the midst of it")
    }

    fn strange(&self, what: &str) -> Error {
        let what = format!("record {} (from 0; byte {}): {what}", self.next, self.bytes.at());
        self.bytes.damaged(KIND, &what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error of the disk must not pass for damage: the file may be whole.
    #[test]
    fn only_the_end_of_the_file_is_damage() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let begin = [1_u64, KEY_BYTES].map(u64::to_le_bytes).concat();
        std::fs::write(file.path(), [begin.as_slice(), &[0; 60]].concat()).unwrap();
        let mut whole = Checkpoint::open(file.path()).unwrap();
        whole.bytes = whole.bytes.on_failing_disk();
        let failed = whole.next(Layout::Short).unwrap_err();
        assert_eq!(failed.status(), Status::Io, "{failed}");
        assert!(failed.message().contains("cannot be read at byte 8"), "{failed}");
        let mut cut = Checkpoint::open(file.path()).unwrap();
        std::fs::write(file.path(), [0; 10]).unwrap();
        cut.bytes = Bytes::open(file.path()).unwrap();
        cut.bytes.skip(8).unwrap();
        let ended = cut.next(Layout::Short).unwrap_err();
        assert_eq!(ended.status(), Status::Corruption, "{ended}");
        assert!(ended.message().contains("the file ends in the midst of it"), "{ended}");
    }
}
