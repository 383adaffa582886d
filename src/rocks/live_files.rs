//! Which SST files have the rows of a moment, opened so that a merge which deletes them does not
//! matter.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rust_rocksdb::{DEFAULT_COLUMN_FAMILY_NAME, LiveFile};

use super::Rocks;
use super::merged::MergedRows;
use super::sst::{Bounds, OpenFile, SstRows};
use crate::files::regular;

/// How many files all scans of a database have open at most. Beyond them RocksDB is asked.
const MAX_FILES: usize = 256;
/// How often the list is made: a merge may delete a listed file before it is opened.
const TRIES: usize = 3;

/// A file of rows that is open.
pub(super) struct OpenedFile {
    path: PathBuf,
    file: File,
    bounds: Bounds,
}

/// Files that a scan has open, of [`MAX_FILES`].
pub(super) struct Hold<'a> {
    files: usize,
    held: &'a AtomicUsize,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.held.fetch_sub(self.files, Ordering::Relaxed);
    }
}

impl Rocks {
    /// Opens the files that have all rows up to RocksDB's sequence number `seqno`, and none that
    /// came later. None where RocksDB has to be asked: when it has deletions of groups in memory
    /// only, when something came later, or when files are too many or cannot be opened. Keep the
    /// hold as long as the files.
    ///
    /// Call it when a snapshot of `seqno` has been taken, and while no rows are written. A merge
    /// may replace files meanwhile: it leaves the same newest rows.
    pub(super) fn live_files(&self, seqno: u64) -> Option<(Vec<OpenedFile>, Hold<'_>)> {
        for _ in 0..TRIES {
            // What was in memory before the list is made, is in memory or listed.
            if self.entries_in_memory()? > 0 {
                return None;
            }
            let files = self.db.live_files().ok()?;
            let is_of_rows =
                |file: &&LiveFile| file.column_family_name == DEFAULT_COLUMN_FAMILY_NAME;
            let files: Vec<_> = files.iter().filter(is_of_rows).collect();
            let has_later = files.iter().any(|file| file.largest_seqno > seqno);
            if has_later {
                return None;
            }
            let hold = self.hold(files.len())?;
            match open(&files) {
                Attempt::All(opened) => return Some((opened, hold)),
                Attempt::OneIsGone => {}
                Attempt::Failed => return None,
            }
        }
        None
    }

    fn hold(&self, files: usize) -> Option<Hold<'_>> {
        let held = &self.files_of_scans;
        let sum = |held: usize| held.checked_add(files).filter(|sum| *sum <= MAX_FILES);
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum);
        taken.is_ok().then_some(Hold { files, held })
    }

    /// Entries in the memtables of rows. Only deletions of groups go there.
    pub(super) fn entries_in_memory(&self) -> Option<u64> {
        let active = self.known_number("rocksdb.num-entries-active-mem-table")?;
        let others = self.known_number("rocksdb.num-entries-imm-mem-tables")?;
        active.checked_add(others)
    }
}

/// What came of opening listed files.
enum Attempt {
    All(Vec<OpenedFile>),
    /// A merge has deleted a file since.
    OneIsGone,
    Failed,
}

fn open(files: &[&LiveFile]) -> Attempt {
    let mut opened = Vec::new();
    for live in files {
        let Some((path, bounds)) = place(live) else { return Attempt::Failed };
        let file = match regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Attempt::OneIsGone,
            Err(_) => return Attempt::Failed,
        };
        opened.push(OpenedFile { path, file, bounds });
    }
    Attempt::All(opened)
}

/// The path of a listed file, and what the MANIFEST says about it.
pub(super) fn place(live: &LiveFile) -> Option<(PathBuf, Bounds)> {
    let path = Path::new(&live.directory).join(live.name.trim_start_matches('/'));
    let bounds = Bounds {
        len: live.size as u64,
        first: live.start_key.clone()?,
        last: live.end_key.clone()?,
        first_seqno: live.smallest_seqno,
        last_seqno: live.largest_seqno,
    };
    Some((path, bounds))
}

/// Reads the heads of files. None when one is refused: then RocksDB is asked for all rows.
pub(super) fn read(files: Vec<OpenedFile>) -> Option<MergedRows> {
    let rows = |opened: OpenedFile| {
        let source = OpenFile::new(opened.file).ok()?;
        SstRows::open(opened.path, Box::new(source), opened.bounds).ok()
    };
    files.into_iter().map(rows).collect::<Option<Vec<_>>>().map(MergedRows::new)
}
