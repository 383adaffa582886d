//! Shares of a write-back round: which shards' rows go into which file.

use std::ops::Range;
use std::sync::Arc;

use crate::cache::{GroupCache, MAX_USES};
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::error::Result;
use crate::locks::Mutex;

/// A file ends with the shard that brings it to this many rows. Rows can be evicted once their file
/// is part of the database: larger files make callers wait longer, smaller ones leave more to
/// merge. At this size the keys and places take 8 MiB.
const FILE_ROWS: usize = 512 << 10;
/// A round is split for more threads only if each file then has at least this many rows.
const LEAST_ROWS: usize = 128 << 10;

/// Shards of one group, all of whose rows go into one file.
pub(super) struct Share {
    pub(super) group: Arc<Group>,
    pub(super) cache: Arc<GroupCache>,
    pub(super) shards: Range<usize>,
}

/// A group, some of whose changed rows are written.
struct Rows {
    group: Arc<Group>,
    cache: Arc<GroupCache>,
    /// Which part of its changed rows.
    part: f64,
}

/// All shards of a round, by group and number.
pub(super) struct Shares {
    groups: Vec<Rows>,
    files: usize,
    rows_a_file: usize,
    /// The group and shard that the next file begins with.
    next: Mutex<(usize, usize)>,
}

impl Shares {
    /// Divides the groups' shards into files for these threads. Rows with at most so many uses are
    /// written.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn new(engine: &Engine, threads: usize, uses: u8) -> Result<Shares> {
        let mut groups = Vec::new();
        let mut rows = 0.0;
        for group in engine.groups() {
            let Some(cache) = group.cache().filter(|_| !group.is_poisoned()) else { continue };
            let part = part_with(&cache, uses);
            let dirty: usize = (0..cache.shard_count()).map(|shard| cache.dirty_in(shard)).sum();
            rows += part * dirty as f64;
            groups.push(Rows { group, cache, part });
        }
        let rows = rows as usize;
        let files = rows.div_ceil(FILE_ROWS).max(threads.min(rows / LEAST_ROWS)).max(1);
        let rows_a_file = rows.div_ceil(files).max(1);
        Ok(Shares { groups, files, rows_a_file, next: Mutex::default() })
    }

    /// About how many files there will be.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// The shares of the next file, by ascending group. None when all are given out.
    pub(super) fn next(&self) -> Option<Vec<Share>> {
        let wanted = self.rows_a_file as f64;
        let mut next = self.next.lock();
        let (mut shares, mut rows) = (Vec::new(), 0.0);
        while rows < wanted
            && let Some(Rows { group, cache, part }) = self.groups.get(next.0)
        {
            let begin = next.1;
            while next.1 < cache.shard_count() && rows < wanted {
                rows += part * cache.dirty_in(next.1) as f64;
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

/// Which part of a group's changed rows has at most so many uses, by the sample of one shard.
fn part_with(cache: &GroupCache, uses: u8) -> f64 {
    if uses >= MAX_USES {
        return 1.0;
    }
    let rows = cache.read(0).dirty_by_uses();
    let all = rows.iter().sum::<usize>().max(1);
    rows[..=uses as usize].iter().sum::<usize>() as f64 / all as f64
}
