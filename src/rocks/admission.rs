//! Admission: which files lookups open, one after the other, as far as memory and descriptors have
//! room.
//!
//! Files come in the order in which a key is looked for. The first one without room and all that
//! follow are not opened: in the oldest run, those of the largest keys.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use super::lookup_files::{Leveled, LookupFiles, Use};
use super::lookups::Lookups;
use super::sst::{Bounds, OpenFile, SstLookup, SstRows};
use crate::files::regular;

pub(super) struct Admission<'a> {
    lookups: &'a Lookups,
    /// What the previous list says about files that are listed again.
    known: HashMap<PathBuf, (Bounds, Use)>,
    files: Vec<Leveled>,
    /// How many of these files are open, and the bytes of memory that they take.
    open: usize,
    bytes: usize,
    /// Bytes of memory of files that only the previous list has, and of those that both lists have.
    gone_bytes: usize,
    kept_bytes: usize,
    /// Bytes of memory of newly opened files.
    new_bytes: usize,
    /// A file had no room.
    is_full: bool,
    /// Bytes of the files that have no room.
    left: u64,
}

impl<'a> Admission<'a> {
    /// `listed` are the files that will be added.
    pub(super) fn new(
        lookups: &'a Lookups,
        before: Option<Arc<LookupFiles>>,
        listed: &[Leveled],
    ) -> Admission<'a> {
        let mut known = before.as_ref().map(|before| before.known()).unwrap_or_default();
        let all_bytes = before.map_or(0, |before| before.bytes);
        let mut again = HashMap::new();
        for file in listed {
            if let Some(found) =
                known.remove(&file.path).filter(|(bounds, _)| *bounds == file.bounds)
            {
                again.insert(file.path.clone(), found);
            }
        }
        let kept_bytes = again.values().map(|(_, file)| file.bytes()).sum();
        Admission {
            lookups,
            known: again,
            files: Vec::new(),
            open: 0,
            bytes: 0,
            gone_bytes: all_bytes.saturating_sub(kept_bytes),
            kept_bytes,
            new_bytes: 0,
            is_full: false,
            left: 0,
        }
    }

    /// Adds the next file, open if possible. False when a merge has deleted it since it was listed.
    pub(super) fn add(&mut self, mut file: Leveled) -> bool {
        let known = self.known.remove(&file.path).map(|(_, known)| known);
        file.state = match known {
            Some(Use::Open(open)) => match self.has_room(open.bytes()) {
                true => Use::Open(open),
                false => Use::NoRoom(open.bytes()),
            },
            Some(Use::NoRoom(bytes)) if !self.has_room(bytes) => Use::NoRoom(bytes),
            Some(Use::Refused) => Use::Refused,
            // How many bytes it needs is looked at once there is room again.
            _ if self.is_full => Use::NoRoom(0),
            _ => match self.open(&file) {
                Some(state) => state,
                None => return false,
            },
        };
        match &file.state {
            Use::Open(open) => {
                self.open += 1;
                self.bytes += open.bytes();
            }
            Use::NoRoom(_) => {
                self.is_full = true;
                self.left += file.bounds.len;
            }
            Use::Refused | Use::Unopened => {}
        }
        self.files.push(file);
        true
    }

    /// All files, and the bytes of those that have no room.
    pub(super) fn end(self) -> (Vec<Leveled>, u64) {
        (self.files, self.left)
    }

    fn has_room(&self, bytes: usize) -> bool {
        !self.is_full
            && self.open < self.lookups.most_files
            && self.bytes.checked_add(bytes).is_some_and(|sum| sum <= self.lookups.room)
    }

    /// Opens a file. None when it is gone.
    fn open(&mut self, file: &Leveled) -> Option<Use> {
        let opened = match regular::open(&file.path) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(Use::Unopened),
        };
        let Ok(source) = OpenFile::new(opened) else { return Some(Use::Unopened) };
        let passing = source.passing();
        // A file that is not known to be damaged is tried again.
        let refused = || if passing.is_noted() { Use::Unopened } else { Use::Refused };
        let rows = SstRows::open(file.path.clone(), Box::new(source), file.bounds.clone());
        let Ok(rows) = rows else { return Some(refused()) };
        let needed = usize::try_from(SstLookup::bytes_of(&rows)).unwrap_or(usize::MAX);
        if !self.has_room(needed) {
            return Some(Use::NoRoom(needed));
        }
        self.make_room(needed);
        let Ok(lookup) = SstLookup::new(rows) else { return Some(refused()) };
        let bytes = lookup.bytes();
        if !self.has_room(bytes) {
            return Some(Use::NoRoom(bytes));
        }
        self.new_bytes += bytes;
        Some(Use::Open(Arc::new(lookup)))
    }

    /// Closes what only the previous list has, if all together would take too much memory. Readers
    /// ask RocksDB until the list is made.
    fn make_room(&mut self, more: usize) {
        let all = self.gone_bytes + self.kept_bytes + self.new_bytes;
        if self.gone_bytes > 0 && all.saturating_add(more) > self.lookups.room {
            let files = self.lookups.known.lock().files.take();
            drop(files);
            self.gone_bytes = 0;
        }
    }
}
