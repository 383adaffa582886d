//! SST files against RocksDB's own iterator, and damaged files.

mod damage;
mod golden;
mod kinds;
mod lookup;
pub(in crate::rocks) mod parts;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tempfile::TempDir;

use super::source::Source;
use super::{Bounds, Cursor, OpenFile, Refusal, SstRows};
use crate::files::regular;
use crate::rocks::fate::Fate;
use crate::rocks::key;
use crate::rocks::merged::MergedRows;
use crate::rocks::options::{Logs, Metadata};
use crate::rocks::{Batch, KeyRange, Opening, Resources, Rocks};

pub(in crate::rocks) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The first byte of values that merging drops, and of those that it replaces.
pub(in crate::rocks) const GOES: u8 = 250;
pub(in crate::rocks) const IS_REPLACED: u8 = 251;
const REPLACEMENT: &[u8] = b"replaced";

/// A database of its own, whose rows are any bytes.
pub(in crate::rocks) struct Database {
    pub(in crate::rocks) rocks: Rocks,
    pub(in crate::rocks) dir: TempDir,
    files: Cell<usize>,
}

impl Database {
    /// With an index of one level, or of two.
    pub(in crate::rocks) fn new(has_two_levels: bool) -> Database {
        Database::with_fate(has_two_levels, |value| match value.first() {
            Some(&GOES) => Fate::Go,
            Some(&IS_REPLACED) => Fate::Leave(REPLACEMENT),
            _ => Fate::Stay,
        })
    }

    /// As [`Database::new`], but merges ask `fate`.
    pub(in crate::rocks) fn with_fate(
        has_two_levels: bool,
        fate: impl Fn(&[u8]) -> Fate + Send + Sync + 'static,
    ) -> Database {
        let dir = tempfile::tempdir().unwrap();
        let resources = Resources { cache_bytes: 64 << 20, threads: 2, read_only: true };
        let metadata = if has_two_levels { Metadata::Cached(8 << 20) } else { Metadata::Held };
        let rocks =
            Rocks::open_with(dir.path(), Opening::New, &resources, metadata, Logs::Tracked, fate)
                .unwrap();
        // As earlier builds compressed what they merged. Files that are added are not compressed.
        let lz4 = ("bottommost_compression", "kLZ4Compression");
        // A merge writes one file here, also with the feature check-index.
        rocks.db.set_options(&[lz4, ("target_file_size_base", "268435456")]).unwrap();
        // RocksDB keeps no deletions for a snapshot of sequence number 0. A storage has documents
        // before it has rows.
        let mut batch = Batch::default();
        batch.put_meta("format".to_owned(), b"tests".to_vec());
        rocks.write(batch).unwrap();
        Database { rocks, dir, files: Cell::new(0) }
    }

    /// Ingests a file of rows; None is a deletion.
    pub(in crate::rocks) fn add(&self, rows: &BTreeMap<(u16, i64), Option<Vec<u8>>>) {
        self.files.set(self.files.get() + 1);
        let path = self.dir.path().join(format!("new{}.sst", self.files.get()));
        let mut writer = self.rocks.begin_sst(&path).unwrap();
        for ((group, key), value) in rows {
            match value {
                Some(value) => writer.put(key::encode(*group, *key), value).unwrap(),
                None => writer.delete(key::encode(*group, *key)).unwrap(),
            }
        }
        writer.finish().unwrap();
        self.rocks.ingest(&path).unwrap();
    }

    /// Deletes all rows of a group. They are deleted in a memtable until the next flush.
    pub(in crate::rocks) fn clear(&self, group: u16) {
        let mut batch = Batch::default();
        batch.delete_rows(group);
        self.rocks.write_without_sync(batch).unwrap();
    }

