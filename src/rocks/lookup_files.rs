//! The SST files of one moment, asked for single rows.

mod waves;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::key::{self, Ordinal};
use super::sst::{Bounds, DeletedRanges, SstLookup};

/// Whether a file is read, and if not, why.
#[derive(Clone)]
pub(super) enum Use {
    Open(Arc<SstLookup>),
    /// It is not plainly right, or of a form that is not known.
    Refused,
    /// It would take so many bytes of memory, which has no room.
    NoRoom(usize),
    /// It could not be opened or read.
    Unopened(Failures),
}

/// How often a file could not be opened or read, and for how many lists it is left alone now: a
/// failing disk may take seconds for each try.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Failures {
    count: u32,
    pause: u32,
}

impl Failures {
    /// Whether the file is left alone this time.
    pub(super) fn pauses(self) -> bool {
        self.pause > 0
    }

    /// After a list that has left the file alone.
    pub(super) fn waited(self) -> Failures {
        Failures { pause: self.pause.saturating_sub(1), ..self }
    }

    /// After another failure. The next list tries again; after that the pauses are 1, 3, 7 and more
    /// lists.
    pub(super) fn failed(self) -> Failures {
        Failures { count: self.count.saturating_add(1), pause: (1 << self.count.min(20)) - 1 }
    }
}

impl Use {
    /// Bytes of memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Use::Open(file) => file.bytes(),
            Use::Refused | Use::NoRoom(_) | Use::Unopened(_) => 0,
        }
    }
}

/// A listed file, and its level in RocksDB's order.
#[derive(Clone)]
pub(super) struct Leveled {
    level: i32,
    pub(super) path: PathBuf,
    pub(super) bounds: Bounds,
    /// No key is smaller, or larger.
    first: Ordinal,
    last: Ordinal,
    pub(super) state: Use,
}

impl Leveled {
    pub(super) fn new(level: i32, path: PathBuf, bounds: Bounds) -> Leveled {
        let end = |bytes: &Vec<u8>| bytes.as_slice().try_into().ok().map(key::ordinal);
        let first = end(&bounds.first).unwrap_or(0);
        let last = end(&bounds.last).unwrap_or(key::ABOVE_ALL);
        Leveled { level, path, bounds, first, last, state: Use::Unopened(Failures::default()) }
    }
}

/// Sorts files as RocksDB looks for a key: the first file that has it has its newest version. Files
/// of level 0 overlap, and the newest comes first. In each other level two files may have one key
/// in common, the last of the one and the first of the other; the first has its newer versions.
/// None when this order cannot be told.
pub(super) fn in_order(mut files: Vec<Leveled>) -> Option<Vec<Leveled>> {
    files.sort_by(|a, b| {
        let newer = || b.bounds.last_seqno.cmp(&a.bounds.last_seqno);
        let smaller = || (a.first, a.last).cmp(&(b.first, b.last)).then_with(newer);
        a.level.cmp(&b.level).then_with(|| if a.level == 0 { newer() } else { smaller() })
    });
    let are_in_order = |pair: &[Leveled]| match (pair[0].level, pair[1].level) {
        (0, 0) => pair[0].bounds.first_seqno > pair[1].bounds.last_seqno,
        (before, level) => before < level || pair[0].last <= pair[1].first,
    };
    files.windows(2).all(are_in_order).then_some(files)
}

/// All files of rows of one moment, in the order in which a key is looked for. They stay open, so
/// that a merge may delete them.
pub(super) struct LookupFiles {
    files: Vec<Leveled>,
    deleted: DeletedRanges,
    pub(super) bytes: usize,
}

impl LookupFiles {
    pub(super) fn new(files: Vec<Leveled>) -> LookupFiles {
        let deleted = files.iter().filter_map(|one| match &one.state {
            Use::Open(file) => Some(file.deleted()),
            // Its range has all that it deletes, and RocksDB is asked for that range.
            _ => None,
        });
        let deleted = DeletedRanges::new(deleted.flatten().copied());
        let bytes = files.iter().map(|one| one.state.bytes()).sum();
        LookupFiles { files, deleted, bytes }
    }

    /// Whether all files are open.
    pub(super) fn is_complete(&self) -> bool {
        self.files.iter().all(|one| matches!(one.state, Use::Open(_)))
    }

    /// The list without the files that a merge has deleted.
    pub(super) fn without_deleted(&self) -> LookupFiles {
        let is_there = |one: &&Leveled| one.path.exists();
        LookupFiles::new(self.files.iter().filter(is_there).cloned().collect())
    }

    /// What is known about each file, by its path.
    pub(super) fn known(&self) -> HashMap<PathBuf, (Bounds, Use)> {
        let known = |one: &Leveled| (one.path.clone(), (one.bounds.clone(), one.state.clone()));
        self.files.iter().map(known).collect()
    }
}

#[cfg(test)]
mod tests;
