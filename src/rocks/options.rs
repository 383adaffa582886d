//! Every option that damo sets in RocksDB, with its reason.

use rust_rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType,
    DBRecoveryMode, Options, UniversalCompactOptions,
};

use crate::memory::can_be_had;

/// What a database may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    /// Memory for rows and for the indexes and filters of SST files, in bytes.
    pub(crate) cache_bytes: usize,
    /// Threads for work inside the library.
    pub(crate) threads: usize,
    /// Nothing is merged: the directory is thrown away.
    pub(crate) read_only: bool,
}

/// More background threads than this help nobody, and RocksDB aborts the process when one cannot be made.
const MAX_BACKGROUND_THREADS: usize = 16;

/// Background threads that opening with these options makes: those that compact, one that flushes, one that keeps time.
pub(crate) fn background_threads(options: &Resources) -> usize {
    compacting_threads(options) + 2
}

fn compacting_threads(options: &Resources) -> usize {
    options.threads.min(MAX_BACKGROUND_THREADS)
}

/// Where the indexes and filters of the tables are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    /// All of them in memory, outside any cache: a miss then costs no lookups in a cache, of which there would be two for
    /// each file.
    Held,
    /// As much as a cache of this many bytes holds, for tables whose indexes and filters are too large for memory.
    Cached(usize),
}

/// The part of `cache_bytes` that may be held, about 4 bytes a row of 200 bytes; beyond that, it is the part that they are cached in.
pub(super) const METADATA_PART: usize = 4;

/// Bytes of indexes and filters for so many rows in so many bytes of tables: ten bits a row, and for each block the key
/// and the place.
pub(super) fn metadata_bytes(rows: u64, table_bytes: u64) -> u64 {
    rows + rows / 4 + table_bytes / 75
}

/// The cache of the documents, and of what else is not held in memory.
pub(super) fn block_cache(metadata: Metadata) -> Cache {
    match metadata {
        Metadata::Held => Cache::new_lru_cache(256 << 10),
        // The hyper clock cache takes no lock on a hit; the readers' threads would wait for each
        // other in an LRU cache. But it maps its table, a fifth of its size, at once, and ends the
        // process when that cannot be had.
        Metadata::Cached(bytes) if can_be_had(bytes / 2) => Cache::new_hyper_clock_cache(bytes, 0),
        Metadata::Cached(bytes) => Cache::new_lru_cache(bytes),
    }
}

/// As many files of a database are open at once.
pub(crate) const MAX_OPEN_FILES: usize = 512;

pub(super) fn bound_files(options: &mut Options) {
    // By default RocksDB keeps every table file open, and a large table has more files than the 1024 that processes
    // are commonly allowed. Fewer, larger files, and a bound.
    options.set_max_open_files(MAX_OPEN_FILES as i32);
    // By default it opens them with 16 threads, whose failure to start would abort the process.
    options.set_max_file_opening_threads(1);
}

/// What is made sure of when RocksDB reads its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logs {
    /// That each is as long as the next one says, and none before another is missing.
    Tracked,
    /// Only that each is whole: after a write that failed, the next log may give the length that
    /// was meant.
    Whole,
}

/// Whether the database is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is made if it is not.
    New,
    /// It is, also where RocksDB cannot look.
    Existing,
}

pub(super) fn database(options: &Resources, opening: Opening, logs: Logs) -> Options {
    let mut database = Options::default();
    // RocksDB takes a CURRENT that it may not look at for none, and would write another one.
    database.create_if_missing(opening == Opening::New);
    database.create_missing_column_families(true);
    database.increase_parallelism(compacting_threads(options) as i32);
    // The log holds documents and DeleteRanges of whole groups. A torn last record is what a killed
    // process leaves; damage anywhere else is an error, not a shorter history.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log that is missing or cut short before the last one would otherwise leave a hole in the history.
    database.set_track_and_verify_wals(logs == Logs::Tracked);
    // Tables are given to the disk as they are written, not all at once at their end: an fsync of somebody else then
    // does not wait for a gigabyte.
    database.set_bytes_per_sync(1 << 20);
    bound_files(&mut database);
    // RocksDB's own LOG files: kept short, they are for post-mortems.
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(4 << 20);
    database
}

/// A few small documents: they share the rows' cache.
pub(super) fn meta(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_format_version(6);
    let mut meta = Options::default();
    meta.set_block_based_table_factory(&table);
    // Little is written, and a small memtable lets go of old logs soon.
    meta.set_write_buffer_size(1 << 20);
    meta
}

pub(super) fn rows(cache: &Cache, metadata: Metadata, options: &Resources) -> Options {
    let mut table = BlockBasedOptions::default();
    // Written down, so that a newer RocksDB does not change what older ones can read.
    table.set_format_version(6);
    // A row is read alone; a larger block would be read, checked and thrown away for it, and would oftener lie on two of the
    // disk's pages. Half of this again would cost 2.5 bytes a row on disk and 3 in memory.
    table.set_block_size(2 << 10);
    match metadata {
        // Rows are cached as rows, so blocks need not be.
        Metadata::Held => table.disable_cache(),
        Metadata::Cached(_) => {
            table.set_block_cache(cache);
            table.set_cache_index_and_filter_blocks(true);
            // In partitions, so that what is not used can go, and only the small index of partitions is always there.
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_pin_top_level_index_and_filter(true);
        }
    }
    // Most lookups of new ids find nothing: ten bits a key answer 99 % of those without a read.
    table.set_bloom_filter(10.0, false);
    let mut rows = Options::default();
    rows.set_block_based_table_factory(&table);
    rows.set_target_file_size_base(256 << 20);
    // Rows come in any order of keys, so each file that the writer adds overlaps all others. Merging files of like size
    // rewrites a row a few times until it is at rest; levels would rewrite it ten times a level.
    rows.set_compaction_style(DBCompactionStyle::Universal);
    let mut universal = UniversalCompactOptions::default();
    universal.set_size_ratio(20);
    universal.set_min_merge_width(4);
    universal.set_max_size_amplification_percent(200);
    rows.set_universal_compaction_options(&universal);
    // Every file that is not merged yet costs a miss a look at its filter; merging sooner costs more writing.
    rows.set_level_zero_file_num_compaction_trigger(8);
    rows.set_max_subcompactions(compacting_threads(options).min(4) as u32);
    // Files come whole; RocksDB's own brakes are for memtables. The writer looks after the number of files itself.
    rows.set_level_zero_slowdown_writes_trigger(1 << 20);
    rows.set_level_zero_stop_writes_trigger(1 << 20);
    // Only DeleteRanges of whole groups are written to this memtable.
    rows.set_write_buffer_size(1 << 20);
    // Nobody gains from merging in a likeness that is thrown away.
    rows.set_disable_auto_compactions(options.read_only);
    // Trained floats hardly compress, and new files are rewritten soon; what comes to rest may still have state of
    // zeros, for which lz4 costs next to nothing.
    rows.set_compression_type(DBCompressionType::None);
    rows.set_bottommost_compression_type(DBCompressionType::Lz4);
    rows
}

/// The options of files that the writer makes.
pub(super) fn new_ssts(mut rows: Options) -> Options {
    // A file writer takes the bottommost level's compression if there is one, and these files are the topmost.
    rows.set_bottommost_compression_type(DBCompressionType::None);
    rows
}
