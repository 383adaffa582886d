//! Mapping: a file in memory, read-only, which is touched only where the page cache has it.
//!
//! Touching a page that has to come from the disk makes the reader wait, and ends the process if
//! the disk fails. So [`Mapping::has`] asks the system first. Pages that were touched count as the
//! process's memory, though they are the page cache's. Once those of all mappings of the process
//! are more than a quarter of the memory that the process may have, the mappings let go of their
//! pages. These stay in the page cache.
//!
//! If files are much larger than that, most pages would be let go of before they are touched again.
//! Then what was touched stays, and the rest is read by calls, which take less time. Now and then
//! all mappings let go of their pages, so that those that are wanted by now get the room.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use memmap2::{Advice, Mmap, MmapOptions};

use crate::locks::Mutex;
use crate::memory_limit::memory;

/// What the system maps at one touch: the pages around the touched one, as far as the page cache
/// has them.
const WINDOW: usize = 64 << 10;
/// All mappings together may have one part in this many of the memory that the process may have.
const MEMORY_PART: u64 = 4;
/// Mappings let go of their pages once so many blocks a window had no room: then bringing in all
/// windows anew is a small part of what is read.
const TURN: usize = 64;
/// The system is asked for so many pages at a time. Most blocks are on one or two.
const PAGES: usize = 8;

/// Mappings are crowded if the files have so many times the bytes that may be touched.
const CROWDED: usize = 3;

/// The bytes of all mapped files.
static MAPPED: AtomicUsize = AtomicUsize::new(0);
/// All mappings of the process.
static ALL: Mutex<Vec<Weak<Mapping>>> = Mutex::new(Vec::new());
/// The windows that all of them have touched.
static TOUCHED: AtomicUsize = AtomicUsize::new(0);
/// The blocks that had no room since the mappings have last let go of all pages.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// A file in memory.
pub(in crate::rocks) struct Mapping {
    map: Mmap,
    /// A bit for each window that was touched.
    windows: Vec<AtomicU64>,
    /// How many bits are set.
    touched: AtomicUsize,
}

impl Mapping {
    /// Maps a file of `len` bytes. None where the system does not tell which pages it has, where
    /// the process's address space is limited, since others need it, or where the file cannot be
    /// mapped.
    pub(super) fn new(file: &File, len: u64) -> Option<Arc<Mapping>> {
        let bytes = usize::try_from(len).ok().filter(|bytes| *bytes > 0)?;
        if !can_ask(file, len) {
            return None;
        }
        // SAFETY: if somebody writes to the file, its bytes change under the references that are
        // handed out. If somebody cuts it off, reading beyond its end raises SIGBUS.
        // Neither damo nor RocksDB writes to an SST file that is listed: another one replaces it,
        // and a deleted one lives as long as it is mapped. That nobody else writes to the files of
        // a storage is a promise of its owner. Nothing that is read is trusted: each block has a
        // checksum, and its entries are read with bounds.
        let map = unsafe { MmapOptions::new().len(bytes).map(file) }.ok()?;
        // If a page is not in the page cache after all, the system reads it alone.
        let _ = map.advise(Advice::Random);
        let windows = (0..bytes.div_ceil(WINDOW * 64)).map(|_| AtomicU64::new(0)).collect();
        let mapping = Arc::new(Mapping { map, windows, touched: AtomicUsize::new(0) });
        MAPPED.fetch_add(bytes, Ordering::Relaxed);
        let mut all = ALL.lock();
        all.retain(|one| one.strong_count() > 0);
        all.push(Arc::downgrade(&mapping));
        Some(mapping)
    }

    /// Whether the page cache has these bytes, or had them a moment ago.
    pub(in crate::rocks) fn has(&self, at: u64, len: usize) -> bool {
        let page = page_size();
        let Ok(at) = usize::try_from(at) else { return false };
        let Some(end) = at.checked_add(len).filter(|end| *end <= self.map.len()) else {
            return false;
        };
        let starts = (at / page * page..end).step_by(PAGES * page);
        starts.into_iter().all(|start| self.has_pages(start, (end - start).min(PAGES * page)))
    }

