//! The file list: which files single rows are read from without RocksDB, from one read to the next.
//!
//! A list is made anew after changes of files, and files that stay are kept open. A read begins
//! with a list that has seen every change before it (`lookups`). What changes meanwhile does no
//! harm. A merge leaves the same newest rows, and the listed files stay open. A file that the
//! writer adds has rows that are still in memory, and nobody reads those from disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rust_rocksdb::{DEFAULT_COLUMN_FAMILY_NAME, LiveFile};

use super::Rocks;
use super::admission::Admission;
use super::live_files::place;
use super::lookup_files::{Leveled, LookupFiles, in_order};
use super::lookups::{Known, Lookups};
use super::options::{lookup_bytes, small_cache_bytes};
use super::preparation::Work;
use crate::error::Result;
use crate::threads;

/// How often the list is made: a merge may delete a listed file before it is opened.
const TRIES: usize = 3;
/// RocksDB is asked for the first so many keys, so that a few reads do not wait for files to be
/// opened. Tests that compare reads open files at once.
const FEW: usize = if cfg!(feature = "check-index") { 1 } else { 1024 };

/// What came of making a list.
enum Listed {
    Files(LookupFiles),
    /// RocksDB has to be asked until the next change. Open files that still exist are kept.
    NotNow,
    /// Most files have no room in memory.
    TooLarge(u64),
    /// Making the list has panicked.
    Failed,
}

impl Rocks {
    /// The files to look for `keys` keys in. None where RocksDB has to be asked.
    pub(super) fn lookup_files(&self, keys: usize) -> Option<Arc<LookupFiles>> {
        let lookups = &self.lookups;
        let asked = &lookups.asked;
        if asked.load(Ordering::Relaxed) < FEW
            && asked.fetch_add(keys, Ordering::Relaxed).saturating_add(keys) < FEW
        {
            return None;
        }
        let changes = lookups.changes();
        if let Some(files) = lookups.as_of(changes) {
            return files;
        }
        // No load waits while many files are opened.
        if lookups.is_preparing() {
            return None;
        }
        let _listing = lookups.listing.lock();
        // Another thread may just have made it.
        let changes = lookups.changes();
        if let Some(files) = lookups.as_of(changes) {
            return files;
        }
        if lookups.is_preparing() || self.prepares() {
            return None;
        }
        self.list_again(changes);
        lookups.as_of(changes).flatten()
    }

    /// Has a thread open the files of the next list, if they are so many that a load would wait
    /// long. False where the load has to make the list itself. `listing` is locked.
    fn prepares(&self) -> bool {
        let Some(work) = self.work_to_prepare() else { return false };
        let needed = self.lookup_bytes_needed().unwrap_or(0);
        let is_started = self.preparation.start(work).is_ok();
        if is_started {
            // RocksDB has what is left over meanwhile.
            let room = self.metadata.bytes();
            let left = room.saturating_sub(usize::try_from(needed).unwrap_or(usize::MAX));
            self.set_cache_bytes(left.max(small_cache_bytes(room)));
        }
        is_started
    }

    /// The files to open, if they are many. None also where none can be opened now.
    fn work_to_prepare(&self) -> Option<Work> {
        let lookups = &self.lookups;
        let size = self.live_bytes()?;
        let too_large = lookups.too_large.load(Ordering::Relaxed);
        if size < lookups.at_once || size >= too_large || self.entries_in_memory() != Some(0) {
            return None;
        }
        let files = newest_first(&self.db.live_files().ok()?)?;
        let before = lookups.known.lock().files.clone();
        let known = before.as_ref().map(|before| before.known()).unwrap_or_default();
        let is_new = |file: &&Leveled| {
            known.get(&file.path).is_none_or(|(bounds, _)| *bounds != file.bounds)
        };
        let new_bytes: u64 = files.iter().filter(is_new).map(|file| file.bounds.len).sum();
        let work = || Work { lookups: Arc::clone(lookups), before, files, size };
        (new_bytes >= lookups.at_once).then(work)
    }

    /// Counts a change of files that the caller has made. If somebody reads files, the list is made
    /// anew first, so that no reader waits for it.
    pub(super) fn files_have_changed(&self) {
        let lookups = &self.lookups;
        let listing = lookups.listing.lock();
        // Whoever reads the number before it is set here gets the old list or the new one.
        let changes = lookups.changes() + 1;
        if lookups.is_used() && !lookups.is_preparing() && !lookups.is_stopped() {
            self.list_again(changes);
        }
        lookups.set_changes(changes);
        drop(listing);
        lookups.close_retired();
    }

    /// Makes the list anew if it has been old for a while: the writer has added no file since a
    /// merge. That closes the files that the merge has deleted. It opens new ones and reads their
    /// filters, so that no load has to. Also closes files that loads have held until now.
    pub(crate) fn renew_old_lookups(&self) {
        self.renew_if(Lookups::is_left_old);
        self.lookups.close_retired();
    }

    /// Closes files that a merge has deleted, since their space is needed. So it makes the list
    /// anew, or gives it up where the database is about to be closed.
    pub(crate) fn free_deleted_files(&self) {
        if self.lookups.is_stopped() {
            let files = self.lookups.known.lock().files.take();
            self.lookups.retire(files);
        } else {
            self.renew_if(Lookups::is_behind);
        }
        self.lookups.close_retired();
    }

