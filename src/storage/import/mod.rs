//! Import: rows from files of the earlier implementation, so that its users can move.
//!
//! The file is read twice: first as a whole (`survey`), to know that nothing is missing and where
//! its fields are; then for the rows, in batches, so that memory does not grow with the file.
//! `checkpoint` and `dump` know the bytes, `rows` knows which records fit, and `table` stores rows.

mod bytes;
mod checkpoint;
mod dump;
mod options;
mod record;
mod report;
mod rows;
mod source;
mod survey;

use std::path::Path;

pub use options::ImportOptions;
pub use report::{FieldOrder, Format, Imported, Layout, Refusal, Refused};

use super::Storage;
use crate::error::{Error, Result};
use crate::memory::check_headroom;
use crate::rocks::check_not_predecessor;
use rows::Import;
use source::ImportFile;

impl Storage {
    /// `import_with` the default options.
    ///
    /// # Errors
    /// As `import_with`.
    pub fn import(
        &self,
        path: impl AsRef<Path>,
        progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Imported> {
        self.import_with(path, &ImportOptions::default(), progress)
    }

    /// Brings in the rows of the file `path`, a checkpoint or a dump that the earlier
    /// implementation wrote. Their groups must be registered, that is, have been opened in this
    /// storage once, with the right dim and optimizer. A row that is there is replaced; a
    /// checkpoint's update_time and update_num are kept; a row of a dump has no updates and the
    /// time of the import. A record that does not fit is left out, and counted with its reason.
    /// Everything that came in is on disk when this returns.
    ///
    /// Nothing is changed before the file has been read through. After an error from then on, or
    /// when the process is killed, a part of the rows may be there; import the file again then.
    /// Calls go on meanwhile, but what they do to rows of the file may be replaced: train
    /// afterwards.
    ///
    /// `progress` is told now and then how many bytes were read, of how many (twice those of the
    /// file), and ends the import by returning false. It must not use the storage.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for a path that is no file's, when no record fits what the
    /// storage has, and when none is of the group that was asked for; `CORRUPTION` for a file that
    /// is cut off, has more than it says, or is something else, and when no record is sound;
    /// `CANCELLED`; `IO`, `OUT_OF_MEMORY`, `POISONED`, `EXITING`.
    pub fn import_with(
        &self,
        path: impl AsRef<Path>,
        options: &ImportOptions,
        mut progress: impl FnMut(u64, u64) -> bool,
    ) -> Result<Imported> {
        let path = path.as_ref();
        let _call = self.begin_call()?;
        let engine = self.engine();
        engine.check_writable()?;
        check_headroom(1)?;
        check_not_predecessor(path, "the file that its checkpoint is")
            .map_err(|error| error.within(&format!("path '{}'", path.display())))?;
        let mut report = survey::survey(path, options, &mut |at, of| progress(at, of))?;
        let mut source = ImportFile::open(path, report.format, options)?;
        if source.count() != report.records {
            return Err(Error::io(format!(
                "path '{}' was changed while it was read",
                path.display()
            )));
        }
        let outcome =
            Import::new(engine, options.group).run(&mut source, &mut report, &mut progress);
        // Also what came in before an error: it is there, so it should be there to stay.
        let written = engine
            .writer
            .write_all()
            .map_err(|error| error.within(&format!("data_dir '{}'", self.dir().display())));
        *self.handle.last_import.lock() = Some(report.clone());
        outcome.and(written)?;
        match report.is_in_vain(options.group) {
            Some(error) => Err(error.within(&format!("path '{}'", path.display()))),
            None => Ok(report),
        }
    }

    /// What became of the records of the latest import of this storage, also of one that failed on its way.
    pub fn last_import(&self) -> Option<Imported> {
        self.handle.last_import.lock().clone()
    }
}
