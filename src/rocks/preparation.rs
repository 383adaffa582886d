//! Preparation: opens many files for a list on a thread of its own. RocksDB is asked meanwhile, so
//! that no load waits for their filters.
//!
//! The thread does not know RocksDB, and does not keep it open. It gets the names of files, and
//! leaves open files for the next list. That list is made like any other, from the files that
//! RocksDB has by then. So no harm is done if the files that the thread has left are old.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::admission::Admission;
use super::lookup_files::{Leveled, LookupFiles};
use super::lookups::{Known, Lookups};
use crate::error::Result;
use crate::locks::Mutex;
use crate::threads;

/// The running thread, or the one that has ended last.
pub(super) struct Preparation {
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Set when the thread has to end.
    is_stopped: Arc<AtomicBool>,
}

/// What the thread works on.
pub(super) struct Work {
    pub(super) lookups: Arc<Lookups>,
    /// The list that was there before.
    pub(super) before: Option<Arc<LookupFiles>>,
    /// The files of rows, in the order in which keys are looked for.
    pub(super) files: Vec<Leveled>,
    /// The bytes of these files.
    pub(super) size: u64,
}

impl Preparation {
    pub(super) fn new(lookups: &Lookups) -> Preparation {
        Preparation { thread: Mutex::default(), is_stopped: Arc::clone(&lookups.is_stopped) }
    }

    /// Starts the thread. `listing` is locked, and no other such thread is at work.
    ///
    /// # Errors
    /// `IO` when it cannot be made.
    pub(super) fn start(&self, work: Work) -> Result<()> {
        let lookups = Arc::clone(&work.lookups);
        lookups.is_preparing.store(true, Ordering::Release);
        let started = threads::start("damo-opening", "a thread that opens files", || work.run());
        let thread =
            started.inspect_err(|_| lookups.is_preparing.store(false, Ordering::Release))?;
        // The thread before has ended, or is about to.
        drop(self.thread.lock().replace(thread).map(JoinHandle::join));
        Ok(())
    }
}

impl Drop for Preparation {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            drop(thread.join());
        }
    }
}

impl Work {
    fn run(self) {
        let lookups = Arc::clone(&self.lookups);
        // The numbers at the beginning: a failure counts until the next change after it.
        let (changes, merges) = (lookups.changes(), lookups.merges.load(Ordering::Acquire));
        let opened = threads::catch("opening files", || Ok(self.open()));
        let (changes, files) = match opened {
            // 0: the next list has to be made in any case.
            Ok(files) => (0, files.map(Arc::new)),
            Err(_) => (changes, None),
        };
        if !lookups.is_stopped() {
            lookups.bytes.store(files.as_ref().map_or(0, |files| files.bytes), Ordering::Relaxed);
            let is_kept_only = files.is_some();
            let known = Known { changes, merges, files, is_kept_only, old_since: None };
            let before = std::mem::replace(&mut *lookups.known.lock(), known);
            lookups.retire(before.files);
            lookups.close_retired();
        }
        lookups.has_changed.store(true, Ordering::Release);
        lookups.is_preparing.store(false, Ordering::Release);
    }

    /// Opens the files, as far as they have room. None when less than half of their bytes has.
    fn open(self) -> Option<LookupFiles> {
        let Work { lookups, before, files, size } = self;
        #[cfg(test)]
        assert!(!lookups.panics.load(Ordering::Relaxed), "a test wants a panic");
        let mut admission = Admission::new(&lookups, before, &files);
        if admission.will_leave(&files) > size / 2 {
            lookups.too_large.store(size, Ordering::Relaxed);
            return None;
        }
        admission.read_ahead(&files, lookups.opening_threads);
        for file in files {
            // A merge may have deleted the file meanwhile. The next list will not have it.
            let _is_there = lookups.is_stopped() || admission.add(file);
        }
        Some(LookupFiles::new(admission.end().0))
    }
}
