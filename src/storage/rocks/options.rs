//! Every option that damo sets in RocksDB, with its reason.

use rust_rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, DBRecoveryMode,
    Options, UniversalCompactOptions,
};

use crate::storage::options::StorageOptions;

/// More background threads than this help nobody, and RocksDB aborts the process when one cannot be made.
const MAX_BACKGROUND_THREADS: usize = 16;

/// Background threads that opening with these options makes: those that compact, one that flushes, one that keeps time.
pub(in crate::storage) fn background_threads(options: &StorageOptions) -> usize {
    compacting_threads(options) + 2
}

fn compacting_threads(options: &StorageOptions) -> usize {
    options.threads.min(MAX_BACKGROUND_THREADS)
}

/// The part of `cache_bytes` that filters and indexes get: they take about 2.5 bytes a row, so that for rows of 200
/// bytes a table of ten times the cache has them all in memory.
pub(in crate::storage) fn block_cache_bytes(cache_bytes: usize) -> usize {
    cache_bytes / 8
}

pub(super) fn block_cache(cache_bytes: usize) -> Cache {
    // The hyper clock cache takes no lock on a hit; the readers' threads would wait for each other in an LRU cache.
    Cache::new_hyper_clock_cache(block_cache_bytes(cache_bytes), 0)
}

pub(super) fn bound_files(options: &mut Options) {
    // By default RocksDB keeps every table file open, and a large table has more files than the 1024 that processes
    // are commonly allowed. Fewer, larger files, and a bound.
    options.set_max_open_files(512);
    // By default it opens them with 16 threads, whose failure to start would abort the process.
    options.set_max_file_opening_threads(1);
}

pub(super) fn database(options: &StorageOptions) -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.increase_parallelism(compacting_threads(options) as i32);
    // The log holds documents only. A torn last record is what a killed process leaves; damage anywhere else is an
    // error, not a shorter history.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // A log that is missing or cut short before the last one would otherwise leave a hole in the history.
    database.set_track_and_verify_wals(true);
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

pub(super) fn rows(cache: &Cache, options: &StorageOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Written down, so that a newer RocksDB does not change what older ones can read.
    table.set_format_version(6);
    // A row is read alone; a larger block would be read, checked and thrown away for it.
    table.set_block_size(4 << 10);
    // Indexes and filters count against the cache, so that memory does not grow with the table; in partitions, so that
    // what is not used can go, and only the small index of partitions is always there.
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
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
    // Filters answer for a file in a tenth of a microsecond, so a dozen files cost a miss less than the disk does.
    rows.set_level_zero_file_num_compaction_trigger(12);
    rows.set_max_subcompactions(compacting_threads(options).min(4) as u32);
    // Files come whole; RocksDB's own brakes are for memtables. The writer looks after the number of files itself.
    rows.set_level_zero_slowdown_writes_trigger(1 << 20);
    rows.set_level_zero_stop_writes_trigger(1 << 20);
    // Nothing is written to this memtable.
    rows.set_write_buffer_size(1 << 20);
    // Trained floats hardly compress, and new files are rewritten soon; what comes to rest may still have state of
    // zeros, for which lz4 costs next to nothing.
    rows.set_compression_type(DBCompressionType::None);
    rows.set_bottommost_compression_type(DBCompressionType::Lz4);
    rows
}
