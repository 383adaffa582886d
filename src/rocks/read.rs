//! Reads rows by their keys, and documents.

use rust_rocksdb::{Direction, IteratorMode};

use super::key::{self, KEY_LEN};
use super::{Rocks, translate};
use crate::error::Result;

/// What one MultiGet reads at most: enough to share work between neighbours, little enough to bound
/// the memory that its results pin.
const MULTI_GET_KEYS: usize = 1024;
const MULTI_GET_BYTES: usize = 4 << 20;

impl Rocks {
    /// Reads rows by ascending keys, and hands each to `visit` with its key's position; None when
    /// there is no row. A row has `row_bytes` at most.
    pub(super) fn read_rows(
        &self,
        sorted_keys: &[[u8; KEY_LEN]],
        row_bytes: usize,
        mut visit: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let chunk_len = (MULTI_GET_BYTES / row_bytes).clamp(1, MULTI_GET_KEYS);
        for (chunk_index, chunk) in sorted_keys.chunks(chunk_len).enumerate() {
            let found =
                self.db.batched_multi_get_pinned_batch_opt(chunk, true, &self.row_read_options);
            let found = found.map_err(|error| translate(&error))?;
            for (index, value) in found.iter().enumerate() {
                let value = value.map_err(|error| translate(&error))?;
                visit(chunk_index * chunk_len + index, value)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read_meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.db.get_cf_opt(self.meta()?, key, &self.read_options).map_err(|error| translate(&error))
    }

    /// Every document whose key starts with `prefix`, under the rest of its key.
    pub(crate) fn scan_meta(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        let mut documents = Vec::new();
        for entry in self.db.iterator_cf(self.meta()?, IteratorMode::Start) {
            let (key, value) = entry.map_err(|error| translate(&error))?;
            if let Some(rest) = String::from_utf8_lossy(&key).strip_prefix(prefix) {
                documents.push((rest.to_owned(), value.into_vec()));
            }
        }
        Ok(documents)
    }

    /// Whether there is neither a row nor a document.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        let mut first = [
            self.db.iterator(IteratorMode::Start),
            self.db.iterator_cf(self.meta()?, IteratorMode::Start),
        ];
        match first.iter_mut().find_map(Iterator::next) {
            None => Ok(true),
            Some(entry) => entry.map(|_| false).map_err(|error| translate(&error)),
        }
    }

    /// Whether a group has any row.
    pub(crate) fn has_rows(&self, group: u16) -> Result<bool> {
        let start = key::encode(group, i64::MIN);
        match self.db.iterator(IteratorMode::From(&start, Direction::Forward)).next() {
            None => Ok(false),
            Some(entry) => entry
                .map(|(key, _)| key.starts_with(&start[..2]))
                .map_err(|error| translate(&error)),
        }
    }
}