    fn renew_if(&self, is_wanted: impl Fn(&Lookups) -> bool) {
        let lookups = &self.lookups;
        if is_wanted(lookups)
            && let Some(_listing) = lookups.listing.try_lock()
            && is_wanted(lookups)
            && !lookups.is_preparing()
            && !lookups.is_stopped()
        {
            self.list_again(lookups.changes());
        }
    }

    /// Gives up a list that is being made, once the file that is being read is done, and makes no
    /// more lists: the database is about to be closed.
    pub(crate) fn stop_listing(&self) {
        self.lookups.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Makes the list, which has seen `changes` changes. `listing` is locked. After a panic RocksDB
    /// is asked until the next change. So loads and write-back go on without a list.
    fn list_again(&self, changes: u64) {
        let lookups = &self.lookups;
        let merges = lookups.merges.load(Ordering::Acquire);
        let listed = threads::catch("the list of files", || Ok(self.list()));
        let (files, is_kept_only) = match listed.unwrap_or(Listed::Failed) {
            Listed::Files(files) => (Some(Arc::new(files)), false),
            Listed::NotNow => {
                let before = lookups.known.lock().files.take();
                let kept = before.as_ref().map(|before| Arc::new(before.without_deleted()));
                lookups.retire(before);
                (kept, true)
            }
            Listed::TooLarge(size) => {
                lookups.too_large.store(size, Ordering::Relaxed);
                (None, false)
            }
            Listed::Failed => (None, false),
        };
        let (room, small) = (self.metadata.bytes(), small_cache_bytes(self.metadata.bytes()));
        let bytes = files.as_ref().map_or(0, |files| files.bytes);
        let cache_bytes = match &files {
            Some(files) if files.is_complete() || is_kept_only => small,
            // RocksDB answers for some keys, or for all.
            _ => room.saturating_sub(bytes).max(small),
        };
        self.note_lookup_bytes(bytes, cache_bytes);
        let known = Known { changes, merges, files, is_kept_only, old_since: None };
        let before = std::mem::replace(&mut *lookups.known.lock(), known);
        lookups.retire(before.files);
    }

    /// Notes how many bytes fences and filters take, and gives RocksDB's cache `cache_bytes`.
    fn note_lookup_bytes(&self, bytes: usize, cache_bytes: usize) {
        let before = self.lookups.bytes.swap(bytes, Ordering::Relaxed);
        if before != bytes {
            self.lookups.has_changed.store(true, Ordering::Release);
        }
        self.set_cache_bytes(cache_bytes);
    }

    /// Sets the bytes of RocksDB's cache.
    fn set_cache_bytes(&self, bytes: usize) {
        if self.lookups.cache_bytes.swap(bytes, Ordering::Relaxed) != bytes {
            self.cache.clone().set_capacity(bytes);
            self.lookups.has_changed.store(true, Ordering::Release);
        }
    }

    /// Opens the files of rows, as far as they are not open already and have room.
    fn list(&self) -> Listed {
        let lookups = &self.lookups;
        #[cfg(test)]
        assert!(!lookups.panics.load(Ordering::Relaxed), "a test wants a panic");
        let Some(size) = self.live_bytes() else { return Listed::NotNow };
        let too_large = lookups.too_large.load(Ordering::Relaxed);
        if size >= too_large {
            return Listed::TooLarge(too_large);
        }
        for _ in 0..TRIES {
            // Looked at before the files are listed: what is flushed in between is then listed.
            if self.entries_in_memory() != Some(0) {
                return Listed::NotNow;
            }
            let Ok(live) = self.db.live_files() else { return Listed::NotNow };
            let Some(files) = newest_first(&live) else { return Listed::NotNow };
            let before = lookups.known.lock().files.clone();
            let mut admission = Admission::new(lookups, before, &files);
            if admission.will_leave(&files) > size / 2 {
                return Listed::TooLarge(size);
            }
            let mut add = |file| !lookups.is_stopped() && admission.add(file);
            let are_there = files.into_iter().all(&mut add);
            if lookups.is_stopped() {
                return Listed::NotNow;
            }
            if !are_there {
                continue;
            }
            let (files, left) = admission.end();
            if left > size / 2 {
                return Listed::TooLarge(size);
            }
            return Listed::Files(LookupFiles::new(files));
        }
        Listed::NotNow
    }

    /// Whether memory probably has room for fences and filters. RocksDB's number of rows is right
    /// after opening, and may be far too large later.
    pub(super) fn lookups_fit(&self) -> Result<bool> {
        Ok(self.lookup_bytes_needed()? <= self.lookups.room as u64)
    }

    /// About the bytes of memory that fences and filters would take.
    pub(super) fn lookup_bytes_needed(&self) -> Result<u64> {
        Ok(lookup_bytes(self.estimated_rows()?, self.live_bytes().unwrap_or(0)))
    }

    /// The bytes of all SST files of rows, without those that only a snapshot has.
    fn live_bytes(&self) -> Option<u64> {
        self.known_number("rocksdb.live-sst-files-size")
    }
}

/// The files of rows, in the order in which RocksDB looks for a key. None where that cannot be
/// told.
pub(super) fn newest_first(live: &[LiveFile]) -> Option<Vec<Leveled>> {
    let is_of_rows = |file: &&LiveFile| file.column_family_name == DEFAULT_COLUMN_FAMILY_NAME;
    let leveled = |file: &LiveFile| {
        let (path, bounds) = place(file)?;
        Some(Leveled::new(file.level, path, bounds))
    };
    in_order(live.iter().filter(is_of_rows).map(leveled).collect::<Option<_>>()?)
}
