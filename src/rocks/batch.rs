//! Batches: documents, and DeleteRanges of whole groups, written atomically.

use rust_rocksdb::{WriteBatch, WriteOptions};

use super::Rocks;
use super::key::{self, KEY_LEN};
use crate::error::Result;

/// Documents and deletions that are written together or not at all.
#[derive(Default)]
pub(crate) struct Batch {
    meta: Vec<(String, Vec<u8>)>,
    /// Keys of documents that are deleted.
    without_meta: Vec<String>,
    /// Groups whose rows are all deleted.
    without_rows: Vec<u16>,
}

impl Batch {
    pub(crate) fn put_meta(&mut self, key: String, value: Vec<u8>) {
        self.meta.push((key, value));
    }

    pub(crate) fn delete_meta(&mut self, key: String) {
        self.without_meta.push(key);
    }

    /// Deletes all rows of a group that are stored when the batch is written.
    pub(crate) fn delete_rows(&mut self, group: u16) {
        self.without_rows.push(group);
    }
}

impl Rocks {
    /// Writes a batch for good: when this returns, it is on disk and in the inventory.
    pub(crate) fn write(&self, batch: Batch) -> Result<()> {
        self.put(batch, true)?;
        self.write_inventory()
    }

    /// As [`Rocks::write`], but the inventory has it only once the next documents are written.
    pub(crate) fn write_unlisted(&self, batch: Batch) -> Result<()> {
        self.put(batch, true)
    }

    /// Writes a batch without a sync. Losing power may lose it. The inventory does not list it, so
    /// a damaged end of the log counts as one that was being written.
    pub(crate) fn write_without_sync(&self, batch: Batch) -> Result<()> {
        self.put(batch, false)
    }

    fn put(&self, batch: Batch, sync: bool) -> Result<()> {
        let mut documents = WriteBatch::default();
        let family = self.meta()?;
        for (key, value) in batch.meta {
            documents.put_cf(family, key, value);
        }
        for key in batch.without_meta {
            documents.delete_cf(family, key);
        }
        let deletes = !batch.without_rows.is_empty();
        // Put after the documents, which salvage reads from damaged logs.
        for group in batch.without_rows {
            let (start, end) = group_range(group);
            documents.delete_range(start, end);
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        let written = self.written(self.db.write_opt(&documents, &options));
        if deletes {
            self.lookups.count_change();
        }
        written
    }

    /// Removes the SST files that have rows of this group only. Call it after its rows were
    /// deleted. Other files give their space back when they are merged.
    pub(crate) fn drop_files_of(&self, group: u16) {
        // Iterators of a snapshot open files late, and would not find the removed ones.
        if self.number("rocksdb.num-snapshots").is_ok_and(|snapshots| snapshots == 0) {
            let (first, last) = (key::encode(group, i64::MIN), key::encode(group, i64::MAX));
            // After an error a merge frees the space later.
            let _ = self.db.delete_file_in_range(first, last);
            self.lookups.count_change();
        }
    }
}

/// The keys of a group as a half-open range. Its end is not the key of a row of the group.
fn group_range(group: u16) -> (Vec<u8>, Vec<u8>) {
    let end = match group.checked_add(1) {
        Some(next) => key::encode(next, i64::MIN).to_vec(),
        None => vec![u8::MAX; KEY_LEN + 1],
    };
    (key::encode(group, i64::MIN).to_vec(), end)
}
