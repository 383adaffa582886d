//! RocksDB's own checkpoints: a directory with hard links to the files of this moment.

use std::path::Path;

use rust_rocksdb::checkpoint::Checkpoint;
use rust_rocksdb::{ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, ReadOptions};

use super::Resources;
use super::documents::FAMILY;
use super::options::{Logs, Opening};
use super::{Metadata, Rocks, blame, options, translate};
use crate::error::Result;

impl Rocks {
    /// Makes `path`, which is not there, a directory with everything that is stored now; on another file system by copying.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<()> {
        super::room::check(self.db.path())?;
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| translate(&error))?;
        self.written(checkpoint.create_checkpoint(path))
    }

    /// Opens a database that stays as it is.
    pub(crate) fn open_read_only(dir: &Path, options: &Resources) -> Result<Rocks> {
        let metadata = Metadata::Cached(8 << 20);
        let cache = options::block_cache(metadata);
        let row_options = options::rows(&cache, metadata, options);
        let families = [
            ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, row_options.clone()),
            ColumnFamilyDescriptor::new(FAMILY, options::meta(&cache)),
        ];
        let mut database = options::database(options, Opening::Existing, Logs::Tracked);
        database.create_missing_column_families(false);
        let db = DB::open_cf_descriptors_read_only(&database, dir, families, false)
            .map_err(|error| blame::name_files(dir, translate(&error)))?;
        let mut read_options = ReadOptions::default();
        read_options.fill_cache(false);
        Ok(Rocks::new(db, cache, metadata, read_options, options::new_ssts(row_options)))
    }
}
