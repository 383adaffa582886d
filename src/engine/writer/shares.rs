//! Shares of a write-back round: which shards' rows go into which file.

use std::ops::Range;
use std::sync::Arc;

use crate::cache::GroupCache;
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::locks::Mutex;

/// The most rows of a file. Once it is part of the database, its rows can be evicted. Larger files
/// would make callers wait longer for that, smaller ones would be more files to merge. The list of
/// the keys and places takes 8 MiB.
const FILE_ROWS: usize = 512 << 10;
/// A round is divided among threads into files of at least so many rows.
const LEAST_ROWS: usize = 64 << 10;

/// Shards of one group, all of whose rows go into one file.
pub(super) struct Share {
    pub(super) group: Arc<Group>,
    pub(super) cache: Arc<GroupCache>,
    pub(super) shards: Range<usize>,
}

/// All shards of a round, by group and number.
pub(super) struct Shares {
    groups: Vec<(Arc<Group>, Arc<GroupCache>)>,
    /// About how many files there will be.
    files: usize,
    rows_a_file: usize,
    /// Which part of the changed rows is written.
    part: f64,
    /// The group and shard that the next file begins with.
    next: Mutex<(usize, usize)>,
}

impl Shares {
    /// Divides the groups' shards into files for these threads.
    pub(super) fn new(engine: &Engine, threads: usize, part: f64) -> Shares {
        let groups: Vec<_> = engine
            .groups()
            .into_iter()
            .filter(|group| !group.is_poisoned())
            .filter_map(|group| group.cache().map(|cache| (group, cache)))
            .collect();
        let dirty: usize = groups
            .iter()
            .flat_map(|(_, cache)| (0..cache.shard_count()).map(|shard| cache.dirty_in(shard)))
            .sum();
        let rows = (dirty as f64 * part) as usize;
        let files = rows.div_ceil(FILE_ROWS).max(threads.min(rows / LEAST_ROWS)).max(1);
        let rows_a_file = rows.div_ceil(files).max(1);
        Shares { groups, files, rows_a_file, part, next: Mutex::default() }
    }

    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// The shares of the next file, in the order of its keys' groups. None when all are given out.
    pub(super) fn next(&self) -> Option<Vec<Share>> {
        let mut next = self.next.lock();
        let (mut shares, mut rows) = (Vec::new(), 0.0);
        while rows < self.rows_a_file as f64
            && let Some((group, cache)) = self.groups.get(next.0)
        {
            let begin = next.1;
            while next.1 < cache.shard_count() && rows < self.rows_a_file as f64 {
                rows += cache.dirty_in(next.1) as f64 * self.part;
                next.1 += 1;
            }
            let shards = begin..next.1;
            if next.1 == cache.shard_count() {
                *next = (next.0 + 1, 0);
            }
            shares.push(Share { group: Arc::clone(group), cache: Arc::clone(cache), shards });
        }
        (!shares.is_empty()).then_some(shares)
    }
}
