//! Opening: tells what database a directory has, and opens or makes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use rust_rocksdb::{
    Cache, ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, IteratorMode, Options,
    ReadOptions, compaction_filter::Decision,
};

use super::documents::{FAMILY, FORMAT};
use super::fate::Fate;
use super::file_names::CURRENT;
use super::lookups::Lookups;
use super::merge_counts::MergeCounts;
use super::options::{Logs, METADATA_PART, Metadata};
use super::preparation::Preparation;
use super::{Opening, Resources, Rocks, blame, missing, options, predecessor, translate};
use crate::error::{Error, Result};
use crate::locks::Mutex;
use crate::seqno::AtomicSeqno;

/// What kind of database a directory has.
pub(crate) enum DatabaseKind {
    Damo,
    /// An empty database of damo's: an earlier release was killed during a first opening.
    Begun,
    /// One of another release of damo, with its `format` document.
    OtherFormat(Vec<u8>),
    /// One of damo-embedding, the earlier implementation.
    Predecessor,
    ForeignRocksDb,
}

impl Rocks {
    /// Tells what database `dir` has, without changing it. It exists, and has a `CURRENT`.
    pub(crate) fn find(dir: &Path) -> Result<DatabaseKind> {
        let families = DB::list_cf(&Options::default(), dir).map_err(|error| translate(&error))?;
        let is_ours = |name: &String| name == FAMILY || name == DEFAULT_COLUMN_FAMILY_NAME;
        let has_meta = families.iter().any(|family| family == FAMILY);
        if has_meta && families.iter().all(is_ours) {
            return Ok(DatabaseKind::Damo);
        }
        let mut options = Options::default();
        options::bound_files(&mut options);
        let db = match DB::open_cf_for_read_only(&options, dir, &families, false) {
            Err(_) if !has_meta && predecessor::has_traces(dir) => {
                return Ok(DatabaseKind::Predecessor);
            }
            opened => opened.map_err(|error| translate(&error))?,
        };
        if let Some(meta) = db.cf_handle(FAMILY) {
            // It has more families than this release knows. A later damo says so in its format.
            let format = db.get_cf_opt(meta, FORMAT, &ReadOptions::default());
            let format = format.map_err(|error| translate(&error))?;
            return Ok(format.map_or(DatabaseKind::ForeignRocksDb, DatabaseKind::OtherFormat));
        }
        // With one empty family, a first opening was killed between making the database and its
        // second family.
        let is_predecessor = match (families.len(), db.iterator(IteratorMode::Start).next()) {
            (1, None) => return Ok(DatabaseKind::Begun),
            (1, Some(Ok((key, value)))) => predecessor::is_row(&key, &value),
            (1, Some(Err(_))) => predecessor::has_traces(dir),
            _ => false,
        };
        Ok(if is_predecessor { DatabaseKind::Predecessor } else { DatabaseKind::ForeignRocksDb })
    }

    /// Opens the database in `dir`, or makes it. RocksDB asks `fate` about each row that it merges.
    /// The files of `kept` may be needed in place of missing ones.
    pub(crate) fn open(
        dir: &Path,
        opening: Opening,
        options: &Resources,
        kept: &[PathBuf],
        fate: impl Fn(&[u8]) -> Fate + Clone + Send + Sync + 'static,
    ) -> Result<Rocks> {
        let open_with =
            |metadata, logs| Rocks::open_with(dir, opening, options, metadata, logs, fate.clone());
        let open = |metadata| match open_with(metadata, Logs::Tracked) {
            // RocksDB compares sequence numbers first, so no document is missing.
            Err(error) if error.message().contains("Mismatched size of the WAL") => {
                open_with(metadata, Logs::Whole)
            }
            Err(error) if error.message().contains("create_if_missing is false") => {
                Err(Error::io(format!(
                    "'{}' cannot be looked at: {}",
                    dir.join(CURRENT).display(),
                    error.message()
                )))
            }
            outcome => outcome,
        };
        let room = options.cache_bytes / METADATA_PART;
        let rocks = missing::open_with_kept(dir, kept, || open(Metadata::Read(room)))
            .map_err(|error| blame::name_files(dir, error))?;
        if rocks.lookups_fit()? {
            return Ok(rocks);
        }
        drop(rocks);
        open(Metadata::Cached(room)).map_err(|error| blame::name_files(dir, error))
    }

