//! Writes SST files, and hands them to RocksDB.

use std::path::Path;

use rust_rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::key::KEY_LEN;
use super::{Rocks, translate};
use crate::error::Result;

/// An SST file that is being written, by ascending keys.
pub(crate) struct SstWriter<'a> {
    writer: SstFileWriter<'a>,
}

impl Rocks {
    /// Begins an SST file at `path`. Once finished, [`Rocks::ingest`] adds it to the database.
    pub(crate) fn begin_sst(&self, path: &Path) -> Result<SstWriter<'_>> {
        let mut writer = SstFileWriter::create(&self.row_options);
        writer.open(path).map_err(|error| translate(&error))?;
        Ok(SstWriter { writer })
    }

    /// Takes a finished SST file over: its rows become the newest of their keys, all at once and
    /// durably. Afterwards the file is gone from `path`.
    pub(crate) fn ingest(&self, path: &Path) -> Result<()> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let ingested = self.db.ingest_external_file_opts(&options, vec![path]);
        // Before the caller lets its rows be evicted. After an error, too: RocksDB may have the
        // file all the same.
        self.files_have_changed();
        self.written(ingested)
    }
}

impl SstWriter<'_> {
    pub(crate) fn put(&mut self, key: [u8; KEY_LEN], value: &[u8]) -> Result<()> {
        self.writer.put(key, value).map_err(|error| translate(&error))
    }

    pub(crate) fn delete(&mut self, key: [u8; KEY_LEN]) -> Result<()> {
        self.writer.delete(key).map_err(|error| translate(&error))
    }

    /// Ends the file and syncs it.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.writer.finish().map_err(|error| translate(&error))
    }
}
