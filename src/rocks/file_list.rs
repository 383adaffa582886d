//! The file list: which files single rows are read from without RocksDB, from one read to the next.
//!
//! RocksDB counts the changes of its files, and the list is made anew after each change. A read
//! begins with a list that is not older than itself. What changes meanwhile does no harm: a merge
//! leaves the same newest rows, and the listed files stay open; a file that the writer adds has
//! rows that are in memory, which nobody reads from disk.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rust_rocksdb::{DEFAULT_COLUMN_FAMILY_NAME, LiveFile};

use super::Rocks;
use super::live_files::place;
use super::lookup_files::{Leveled, LookupFiles};
use super::lookups::{Known, NEVER};
use super::options::small_cache_bytes;
use super::sst::{Bounds, OpenFile, SstLookup, SstRows};
use crate::error::Result;
use crate::files::regular;

/// How many files are open at most. With more of them RocksDB is asked.
pub(crate) const MAX_FILES: usize = 128;
/// Files of more bytes would be more than [`MAX_FILES`]: most have 256 MiB, and some wait for a
/// merge.
const MAX_BYTES: u64 = 20 << 30;
/// How often the list is made: a merge may delete a listed file before it is opened.
const TRIES: usize = 3;
/// RocksDB is asked for so many keys before files are opened, so that a few reads are quick.
const FEW: usize = 1024;
/// Bytes of fences and filters for 8 rows of 200 bytes.
const BYTES_OF_8_ROWS: u64 = 17;

/// How long files stay open that a merge may have deleted, when nobody reads.
const PATIENCE: Duration = Duration::from_secs(1);

impl Rocks {
    /// The files to look for `keys` keys in. None where RocksDB has to be asked.
    pub(super) fn lookup_files(&self, keys: usize) -> Option<Arc<LookupFiles>> {
        let asked = &self.lookups.asked;
        if asked.load(Ordering::Relaxed) < FEW
            && asked.fetch_add(keys, Ordering::Relaxed).saturating_add(keys) < FEW
        {
            return None;
        }
        match self.lookups.of(self.version()?) {
            Some(files) => files,
            None => self.list_again(),
        }
    }

    /// Makes the list anew if files have changed and somebody uses the list.
    pub(super) fn refresh_lookups(&self) {
        if self.lookups.known.lock().files.is_some() {
            self.list_again();
        }
    }

    fn list_again(&self) -> Option<Arc<LookupFiles>> {
        let lookups = &self.lookups;
        let _listing = lookups.listing.lock();
        // Another thread may just have made it.
        let version = self.version()?;
        if let Some(files) = lookups.of(version) {
            return files;
        }
        let before = lookups.known.lock().files.clone();
        let files = self.list(before.as_deref()).map(Arc::new);
        self.set_lookup_bytes(files.as_ref().map_or(0, |files| files.bytes));
        *lookups.known.lock() = Known { version, files: files.clone(), changed: None };
        files
    }

    /// Closes the files if some have changed a while ago and nobody has read rows since: those that
    /// a merge has deleted take space on the disk.
    pub(crate) fn close_unused_lookups(&self) {
        let mut known = self.lookups.known.lock();
        if known.files.is_none() || self.version().is_none_or(|version| version == known.version) {
            known.changed = None;
        } else if known.changed.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            *known = Known { version: NEVER, files: None, changed: None };
            self.set_lookup_bytes(0);
        }
    }

    /// Notes how many bytes fences and filters take; 0 when RocksDB is asked for rows.
    fn set_lookup_bytes(&self, bytes: usize) {
        let lookups = &self.lookups;
        let before = lookups.bytes.swap(bytes, Ordering::Relaxed);
        lookups.has_changed.store(true, Ordering::Relaxed);
        if (before > 0) != (bytes > 0) {
            let most = self.metadata.cache_bytes();
            let cache = if bytes > 0 { small_cache_bytes(most) } else { most };
            self.cache.clone().set_capacity(cache);
        }
    }

    /// Opens the files of rows, as far as they are not open already.
    fn list(&self, before: Option<&LookupFiles>) -> Option<LookupFiles> {
        let size = self.size().ok()?;
        let lookups = &self.lookups;
        if size > MAX_BYTES || size >= lookups.too_large.load(Ordering::Relaxed) {
            return None;
        }
        let open = before.map(LookupFiles::by_path).unwrap_or_default();
        'tries: for _ in 0..TRIES {
            if self.entries_in_memory()? > 0 {
                return None;
            }
            let live = self.db.live_files().ok()?;
            let is_of_rows =
                |file: &&LiveFile| file.column_family_name == DEFAULT_COLUMN_FAMILY_NAME;
            let live: Vec<_> = live.iter().filter(is_of_rows).collect();
            if live.len() > MAX_FILES {
                return None;
            }
            let mut files = Vec::new();
            for one in live {
                let (path, bounds) = place(one)?;
                let file = match open.get(path.as_path()) {
                    Some(file) if *file.bounds() == bounds => Arc::clone(file),
                    _ => match read(&path, bounds) {
                        Attempt::Opened(file) => Arc::new(*file),
                        Attempt::IsGone => continue 'tries,
                        Attempt::Refused => return None,
                    },
                };
                files.push(Leveled { level: one.level, path, file });
            }
            let files = LookupFiles::new(files)?;
            if files.bytes <= lookups.room {
                return Some(files);
            }
            lookups.too_large.store(size, Ordering::Relaxed);
            return None;
        }
        None
    }

    /// Whether memory probably has room for fences and filters. RocksDB's number of rows is right
    /// after opening, and may be far too large later.
    pub(super) fn lookups_fit(&self) -> Result<bool> {
        let needed = self.estimated_rows()? / 8 * BYTES_OF_8_ROWS;
        Ok(needed <= self.lookups.room as u64 && self.size()? <= MAX_BYTES)
    }

    fn size(&self) -> Result<u64> {
        self.number("rocksdb.total-sst-files-size")
    }

    /// RocksDB's count of changes of the files of rows.
    fn version(&self) -> Option<u64> {
        self.number("rocksdb.current-super-version-number").ok()
    }
}

/// What came of opening a listed file.
enum Attempt {
    Opened(Box<SstLookup>),
    /// A merge has deleted it since.
    IsGone,
    Refused,
}

fn read(path: &Path, bounds: Bounds) -> Attempt {
    let file = match regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Attempt::IsGone,
        Err(_) => return Attempt::Refused,
    };
    let Ok(source) = OpenFile::new(file) else { return Attempt::Refused };
    let opened = SstRows::open(path.to_owned(), Box::new(source), bounds).and_then(SstLookup::new);
    opened.map_or(Attempt::Refused, |file| Attempt::Opened(Box::new(file)))
}
