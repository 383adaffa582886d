//! Everything as it is at one moment, read in the order of keys.
//!
//! Rows are read from the SST files directly (`sst`, `merged`), which takes less than half of the
//! processor that RocksDB's iterator takes. RocksDB is asked where a file is refused, and where the
//! files do not have all of the moment (`live_files`).

use std::sync::OnceLock;

use rust_rocksdb::{DB, ReadOptions};

use super::key::KEY_LEN;
use super::live_files::{self, Hold, OpenedFile};
use super::merged::{MergedRows, Stopped};
use super::sst::Refusal;
use super::{KeyRange, Rocks, translate};
use crate::error::Result;
use crate::locks::Mutex;
use crate::memory::check_headroom;

/// How many bytes RocksDB reads ahead: enough for a disk to be at its best, and all the memory that
/// a scan takes.
const READ_AHEAD: usize = 1 << 20;

/// What the database has at the moment it is made, whatever is written later.
pub(crate) struct Snapshot<'a> {
    snapshot: rust_rocksdb::SnapshotWithThreadMode<'a, DB>,
    /// The files of the moment, until their heads have been read.
    opened: Mutex<Option<Vec<OpenedFile>>>,
    /// None where RocksDB is asked.
    merged: OnceLock<Option<MergedRows>>,
    /// Dropped when the files are closed.
    _hold: Option<Hold<'a>>,
}

impl Rocks {
    /// Takes a snapshot. No rows may be written meanwhile.
    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        let snapshot = self.db.snapshot();
        let files = snapshot.sequence_number().and_then(|seqno| self.live_files(seqno));
        let (opened, _hold) = files.unzip();
        Snapshot { snapshot, opened: Mutex::new(opened), merged: OnceLock::new(), _hold }
    }
}

impl Snapshot<'_> {
    /// Hands each key and value of a range to `visit`, by ascending keys, until it returns false.
    /// The checksums of blocks are compared.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut last: Option<[u8; KEY_LEN]> = None;
        let mut refusal = None;
        if let Some(merged) = self.merged() {
            let scanned = merged.scan(range, |key, value| {
                last = Some(*key);
                visit(key, value)
            });
            match scanned {
                Ok(()) => return Ok(()),
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::Refused(why)) => {
                    // It may be refused for want of memory, which would end the process in RocksDB.
                    check_headroom(0)?;
                    refusal = Some(why);
                }
            }
        }
        // The first key behind those that were visited.
        let start = match last {
            Some(last) => [&last[..], &[0]].concat(),
            None => range.start.to_vec(),
        };
        self.ask_rocksdb(&start, range, refusal, visit)
    }

    /// The files of the moment, if all can be read without RocksDB.
    fn merged(&self) -> Option<&MergedRows> {
        let read = || {
            let opened = self.opened.lock().take();
            opened.and_then(live_files::read)
        };
        self.merged.get_or_init(read).as_ref()
    }

    /// Scans a range from `start` on with RocksDB's iterator. If that fails, too, the error also
    /// says why a file was refused.
    fn ask_rocksdb(
        &self,
        start: &[u8],
        range: &KeyRange,
        refusal: Option<Refusal>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end.to_vec());
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        iterator.seek(start);
        while let Some((key, value)) = iterator.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| match refusal {
            Some(refusal) => translate(&error).within(&refusal.to_string()),
            None => translate(&error),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Status;
    use crate::rocks::merged::MergedRows;
    use crate::rocks::sst::SstRows;
    use crate::rocks::sst::tests::{Database, Rows, random, rows};

    fn scan(snapshot: &Snapshot<'_>) -> (Rows, Result<()>) {
        let mut rows = Vec::new();
        let scanned = snapshot.scan(&KeyRange::all(), |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(true)
        });
        (rows, scanned)
    }

    fn three_files() -> Database {
        let database = Database::new(false);
        let mut random = random(21);
        for _ in 0..3 {
            database.add(&rows(&mut random, 1, 3000, &[75]));
        }
        database
    }

    #[test]
    fn later_rows_are_not_seen_and_files_are_read_directly() {
        let database = three_files();
        let expected = database.expected(&KeyRange::all());
        let snapshot = database.rocks.snapshot();
        database.add(&rows(&mut random(22), 1, 3000, &[75]));
        database.rocks.compact().unwrap();
        assert!(snapshot.merged().is_some());
        assert!(scan(&snapshot) == (expected, Ok(())));
        database.clear(1);
        let snapshot = database.rocks.snapshot();
        assert!(snapshot.merged().is_none());
        assert!(scan(&snapshot) == (Vec::new(), Ok(())));
    }

    #[test]
    fn rocksdb_is_asked_while_other_scans_have_too_many_files_open() {
        let database = three_files();
        let mut snapshots = Vec::new();
        while snapshots.last().is_none_or(|last: &Snapshot<'_>| last.merged().is_some()) {
            snapshots.push(database.rocks.snapshot());
            assert!(snapshots.len() < 100, "there is no bound");
        }
        let (last, expected) = (snapshots.pop().unwrap(), database.expected(&KeyRange::all()));
        assert!(scan(&last) == (expected, Ok(())));
    }

    #[test]
    fn rocksdb_goes_on_where_a_file_is_refused() {
        let database = three_files();
        let expected = database.expected(&KeyRange::all());
        for part in 0..40 {
            let mut files = Vec::new();
            for (index, (path, bounds, mut bytes)) in database.files().into_iter().enumerate() {
                if index == part % 3 {
                    let at = bytes.len() * 3 / 4 * part / 40;
                    bytes[at] ^= 1;
                }
                files.push(SstRows::open(path, Box::new(bytes), bounds).unwrap());
            }
            let damaged = MergedRows::new(files);
            let mut before = 0;
            let count = |_: &[u8; KEY_LEN], _: &[u8]| {
                before += 1;
                Ok(true)
            };
            assert!(matches!(damaged.scan(&KeyRange::all(), count), Err(Stopped::Refused(_))));
            assert!(part < 3 || (1..expected.len()).contains(&before), "{before}");
            let mut snapshot = database.rocks.snapshot();
            snapshot.merged = OnceLock::from(Some(damaged));
            assert!(scan(&snapshot) == (expected.clone(), Ok(())), "{part}");
        }
    }

    #[test]
    fn damage_on_disk_is_an_error_that_names_the_file() {
        let database = three_files();
        let expected = database.expected(&KeyRange::all());
        let (path, _, mut bytes) = database.files().pop().unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (rows, scanned) = scan(&database.rocks.snapshot());
        let error = scanned.unwrap_err();
        assert_eq!(error.status(), Status::Corruption);
        // A block has 2 KiB, and a row of the next one.
        let place = format!("'{}', byte ", path.display());
        let rest = error.message().strip_prefix(&place).unwrap_or_else(|| panic!("{error}"));
        let byte: usize = rest.split_once(':').unwrap().0.parse().unwrap();
        assert!((at - 2200..=at).contains(&byte), "{error}");
        assert!(rows.len() > 1000 && expected.starts_with(&rows));
    }
}
