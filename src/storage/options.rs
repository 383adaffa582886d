//! The option bag of `damo_storage_new`, read and checked.

use super::default_cache::default_cache_bytes;
use crate::engine::options::{Durability, StorageOptions};
use crate::error::Result;
use crate::limits::MAX_THREADS;
use crate::params::Params;

const DURABILITIES: [(&str, Durability); 3] = [
    ("process", Durability::Process),
    ("power", Durability::Power),
    ("checkpoint", Durability::Checkpoint),
];
const MIN_CACHE_BYTES: i64 = 64 << 10;
/// The first is the default: what the system and the files allow.
const AUTO_OR_OFF: [&str; 2] = ["auto", "off"];
/// An NVMe disk needs more than 32 reads in flight to show what it can do.
const DEFAULT_READERS: i64 = 64;

impl StorageOptions {
    /// # Errors
    /// An unknown option or a value that is not accepted.
    pub fn read(params: &Params) -> Result<StorageOptions> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64);
        let mut reader = params.reader("storage");
        let default = default_cache_bytes() as i64;
        let cache_bytes = reader.int("cache_bytes", default, MIN_CACHE_BYTES, isize::MAX as i64)?;
        let durability = reader.choice("durability", 0, &DURABILITIES.map(|(word, _)| word))?;
        let threads =
            reader.int("threads", cores.min(MAX_THREADS as i64), 1, MAX_THREADS as i64)?;
        let readers = reader.int("readers", DEFAULT_READERS, 1, MAX_THREADS as i64)?;
        let mapped_reads = reader.choice("mapped_reads", 0, &AUTO_OR_OFF)? == 0;
        let io_uring = reader.choice("io_uring", 0, &AUTO_OR_OFF)? == 0;
        let read_only = reader.bool("read_only", false)?;
        reader.finish()?;
        Ok(StorageOptions {
            cache_bytes: cache_bytes as usize,
            durability: DURABILITIES[durability].1,
            threads: threads as usize,
            readers: readers as usize,
            mapped_reads,
            io_uring,
            read_only,
        })
    }
}
