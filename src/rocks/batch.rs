//! Batches: documents, and DeleteRanges of whole groups, that are written atomically.

use rust_rocksdb::{WriteBatch, WriteOptions};

use super::Rocks;
use super::key::{self, KEY_LEN};
use crate::error::Result;

/// Documents and deletions that are written atomically.
#[derive(Default)]
pub(crate) struct Batch {
    meta: Vec<(String, Vec<u8>)>,
    /// Groups whose rows are all deleted.
    without_rows: Vec<u16>,
}

impl Batch {
    pub(crate) fn put_meta(&mut self, key: String, value: Vec<u8>) {
        self.meta.push((key, value));
    }

    /// Deletes all rows of a group that are stored when the batch is written.
    pub(crate) fn delete_rows(&mut self, group: u16) {
        self.without_rows.push(group);
    }
}

impl Rocks {
    /// Writes documents for good: they are on disk, and in the inventory, when this returns.
    pub(crate) fn write(&self, batch: Batch) -> Result<()> {
        self.put(batch, true)?;
        self.write_inventory()
    }

    /// As [`Rocks::write`], but not in the inventory before the next documents are.
    pub(crate) fn write_unlisted(&self, batch: Batch) -> Result<()> {
        self.put(batch, true)
    }

    /// Writes documents that need not be there after losing power, nor be told from an end that was
    /// being written.
    pub(crate) fn write_without_sync(&self, batch: Batch) -> Result<()> {
        self.put(batch, false)
    }

    fn put(&self, batch: Batch, sync: bool) -> Result<()> {
        let mut documents = WriteBatch::default();
        let family = self.meta()?;
        for (key, value) in batch.meta {
            documents.put_cf(family, key, value);
        }
        // After the documents, which salvage reads from damaged logs.
        for group in batch.without_rows {
            let (start, end) = group_range(group);
            documents.delete_range(start, end);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.written(self.db.write_opt(&documents, &options))
    }

    /// Removes the files that have rows of this group only. To be called after its rows were
    /// deleted. Other files give their space back when they are merged.
    pub(crate) fn drop_files_of(&self, group: u16) {
        // Iterators of a snapshot open files late, and would not find these.
        if self.number("rocksdb.num-snapshots").is_ok_and(|snapshots| snapshots == 0) {
            let (first, last) = (key::encode(group, i64::MIN), key::encode(group, i64::MAX));
            // After an error a merge frees the space later.
            let _ = self.db.delete_file_in_range(first, last);
        }
    }
}

/// The keys of a group as a half-open range. Its end is not the key of any row of the group.
fn group_range(group: u16) -> (Vec<u8>, Vec<u8>) {
    let end = match group.checked_add(1) {
        Some(next) => key::encode(next, i64::MIN).to_vec(),
        None => vec![u8::MAX; KEY_LEN + 1],
    };
    (key::encode(group, i64::MIN).to_vec(), end)
}
