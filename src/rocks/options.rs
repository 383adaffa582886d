//! Every option that damo sets in RocksDB, with its reason.

use rust_rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType,
    DBRecoveryMode, Options, UniversalCompactOptions,
};

use crate::limits::MAX_WORK_THREADS;
use crate::memory::can_be_had;

/// What a database may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resources {
    /// Bytes of memory for rows, and for the indexes and filters of SST files.
    pub(crate) cache_bytes: usize,
    /// Threads for work inside the library.
    pub(crate) threads: usize,
    /// Nothing is merged, since the directory is thrown away afterwards.
    pub(crate) read_only: bool,
}

/// The most background threads. More would help nobody, and RocksDB aborts the process when it
/// cannot make one.
const MAX_BACKGROUND_THREADS: usize = 16;

/// Background threads that opening with these options makes: those that compact, one that flushes,
/// and one that keeps time.
pub(crate) fn background_threads(options: &Resources) -> usize {
    compacting_threads(options) + 2
}

fn compacting_threads(options: &Resources) -> usize {
    options.threads.min(MAX_BACKGROUND_THREADS)
}

/// How many threads one merge may have. RocksDB makes all of them but one anew for each merge of
/// more than `target_file_size_base`, and ends the process when it gets none. In the C library,
/// where src/ffi/start_thread.cc is linked, the merge goes on without them.
pub(super) fn merge_threads(options: &Resources) -> usize {
    let goes_on = cfg!(all(
        target_os = "linux",
        target_env = "gnu",
        any(target_arch = "x86_64", target_arch = "aarch64")
    ));
    if goes_on { compacting_threads(options).min(MAX_WORK_THREADS) } else { 1 }
}

/// Where the indexes and filters of SST files are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metadata {
    /// Lookups and RocksDB's cache have this many bytes. Lookups take what they need (`lookups`),
    /// and a small cache has what merges need.
    Read(usize),
    /// They have this many bytes, and that is not enough for all files. The cache has what lookups
    /// leave, for the files that RocksDB is asked for.
    Cached(usize),
    /// RocksDB has all of them in memory, outside any cache: as earlier builds wrote files.
    #[cfg(test)]
    Held,
}

impl Metadata {
    /// The bytes of lookups and RocksDB's cache together.
    pub(super) fn bytes(self) -> usize {
        match self {
            Metadata::Read(bytes) | Metadata::Cached(bytes) => bytes,
            #[cfg(test)]
            Metadata::Held => 256 << 10,
        }
    }

    /// The bytes of RocksDB's cache at first.
    pub(super) fn cache_bytes(self) -> usize {
        match self {
            Metadata::Read(bytes) => small_cache_bytes(bytes),
            _ => self.bytes(),
        }
    }
}

/// The bytes of RocksDB's cache while it is asked for no rows: a part of what it may have, and no
/// more than merges and documents need. A merge goes through the indexes of its files in pieces of
/// 4 KiB, once.
pub(super) fn small_cache_bytes(most: usize) -> usize {
    (most / 32).max((most / 4).min(1 << 20)).min(8 << 20)
}

/// Fences, filters and RocksDB's cache take at most `cache_bytes` divided by this. Fences and
/// filters are 2.4 bytes a row of 200 bytes. So a resident row takes as much memory as the fences
/// and filters of a hundred rows on disk. Without these RocksDB takes microseconds to find a row.
pub(super) const METADATA_PART: usize = 2;

/// Estimates the bytes of fences and filters: twelve bits a row, and 8 bytes for each block.
/// `table_bytes` is the size of all SST files.
pub(super) fn lookup_bytes(rows: u64, table_bytes: u64) -> u64 {
    rows + rows / 2 + table_bytes / 256
}

/// The cache of the documents, and of what is not held in memory.
pub(super) fn block_cache(metadata: Metadata) -> Cache {
    match metadata {
        Metadata::Read(_) => Cache::new_lru_cache(metadata.cache_bytes()),
        #[cfg(test)]
        Metadata::Held => Cache::new_lru_cache(metadata.cache_bytes()),
        // The hyper clock cache takes no lock on a hit; in an LRU cache the readers' threads would
        // wait for each other. But it maps its table, a fifth of its size, at once, and ends the
        // process when there is no memory for that.
        Metadata::Cached(bytes) if can_be_had(bytes / 2) => Cache::new_hyper_clock_cache(bytes, 0),
        Metadata::Cached(bytes) => Cache::new_lru_cache(bytes),
    }
}

/// How many files of a database are open at most.
pub(crate) const MAX_OPEN_FILES: usize = 512;

pub(super) fn bound_files(options: &mut Options) {
    // By default RocksDB keeps every SST file open. A large database has more of them than the 1024
    // open files that processes are commonly allowed. So files are fewer and larger, and the number
    // of open ones is bounded.
    options.set_max_open_files(MAX_OPEN_FILES as i32);
    // By default it opens them with 16 threads. If one could not be made, the process would abort.
    options.set_max_file_opening_threads(1);
}