    /// As [`Mapping::has`], for a few pages from a page's start on, within the mapping.
    #[cfg(target_os = "linux")]
    fn has_pages(&self, start: usize, len: usize) -> bool {
        let mut pages = [0_u8; PAGES];
        // SAFETY: the range begins at a page and lies in the mapping, which lives as long as
        // `self`. The system writes one byte for each page of the range, `PAGES` at most.
        let asked = unsafe {
            let address = self.map.as_ptr().add(start).cast_mut().cast();
            libc::mincore(address, len, pages.as_mut_ptr())
        };
        asked == 0 && pages[..len.div_ceil(page_size())].iter().all(|page| page & 1 == 1)
    }

    #[cfg(not(target_os = "linux"))]
    fn has_pages(&self, _start: usize, _len: usize) -> bool {
        false
    }

    /// Whether these bytes were touched, or may be: the mappings of the process have room. False
    /// beyond the file's end when it was mapped.
    #[inline]
    pub(in crate::rocks) fn has_room(&self, at: u64, len: usize) -> bool {
        let Ok(at) = usize::try_from(at) else { return false };
        let is_within = at.checked_add(len).is_some_and(|end| end <= self.map.len());
        let is_touched = |window: usize| {
            self.windows[window / 64].load(Ordering::Relaxed) & (1 << (window % 64)) != 0
        };
        is_within
            && (!is_crowded()
                || TOUCHED.load(Ordering::Relaxed) < most_windows()
                || windows(at, len).all(is_touched))
    }

