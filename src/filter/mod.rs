//! A counting Bloom filter in a memory-mapped file: how often a key of a group has been seen, up to
//! `count` times.
//!
//! The file is all there is. Counters change in the mapping, which the system keeps when the
//! process is killed. Knows nothing of storage, embeddings or C. `header` and `hash` are the file's
//! format, `layout` computes its size, `counters` adds and reads, `file` makes and owns the file.

mod add;
mod check;
mod closing;
mod copy;
mod counters;
mod file;
mod hash;
mod header;
mod layout;
mod map;
mod open;
mod options;
mod sync;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub(crate) use closing::verify_file;
pub use copy::Restoration;
pub(crate) use header::Source;
pub use options::FilterOptions;

use crate::error::Result;
use crate::limits;
use crate::locks::{RwLock, RwLockReadGuard};
use crate::process::check_opener;
use counters::Locks;
use file::OwnedFile;
use hash::{CounterPlace, Salt};
use header::{Closed, Header};
use map::{Block, MappedBlocks};

/// An open filter. Safe to use from any number of threads. Among all processes, one handle at a
/// time has a file.
pub struct Filter {
    options: FilterOptions,
    /// The file, absolute.
    path: PathBuf,
    /// Locked for writing only to exchange the file.
    opened: RwLock<Opened>,
    locks: Locks,
    /// Counters may have changed since it was opened.
    is_changed: AtomicBool,
    /// Counters may have changed since the disk last had all of them.
    is_ahead_of_disk: AtomicBool,
    pid: u32,
}

/// A file and its counters.
struct Opened {
    header: Header,
    map: MappedBlocks,
    /// Holds the file's lock.
    file: OwnedFile,
    /// The checksum that the last closing had written.
    found: Option<Closed>,
}

/// How many keys ahead of their use counters are prefetched.
const AHEAD: usize = 24;

impl Filter {
    /// The parameters that it was opened with.
    pub fn options(&self) -> &FilterOptions {
        &self.options
    }

    /// The file, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The copy from which its counts were taken last.
    ///
    /// # Errors
    /// `FORKED`.
    pub(crate) fn source(&self) -> Result<Source> {
        Ok(self.begin()?.header.source)
    }

    /// Begins a call: checks that this process opened the filter, since the locks and the file are
    /// that process's.
    ///
    /// # Errors
    /// `FORKED` in a child of that process.
    fn begin(&self) -> Result<RwLockReadGuard<'_, Opened>> {
        self.check_not_forked()?;
        Ok(self.opened.read())
    }

    fn check_not_forked(&self) -> Result<()> {
        check_opener(self.pid, "filter", &self.path)
    }
}

fn salt(group: u32) -> Result<Salt> {
    limits::group(group).map(Salt::new)
}

impl Opened {
    /// Does `work` with the block of every key, in order; blocks are prefetched.
    #[inline(always)]
    fn each(
        &self,
        salt: Salt,
        keys: &[i64],
        mut work: impl FnMut(usize, i64, &Block, CounterPlace),
    ) {
        let blocks = self.map.blocks();
        let place_of = |key: i64| {
            let place = CounterPlace::new(salt, key, blocks.len());
            map::prefetch(&blocks[place.block]);
            place
        };
        let mut places = [CounterPlace::default(); AHEAD];
        for (place, key) in places.iter_mut().zip(keys) {
            *place = place_of(*key);
        }
        let mut next = 0;
        for (index, key) in keys.iter().enumerate() {
            let place = places[next];
            if let Some(later) = keys.get(index + AHEAD) {
                places[next] = place_of(*later);
            }
            next = if next + 1 == AHEAD { 0 } else { next + 1 };
            work(index, *key, &blocks[place.block], place);
        }
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FilterOptions { capacity, count, fpr, .. } = self.options;
        write!(
            formatter,
            "Filter({}, capacity {capacity}, count {count}, fpr {fpr})",
            self.path.display()
        )
    }
}
