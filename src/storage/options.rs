//! How a storage is opened: the option bag of `damo_storage_new`, read and checked.

use crate::error::Result;
use crate::params::Params;

/// What survives once a call has returned (docs/durability.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Anything that kills the process.
    Process,
    /// That, and the machine losing power.
    Power,
    /// Only what flush or closing has written; the fastest.
    Checkpoint,
}

/// The options with their defaults filled in.
#[derive(Clone, Copy, Debug)]
pub struct StorageOptions {
    /// Memory for rows and for the indexes and filters of the tables, in bytes.
    pub cache_bytes: usize,
    pub durability: Durability,
    /// Threads for work inside the library.
    pub threads: usize,
    /// Nothing in the directory changes.
    pub read_only: bool,
}

const DURABILITIES: [(&str, Durability); 3] = [
    ("process", Durability::Process),
    ("power", Durability::Power),
    ("checkpoint", Durability::Checkpoint),
];
const DEFAULT_CACHE_BYTES: i64 = 1 << 30;
const MIN_CACHE_BYTES: i64 = 64 << 10;
const MAX_THREADS: i64 = 1024;

impl StorageOptions {
    /// # Errors
    /// An unknown option or a value that is not accepted.
    pub fn read(params: &Params) -> Result<StorageOptions> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as i64);
        let mut reader = params.reader("storage");
        let cache_bytes =
            reader.int("cache_bytes", DEFAULT_CACHE_BYTES, MIN_CACHE_BYTES, isize::MAX as i64)?;
        let durability = reader.choice("durability", 0, &DURABILITIES.map(|(word, _)| word))?;
        let threads = reader.int("threads", cores.min(MAX_THREADS), 1, MAX_THREADS)?;
        let read_only = reader.bool("read_only", false)?;
        reader.finish()?;
        Ok(StorageOptions {
            cache_bytes: cache_bytes as usize,
            durability: DURABILITIES[durability].1,
            threads: threads as usize,
            read_only,
        })
    }
}
