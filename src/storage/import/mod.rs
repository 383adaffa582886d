//! Import: rows from files of the earlier implementation, so that its users can move.
//!
//! The file is read twice. The first reading (`survey`) checks that nothing is missing, and finds
//! out where its fields are. The second (`rows`) brings in the rows in batches, so that memory does
//! not grow with the file. `checkpoint` and `dump` know the bytes, `rows` knows which records fit,
//! and the engine stores rows.

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
    /// Imports with the default options.
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

    /// Brings in the rows of the file `path`, a checkpoint or a dump of the earlier implementation.
    /// Their groups must be registered, that is, have been opened in this storage once, with the
    /// right dim and optimizer. An existing row is replaced. Rows of a checkpoint keep their
    /// update_time and update_num. Rows of a dump get no updates and the time of the import. A
    /// record that does not fit is left out, and counted with its reason. Everything that came in
    /// is on disk when this returns.
    ///
    /// Nothing is changed before the file was read through. After a later error, or a kill, a part
    /// of the rows may have come in; import the file again then. Calls go on meanwhile, but the
    /// import may replace what they do to the file's rows: train afterwards.
    ///
    /// `progress` is called from time to time with the bytes read so far and twice the file's
    /// bytes, since the file is read twice. It ends the import by returning false. It must not use
    /// the storage.
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
        // After an error, too: the rows that came in before it should last.
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

    /// The report of the latest import into this storage, also of one that failed during the second
    /// reading.
    pub fn last_import(&self) -> Option<Imported> {
        self.handle.last_import.lock().clone()
    }
}
