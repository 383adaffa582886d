//! The file that is imported, whatever its format.

use std::path::Path;

use super::bytes::Bytes;
use super::checkpoint::Checkpoint;
use super::dump::Dump;
use super::options::ImportOptions;
use super::record::FileRecord;
use super::report::{Format, Layout};
use crate::error::Result;

/// An open file of either kind, read record by record.
pub(super) enum ImportFile {
    Checkpoint(Checkpoint, Layout),
    Dump(Dump),
}

impl ImportFile {
    pub(super) fn open(path: &Path, format: Format, options: &ImportOptions) -> Result<ImportFile> {
        Ok(match format {
            Format::Checkpoint(layout) => ImportFile::Checkpoint(Checkpoint::open(path)?, layout),
            format => ImportFile::Dump(Dump::open(path, format, options.header_groups)?),
        })
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            ImportFile::Checkpoint(file, _) => file.count(),
            ImportFile::Dump(file) => file.count(),
        }
    }

    pub(super) fn bytes(&mut self) -> &mut Bytes {
        match self {
            ImportFile::Checkpoint(file, _) => file.bytes(),
            ImportFile::Dump(file) => file.bytes(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<FileRecord>> {
        match self {
            ImportFile::Checkpoint(file, layout) => file.next(*layout),
            ImportFile::Dump(file) => file.next(),
        }
    }
}