    pub(super) fn open_with(
        dir: &Path,
        opening: Opening,
        options: &Resources,
        metadata: Metadata,
        logs: Logs,
        fate: impl Fn(&[u8]) -> Fate + Send + Sync + 'static,
    ) -> Result<Rocks> {
        let cache = options::block_cache(metadata);
        let mut row_options = options::rows(&cache, metadata, options);
        #[cfg(feature = "check-index")]
        let dropped = super::dropped::Dropped::default();
        #[cfg(feature = "check-index")]
        let noting = dropped.clone();
        row_options.set_compaction_filter("damo.expiry", move |_, _key, value| {
            let fate = fate(value);
            #[cfg(feature = "check-index")]
            noting.note(_key, value, fate);
            match fate {
                Fate::Stay => Decision::Keep,
                Fate::Go => Decision::Remove,
                Fate::Leave(bytes) => Decision::Change(bytes),
            }
        });
        let families = [
            ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, row_options.clone()),
            ColumnFamilyDescriptor::new(FAMILY, options::meta(&cache)),
        ];
        let room = options.cache_bytes / METADATA_PART;
        let room = room - options::small_cache_bytes(room);
        let lookups = Lookups::new(room, metadata.cache_bytes(), options.threads);
        let mut database = options::database(options, opening, logs, metadata);
        database.add_event_listener(lookups.listener());
        let merge_counts = MergeCounts::default();
        database.add_event_listener(merge_counts.clone());
        let db =
            DB::open_cf_descriptors(&database, dir, families).map_err(|error| translate(&error))?;
        let rocks = Rocks::new(db, cache, metadata, row_options, lookups);
        Ok(Rocks {
            merge_counts,
            merge_threads: options::merge_threads(options),
            #[cfg(feature = "check-index")]
            dropped,
            ..rocks
        })
    }

    fn new(
        db: DB,
        cache: Cache,
        metadata: Metadata,
        row_options: Options,
        lookups: Lookups,
    ) -> Rocks {
        let mut read_options = ReadOptions::default();
        read_options.fill_cache(false);
        Rocks {
            db,
            cache,
            metadata,
            read_options,
            row_read_options: ReadOptions::default(),
            row_options,
            last: AtomicSeqno::default(),
            time: AtomicU64::new(0),
            listed: Mutex::default(),
            has_failed: AtomicBool::new(false),
            seen_errors: AtomicU64::new(0),
            files_of_scans: AtomicUsize::new(0),
            preparation: Preparation::new(&lookups),
            lookups: Arc::new(lookups),
            merge_counts: MergeCounts::default(),
            merge_threads: 1,
            #[cfg(feature = "check-index")]
            dropped: super::dropped::Dropped::default(),
        }
    }

    /// Opens a database without changing it.
    pub(crate) fn open_read_only(dir: &Path, options: &Resources) -> Result<Rocks> {
        let metadata = Metadata::Cached(8 << 20);
        let cache = options::block_cache(metadata);
        let row_options = options::rows(&cache, metadata, options);
        let families = [
            ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, row_options.clone()),
            ColumnFamilyDescriptor::new(FAMILY, options::meta(&cache)),
        ];
        let mut database = options::database(options, Opening::Existing, Logs::Tracked, metadata);
        database.create_missing_column_families(false);
        let db = DB::open_cf_descriptors_read_only(&database, dir, families, false)
            .map_err(|error| blame::name_files(dir, translate(&error)))?;
        let lookups = Lookups::new(0, metadata.cache_bytes(), options.threads);
        Ok(Rocks::new(db, cache, metadata, row_options, lookups))
    }
}