    /// The rows that RocksDB's iterator finds.
    pub(in crate::rocks) fn expected(&self, range: &KeyRange) -> Rows {
        let mut options = rust_rocksdb::ReadOptions::default();
        if let Some(end) = range.end {
            options.set_iterate_upper_bound(end.to_vec());
        }
        let mut iterator = self.rocks.db.raw_iterator_opt(options);
        iterator.seek(range.start);
        let mut rows = Vec::new();
        while let Some((key, value)) = iterator.item() {
            rows.push((key.to_vec(), value.to_vec()));
            iterator.next();
        }
        iterator.status().unwrap();
        rows
    }

    /// The files of this moment; None where RocksDB has to be asked.
    pub(in crate::rocks) fn merged(&self) -> Option<MergedRows> {
        let seqno = self.rocks.db.latest_sequence_number();
        crate::rocks::live_files::read(self.rocks.live_files(seqno)?.0)
    }

    /// Each live file of rows: its path, bounds and bytes.
    pub(in crate::rocks) fn files(&self) -> Vec<(PathBuf, Bounds, Vec<u8>)> {
        let live = self.rocks.db.live_files().unwrap();
        let rows = live.into_iter().filter(|file| file.column_family_name == "default");
        rows.map(|file| {
            let path = self.dir.path().join(file.name.trim_start_matches('/'));
            let bounds = Bounds {
                len: file.size as u64,
                first: file.start_key.unwrap(),
                last: file.end_key.unwrap(),
                first_seqno: file.smallest_seqno,
                last_seqno: file.largest_seqno,
            };
            let bytes = regular::read(&path).unwrap();
            (path, bounds, bytes)
        })
        .collect()
    }

    /// The only live file of rows, which comes from a merge of all.
    pub(in crate::rocks) fn merged_file(&self) -> (PathBuf, Bounds, Vec<u8>) {
        self.rocks.compact().unwrap();
        let mut files = self.files();
        assert_eq!(files.len(), 1);
        files.pop().unwrap()
    }
}

/// Rows of a group with values of these lengths, in turn.
pub(in crate::rocks) fn rows(
    random: &mut ChaCha8Rng,
    group: u16,
    count: usize,
    lens: &[usize],
) -> BTreeMap<(u16, i64), Option<Vec<u8>>> {
    let mut rows = BTreeMap::new();
    for index in 0..count {
        let key = if index % 2 == 0 { random.random() } else { random.random_range(-500..500) };
        let mut value = vec![0; lens[index % lens.len()]];
        random.fill(value.as_mut_slice());
        if let Some(first) = value.first_mut() {
            *first %= GOES;
        }
        rows.insert((group, key), Some(value));
    }
    rows
}

pub(in crate::rocks) fn random(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The rows of files in a range.
pub(in crate::rocks) fn found(files: &MergedRows, range: &KeyRange) -> Rows {
    let mut rows = Vec::new();
    let scanned = files.scan(range, |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(true)
    });
    scanned.unwrap();
    rows
}

/// The entries of one file: key, sequence number, whether it is a deletion, value.
pub(in crate::rocks) type Entries = Vec<(u128, u64, bool, Vec<u8>)>;

/// All entries of a file that is read in pieces of this many bytes.
pub(in crate::rocks) fn entries(file: &SstRows, bytes: usize) -> Result<Entries, Refusal> {
    let mut cursor = Cursor::new(file, 0, key::ABOVE_ALL, bytes)?;
    let mut entries = Vec::new();
    while let Some(version) = cursor.entry() {
        let value = cursor.value().to_vec();
        entries.push((version.key, version.seqno(), version.is_deletion(), value));
        cursor.advance()?;
    }
    Ok(entries)
}

/// Opens a file of which memory has all bytes.
fn in_memory(path: &std::path::Path, bounds: &Bounds, bytes: Vec<u8>) -> Result<SstRows, Refusal> {
    SstRows::open(path.to_owned(), Box::new(bytes), bounds.clone())
}

fn on_disk(path: &std::path::Path, bounds: &Bounds) -> Result<SstRows, Refusal> {
    let file: Box<dyn Source> = Box::new(OpenFile::new(regular::open(path).unwrap()).unwrap());
    SstRows::open(path.to_owned(), file, bounds.clone())
}
