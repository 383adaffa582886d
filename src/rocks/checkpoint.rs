//! Makes RocksDB's own checkpoints: directories with hard links to the files of one moment.

use std::path::Path;

use rust_rocksdb::checkpoint::Checkpoint;

use super::{Rocks, translate};
use crate::error::Result;

impl Rocks {
    /// Makes the directory `path`, which does not exist, with everything that is stored now. On
    /// another file system files are copied.
    pub(crate) fn checkpoint(&self, path: &Path) -> Result<()> {
        super::room::check(self.db.path())?;
        let checkpoint = Checkpoint::new(&self.db).map_err(|error| translate(&error))?;
        self.written(checkpoint.create_checkpoint(path))
    }
}