/// What RocksDB checks when it reads its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logs {
    /// Each log is as long as the next one says, and no log in between is missing.
    Tracked,
    /// Each log is whole, and no more. After a write that failed, the next log may give the length
    /// that was meant.
    Whole,
}

/// Whether a database exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is made if there is none.
    New,
    /// It exists, even where RocksDB may not look.
    Existing,
}

pub(super) fn database(
    options: &Resources,
    opening: Opening,
    logs: Logs,
    metadata: Metadata,
) -> Options {
    let mut database = Options::default();
    // RocksDB takes a CURRENT that it may not look at for a missing one, and would write another.
    database.create_if_missing(opening == Opening::New);
    database.create_missing_column_families(true);
    database.increase_parallelism(compacting_threads(options) as i32);
    // RocksDB takes this from the database's options, and ignores that of a column family. To
    // divide a merge it reads the whole index of its files, through the cache. Where lookups need
    // that cache, it would cost them theirs.
    if !matches!(metadata, Metadata::Cached(_)) {
        database.set_max_subcompactions(merge_threads(options) as u32);
    }
    // The log has documents and DeleteRanges of whole groups. A killed process leaves a torn last
    // record. Damage anywhere else is an error, not a shorter history.
    database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Otherwise a log before the last that is missing or cut short would leave a hole in the
    // history.
    database.set_track_and_verify_wals(logs == Logs::Tracked);
    // SST files are handed to the disk as they are written, not all at once at their end. So
    // somebody else's fsync does not wait for a gigabyte.
    database.set_bytes_per_sync(1 << 20);
    bound_files(&mut database);
    // RocksDB's own LOG files are for post-mortems, and are kept short.
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(4 << 20);
    database
}

/// The options of the documents' column family. Documents are few and small, and use the given
/// cache.
pub(super) fn meta(cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_format_version(6);
    let mut meta = Options::default();
    meta.set_block_based_table_factory(&table);
    // Little is written. With a small memtable old logs are soon not needed.
    meta.set_write_buffer_size(1 << 20);
    meta
}

/// The bytes of a file that a merge writes, about. Tests that compare reads have many small files.
const FILE_BYTES: u64 = if cfg!(feature = "check-index") { 64 << 10 } else { 256 << 20 };

pub(super) fn rows(cache: &Cache, metadata: Metadata, options: &Resources) -> Options {
    let mut table = BlockBasedOptions::default();
    // Set, so that a newer RocksDB does not write what older ones cannot read.
    table.set_format_version(6);
    // A row is read alone. A larger block would be read, checked and thrown away for one row, and
    // would lie on two of the disk's pages more often. Half of this size would cost another 2.5
    // bytes a row on disk and 3 in memory.
    table.set_block_size(2 << 10);
    match metadata {
        #[cfg(test)]
        Metadata::Held => table.disable_cache(),
        Metadata::Read(_) | Metadata::Cached(_) => {
            table.set_block_cache(cache);
            table.set_cache_index_and_filter_blocks(true);
            // In partitions, so that unused ones can go. Only the small index of partitions stays
            // in memory.
            table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
            table.set_partition_filters(true);
            table.set_pin_top_level_index_and_filter(true);
        }
    }
    // Most lookups of new ids find nothing, and a row lies in one run of many. Twelve bits a key
    // rule out 99.6 % of the files that do not have it.
    table.set_bloom_filter(12.0, false);
    let mut rows = Options::default();
    rows.set_block_based_table_factory(&table);
    rows.set_target_file_size_base(FILE_BYTES);
    // Rows come in any order of keys, so each file that the writer adds overlaps all others.
    // Merging files of like size rewrites a row a few times until it is at rest. Levels would
    // rewrite it ten times a level.
    rows.set_compaction_style(DBCompactionStyle::Universal);
    let mut universal = UniversalCompactOptions::default();
    universal.set_size_ratio(20);
    // Each run costs a miss some ten nanoseconds, and a merge rewrites all of its rows. So merges
    // wait for sixteen runs of like size. All runs are merged as soon as the newer ones take as
    // much space as the largest. From 40 runs on those beyond 25 are merged, of any size: a merge
    // needs sixteen.
    universal.set_min_merge_width(16);
    universal.set_max_read_amp(25);
    universal.set_max_size_amplification_percent(100);
    rows.set_universal_compaction_options(&universal);
    // With fewer runs RocksDB does not ask whether to merge.
    rows.set_level_zero_file_num_compaction_trigger(8);
    // Rows come as whole files, and RocksDB's own brakes are for memtables. The writer itself
    // watches the number of files.
    rows.set_level_zero_slowdown_writes_trigger(1 << 20);
    rows.set_level_zero_stop_writes_trigger(1 << 20);
    // Only DeleteRanges of whole groups go into this memtable.
    rows.set_write_buffer_size(1 << 20);
    // A likeness is thrown away, so merging in it gains nothing.
    rows.set_disable_auto_compactions(options.read_only);
    // Trained floats hardly compress: lz4 made no block of them smaller, and trying it took a sixth
    // of merging. Files that an earlier build compressed are read all the same.
    rows.set_compression_type(DBCompressionType::None);
    rows
}
