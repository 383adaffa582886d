//! The default of `cache_bytes`: a quarter of the memory that the process may have.
//!
//! That is the smallest of the machine's memory and the limits of the process, of its cgroup and of
//! the cgroups above that one, less the `cache_bytes` of storages that the process has open.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, getrlimit};

use crate::memory_limit::memory;

/// The default is one part in this many of the memory. The others are for the page cache, which has
/// the table's files, and for the caller.
const PART: u64 = 4;
/// The least default: a smaller cache would hardly hold a batch.
const LEAST: u64 = 64 << 20;

/// The sum of `cache_bytes` of all storages that are open.
static PROMISED: AtomicU64 = AtomicU64::new(0);

/// The memory that an open storage may take. It counts until this is dropped.
pub(super) struct Promise(u64);

impl Promise {
    pub(super) fn new(cache_bytes: usize) -> Promise {
        PROMISED.fetch_add(cache_bytes as u64, Ordering::Relaxed);
        Promise(cache_bytes as u64)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        PROMISED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// The default of a storage that is opened now.
pub(super) fn default_cache_bytes() -> u64 {
    let limits = [Resource::As, Resource::Data].map(|resource| getrlimit(resource).current);
    let memory = limits.into_iter().flatten().fold(memory(), u64::min);
    part_of(memory, PROMISED.load(Ordering::Relaxed))
}

fn part_of(memory: u64, promised: u64) -> u64 {
    (memory.saturating_sub(promised) / PART).clamp(LEAST, isize::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_quarter_of_what_open_storages_leave_is_the_default() {
        assert_eq!(part_of(16 * GIB, 0), 4 * GIB);
        assert_eq!(part_of(16 * GIB, 4 * GIB), 3 * GIB);
        for (memory, promised) in [(0, 0), (1, 0), (GIB, GIB), (GIB, 50 * GIB), (GIB / 8, 0)] {
            assert_eq!(part_of(memory, promised), LEAST);
        }
        assert_eq!(part_of(u64::MAX, 0), (u64::MAX / 4).min(isize::MAX as u64));
        let sum = (0..1000).fold(0, |promised, _| promised + part_of(16 * GIB, promised));
        assert!(sum < 16 * GIB + 1000 * LEAST);
        // This machine's.
        assert!(default_cache_bytes() >= LEAST);
    }
}
