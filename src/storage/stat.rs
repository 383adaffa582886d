//! Statistics by name.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Core, Storage};
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::params::quoted;

type Read = fn(&Core) -> Result<u64>;

const STATS: [(&str, Read); 17] = [
    ("groups", |core| Ok(core.groups.lock().len() as u64)),
    ("rows_estimate", |core| core.rocks()?.estimated_rows()),
    ("rows_in_memory", |core| Ok(over_caches(core, |cache| cache.rows() as u64))),
    ("dirty_rows", |core| Ok(core.dirty().0)),
    ("rows_read", |core| count(&core.counters.rows_read)),
    ("rows_created", |core| count(&core.counters.rows_created)),
    ("rows_updated", |core| count(&core.counters.rows_updated)),
    ("rows_loaded", |core| count(&core.counters.rows_loaded)),
    ("rows_written", |core| count(&core.counters.rows_written)),
    ("expired_rows", |core| Ok(core.expiry.expired())),
    ("cache_hits", |core| count(&core.counters.cache_hits)),
    ("cache_misses", |core| count(&core.counters.cache_misses)),
    ("evictions", |core| Ok(over_caches(core, GroupCache::evictions))),
    ("waited_us", |core| count(&core.counters.waited_us)),
    ("bytes_in_memory", |core| Ok(core.budget.used() as u64 + core.rocks()?.bytes_in_memory()?)),
    ("bytes_on_disk", |core| {
        bytes_on_disk(&core.dir)
            .map_err(|error| Error::io(format!("data_dir '{}' cannot be read: {error}", core.dir.display())))
    }),
    ("journal_bytes", |core| Ok(core.journal().map_or(0, |journal| journal.bytes()))),
];

impl Storage {
    /// The names that [`Storage::stat`] accepts.
    pub fn stat_names() -> Vec<&'static str> {
        STATS.iter().map(|(name, _)| *name).collect()
    }

    /// One statistic: a count, or a number of bytes.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an unknown name; `IO` when the directory cannot be read.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let _call = self.begin_call()?;
        match STATS.iter().find(|(known, _)| *known == name) {
            Some((_, read)) => read(self.core()),
            None => Err(Error::invalid(format!(
                "name '{name}' is not a statistic; known are {}",
                quoted(&Storage::stat_names())
            ))),
        }
    }
}

fn count(counter: &AtomicU64) -> Result<u64> {
    Ok(counter.load(Ordering::Relaxed))
}

fn over_caches(core: &Core, of: fn(&GroupCache) -> u64) -> u64 {
    core.groups().iter().filter_map(|group| group.cache()).map(|cache| of(&cache)).sum()
}

/// The sizes of the directory's files. RocksDB and the writer remove files at any time, so one that vanishes counts
/// nothing.
fn bytes_on_disk(dir: &Path) -> std::io::Result<u64> {
    let unless_gone = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_on_disk(&entry.path()).or_else(unless_gone)?,
            Ok(found) => found.len(),
            Err(error) => unless_gone(error)?,
        };
    }
    Ok(bytes)
}
