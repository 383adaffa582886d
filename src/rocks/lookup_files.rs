//! The SST files of one moment, asked for single rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::key::{self, KEY_LEN, Ordinal};
use super::sst::{DeletedRange, FoundRow, Line, SstLookup, hash, is_deleted};
use crate::error::Result;
use crate::memory::{filled, room_for};

/// A file, and its level in RocksDB's order.
pub(super) struct Leveled {
    pub(super) level: i32,
    pub(super) path: PathBuf,
    pub(super) file: Arc<SstLookup>,
}

/// All files of rows of one moment. They stay open, so that a merge may delete them.
pub(super) struct LookupFiles {
    /// In the order in which RocksDB looks for a key: the first file that has it has its newest
    /// version. Files of level 0 overlap, and the newest comes first. In each other level no two
    /// files have a key in common.
    files: Vec<Leveled>,
    deleted: Vec<DeletedRange>,
    pub(super) bytes: usize,
}

impl LookupFiles {
    /// None when the order of the files cannot be told.
    pub(super) fn new(mut files: Vec<Leveled>) -> Option<LookupFiles> {
        let newest = |one: &Leveled| std::cmp::Reverse(one.file.bounds().last_seqno);
        files.sort_by_key(|one| match one.level {
            0 => (0, newest(one), 0),
            level => (level, std::cmp::Reverse(0), one.file.first),
        });
        let are_in_order = |pair: &[Leveled]| match (pair[0].level, pair[1].level) {
            (0, 0) => pair[0].file.bounds().first_seqno > pair[1].file.bounds().last_seqno,
            (before, level) => {
                before < level || pair[0].file.bounds().last < pair[1].file.bounds().first
            }
        };
        if !files.windows(2).all(are_in_order) {
            return None;
        }
        let deleted = files.iter().flat_map(|one| one.file.deleted().iter().copied()).collect();
        let bytes = files.iter().map(|one| one.file.bytes()).sum();
        Some(LookupFiles { files, deleted, bytes })
    }

    /// Each file by its path.
    pub(super) fn by_path(&self) -> BTreeMap<&Path, &Arc<SstLookup>> {
        self.files.iter().map(|one| (one.path.as_path(), &one.file)).collect()
    }

    /// Looks for ascending keys, and hands each row to `visit` with its key's position; None when
    /// there is no row. Returns the positions of the keys for which RocksDB has to be asked.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `visit`.
    pub(super) fn read(
        &self,
        keys: &[[u8; KEY_LEN]],
        mut visit: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<Vec<usize>> {
        let (mut ordinals, mut hashes) = (room_for(keys.len())?, room_for(keys.len())?);
        ordinals.extend(keys.iter().map(key::ordinal));
        hashes.extend(keys.iter().map(hash));
        // The keys that no file so far has.
        let mut open: Vec<usize> = room_for(keys.len())?;
        open.extend(0..keys.len());
        let mut is_answered = filled(false, keys.len())?;
        let (mut refused, mut row) = (Vec::new(), FoundRow::default());
        let (mut lines, mut likely): (Vec<_>, Vec<usize>) =
            (room_for(keys.len())?, room_for(keys.len())?);
        for file in self.files.iter().map(|one| &*one.file) {
            let open_here = within(&open, &ordinals, file.first, file.last);
            let mut near = 0;
            lines.clear();
            lines.extend(
                open_here.iter().map(|&at| file.filter_line(ordinals[at], hashes[at], &mut near)),
            );
            likely.clear();
            let places = open_here.iter().zip(&lines);
            let is_likely =
                |(at, line): &(&usize, &Option<Line>)| file.may_have(**line, hashes[**at]);
            likely.extend(places.filter(is_likely).map(|(at, _)| *at));
            let (mut near, mut answered) = (0, 0);
            for &at in &likely {
                match file.get(ordinals[at], &mut near, &mut row) {
                    Ok(None) => continue,
                    Ok(Some(version)) => {
                        let is_row = !version.is_deletion() && !is_deleted(&self.deleted, version);
                        visit(at, is_row.then(|| row.value()))?;
                    }
                    Err(_) => refused.push(at),
                }
                is_answered[at] = true;
                answered += 1;
            }
            if answered > 0 {
                open.retain(|&at| !is_answered[at]);
            }
        }
        for at in open {
            visit(at, None)?;
        }
        Ok(refused)
    }
}

/// The part of ascending positions whose keys are from `first` to `last`.
fn within<'a>(open: &'a [usize], keys: &[Ordinal], first: Ordinal, last: Ordinal) -> &'a [usize] {
    let begin = open.partition_point(|&at| keys[at] < first);
    let len = open[begin..].partition_point(|&at| keys[at] <= last);
    &open[begin..begin + len]
}

#[cfg(test)]
mod tests;
