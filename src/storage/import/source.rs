//! The file that is imported, whatever its format.

use std::path::Path;

use super::bytes::Bytes;
use super::checkpoint::Checkpoint;
use super::dump::Dump;
use super::options::ImportOptions;
use super::record::Record;
use super::report::{Format, Layout};
use crate::error::Result;

/// A file whose records come one after the other.
pub(super) enum Source {
    Checkpoint(Checkpoint, Layout),
    Dump(Dump),
}

impl Source {
    pub(super) fn open(path: &Path, format: Format, options: &ImportOptions) -> Result<Source> {
        Ok(match format {
            Format::Checkpoint(layout) => Source::Checkpoint(Checkpoint::open(path)?, layout),
            format => Source::Dump(Dump::open(path, format, options.header_groups)?),
        })
    }

    pub(super) fn count(&self) -> u64 {
        match self {
            Source::Checkpoint(file, _) => file.count(),
            Source::Dump(file) => file.count(),
        }
    }

    pub(super) fn bytes(&mut self) -> &mut Bytes {
        match self {
            Source::Checkpoint(file, _) => file.bytes(),
            Source::Dump(file) => file.bytes(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        match self {
            Source::Checkpoint(file, layout) => file.next(*layout),
            Source::Dump(file) => file.next(),
        }
    }
}