    /// The bytes from `at` on; None where [`Mapping::has_room`] is false. Reading them brings in
    /// what the page cache does not have. So call this where [`Mapping::has`] says that it has
    /// them.
    #[inline]
    pub(in crate::rocks) fn bytes(&self, at: u64, len: usize) -> Option<&[u8]> {
        if !self.has_room(at, len) {
            return None;
        }
        let at = usize::try_from(at).ok()?;
        let bytes = self.map.get(at..at.checked_add(len)?)?;
        for window in windows(at, len) {
            let (bits, bit) = (&self.windows[window / 64], 1 << (window % 64));
            if bits.load(Ordering::Relaxed) & bit == 0
                && bits.fetch_or(bit, Ordering::Relaxed) & bit == 0
            {
                self.touched.fetch_add(1, Ordering::Relaxed);
                TOUCHED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Some(bytes)
    }

    /// Lets go of all pages. The page cache keeps them.
    fn forget(&self) {
        // This comes before the pages go. So what another thread touches meanwhile counts, even if
        // it goes, too.
        let cleared: u32 =
            self.windows.iter().map(|bits| bits.swap(0, Ordering::Relaxed).count_ones()).sum();
        self.touched.fetch_sub(cleared as usize, Ordering::Relaxed);
        TOUCHED.fetch_sub(cleared as usize, Ordering::Relaxed);
        // SAFETY: the mapping is a file's and is never written to: whoever touches it afterwards
        // gets the same bytes from the file.
        #[cfg(target_os = "linux")]
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        TOUCHED.fetch_sub(*self.touched.get_mut(), Ordering::Relaxed);
        MAPPED.fetch_sub(self.map.len(), Ordering::Relaxed);
    }
}

/// The windows that some bytes are in.
fn windows(at: usize, len: usize) -> RangeInclusive<usize> {
    at / WINDOW..=(at + len.max(1) - 1) / WINDOW
}

/// How many windows may be touched: a quarter of the memory that the process may have, which is the
/// machine's, or the smallest limit of its cgroups.
fn most_windows() -> usize {
    #[cfg(test)]
    if let Some(most) = test_room::most() {
        return most;
    }
    static MOST: OnceLock<usize> = OnceLock::new();
    // Asked once, since the limit is read from files.
    *MOST.get_or_init(|| {
        usize::try_from(memory() / MEMORY_PART / WINDOW as u64).unwrap_or(usize::MAX)
    })
}

/// Whether the mapped files are much larger than what may be touched of them. Then a window that is
/// touched anew will hardly be touched again before it is let go of.
fn is_crowded() -> bool {
    MAPPED.load(Ordering::Relaxed) / WINDOW / CROWDED > most_windows()
}

/// Has all mappings of the process let go of their pages if these are more than may be touched.
pub(in crate::rocks) fn bound_mapped() {
    if !is_crowded() && TOUCHED.load(Ordering::Relaxed) > most_windows() {
        forget_all();
    }
}

/// Notes that so many blocks had no room in mappings. These let go of their pages now and then.
pub(in crate::rocks) fn note_refused(blocks: usize) {
    let refused = REFUSED.fetch_add(blocks, Ordering::Relaxed).saturating_add(blocks);
    if refused > most_windows().saturating_mul(TURN) {
        REFUSED.store(0, Ordering::Relaxed);
        forget_all();
    }
}

/// What a test's thread finds of room.
#[cfg(test)]
pub(in crate::rocks) mod test_room {
    use std::cell::Cell;

    thread_local! {
        static MOST: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Runs `work`. This thread finds room for so many windows in all mappings.
    pub(in crate::rocks) fn of<T>(windows: usize, work: impl FnOnce() -> T) -> T {
        MOST.set(Some(windows));
        let done = work();
        MOST.set(None);
        done
    }

    pub(super) fn most() -> Option<usize> {
        MOST.get()
    }
}

/// Has all mappings of the process let go of their pages.
pub(in crate::rocks) fn forget_all() {
    // Without the lock, since this thread may be the last to drop a mapping.
    let all: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|mapping| mapping.forget());
}

/// Whether a file may be mapped: the address space is not limited, the system tells which of the
/// file's pages it has, and the file still has `len` bytes. Linux tells it to the file's owner; to
/// others it says that it has all.
#[cfg(target_os = "linux")]
fn can_ask(file: &File, len: u64) -> bool {
    use std::os::unix::fs::MetadataExt;

    use rustix::process::{Resource, geteuid, getrlimit};

    let is_limited = getrlimit(Resource::As).current.is_some();
    let is_ours =
        |known: std::fs::Metadata| known.len() == len && known.uid() == geteuid().as_raw();
    !is_limited && file.metadata().is_ok_and(is_ours)
}

#[cfg(not(target_os = "linux"))]
fn can_ask(_file: &File, _len: u64) -> bool {
    false
}

/// Asked once: each time would be a call of the C library with filled descriptors
/// (ffi/descriptors).
fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(rustix::param::page_size)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn what_was_touched_is_counted_until_it_is_let_go_of() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..5 * WINDOW as u32 + 100).map(|at| (at / 1000) as u8).collect();
        file.write_all_at(&bytes, 0).unwrap();
        assert!(Mapping::new(&file, bytes.len() as u64 + 1).is_none(), "the file is shorter");
        let mapping = Mapping::new(&file, bytes.len() as u64).unwrap();
        let touched = || mapping.touched.load(Ordering::Relaxed);
        for _ in 0..2 {
            assert_eq!(touched(), 0);
            // Around the ends of windows, twice the same, and at the file's end.
            for (at, len, expected) in [
                (10, 100, 1),
                (20, 100, 1),
                (WINDOW - 1, 1, 1),
                (2 * WINDOW - 1, 2, 3),
                (5 * WINDOW, 100, 4),
            ] {
                assert!(mapping.has(at as u64, len));
                assert_eq!(mapping.bytes(at as u64, len).unwrap(), &bytes[at..at + len]);
                assert_eq!(touched(), expected);
            }
            assert!(mapping.bytes(bytes.len() as u64 - 1, 2).is_none());
            assert!(!mapping.has(bytes.len() as u64 - 1, 2) && !mapping.has(u64::MAX, 2));
            mapping.forget();
        }
        // More pages than are asked for at once.
        assert!(mapping.has(0, bytes.len()));
        file.set_len(WINDOW as u64).unwrap();
        assert!(!mapping.has(0, bytes.len()) && mapping.has(0, WINDOW));
        let before = TOUCHED.load(Ordering::Relaxed);
        mapping.bytes(0, 1).unwrap();
        drop(mapping);
        println!("{before} windows before, {} after", TOUCHED.load(Ordering::Relaxed));
    }
}
