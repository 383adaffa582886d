//! A segment in memory: its file mapped, entries copied into it, and the word that says how far
//! its content goes.
//!
//! The mapping is shared with the file: the system keeps what was stored, whatever becomes of the
//! process.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::entry::END_AT;

/// The mapping of a segment's file. It may reach beyond the file's end.
pub(super) struct Mapping {
    raw: ManuallyDrop<MmapRaw>,
    /// Bytes that have room on the disk, as far as [`Mapping::set_ready`] was told.
    ready: AtomicU64,
    /// The process that has the mapping. A forked child has none.
    owner: u32,
}

impl Mapping {
    /// Maps a file that is open for reading and writing.
    ///
    /// # Errors
    /// The system's error: no memory to map, or a file system that maps no files.
    pub(super) fn new(file: &File, len: usize) -> io::Result<Mapping> {
        let raw = MmapOptions::new().len(len).map_raw(file)?;
        // A child must not write to the file. Its handles are refused even where the advice fails.
        #[cfg(target_os = "linux")]
        let _ = raw.advise(memmap2::Advice::DontFork);
        let raw = ManuallyDrop::new(raw);
        Ok(Mapping { raw, ready: AtomicU64::new(0), owner: process::id() })
    }

    pub(super) fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Notes that the file's first `ready` bytes have room on the disk. Beyond, a store would end
    /// the process.
    pub(super) fn set_ready(&self, ready: u64) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Copies bytes to where the caller, and nobody else, has reserved room.
    pub(super) fn copy(&self, at: u64, bytes: &[u8]) {
        let end = at.checked_add(bytes.len() as u64);
        let has_room = |end: &u64| *end <= self.len() && *end <= self.ready.load(Ordering::Acquire);
        assert!(at >= END_AT as u64 + 8 && end.as_ref().is_some_and(has_room), "room at {at}");
        // SAFETY: the range lies in the mapping, which lives as long as `self`, and in the part of
        // the file that has room on the disk. `bytes` is other memory: nobody gets a reference into
        // the mapping. No other thread touches the range: `State` reserves each byte once, behind
        // all others, and takes a reservation back only when no copy is under way. Readers, of this
        // process or another, read the file up to its end word, which is stored after the copy.
        // (Another program that cuts the file off ends the process with SIGBUS, which no mapping
        // can prevent.)
        unsafe {
            let to = self.raw.as_mut_ptr().add(at as usize);
            ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    /// Stores the end word. What was copied before is seen by whoever sees the word.
    pub(super) fn store_end(&self, word: u64) {
        assert!(self.ready.load(Ordering::Acquire) >= END_AT as u64 + 8, "a header");
        // SAFETY: the header has room on the disk and lies in the mapping, which begins at a page,
        // so the word is aligned. Any bits are an AtomicU64, and only this function touches it.
        let end = unsafe { &*self.raw.as_ptr().add(END_AT).cast::<AtomicU64>() };
        end.store(word, Ordering::Release);
    }

    /// Makes the pages of a part writable, so that copies into it do not wait for the system. Where
    /// the system cannot do that, they wait.
    pub(super) fn populate(&self, from: u64, to: u64) {
        let to = to.min(self.len()).min(self.ready.load(Ordering::Acquire));
        if from < to {
            #[cfg(target_os = "linux")]
            let _ = self.raw.advise_range(
                memmap2::Advice::PopulateWrite,
                from as usize,
                (to - from) as usize,
            );
        }
    }

    /// Takes the pages of a part out of this process's memory; the file keeps them.
    pub(super) fn forget(&self, from: u64, to: u64) {
        let to = to.min(self.len());
        if from < to {
            // SAFETY: the part lies in the mapping. The mapping is a file's, and shared: the bytes
            // stay in the file's pages, and whoever touches the part gets these pages again.
            #[cfg(target_os = "linux")]
            let _ = unsafe {
                self.raw.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    from as usize,
                    (to - from) as usize,
                )
            };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a forked child something else may have got these addresses.
        if self.owner == process::id() {
            // SAFETY: it is not used again.
            unsafe { ManuallyDrop::drop(&mut self.raw) };
        }
    }
}

/// Whether a mapped store into room that was reserved cannot fail on the file's file system. Others
/// may copy at the next store, and then have no room.
pub(super) fn is_reliable(file: &File) -> bool {
    /// ext2, ext3 and ext4; XFS; tmpfs; overlayfs.
    #[cfg(target_os = "linux")]
    const RELIABLE: [u64; 4] = [0xef53, 0x5846_5342, 0x0102_1994, 0x794c_7630];
    #[cfg(target_os = "linux")]
    return rustix::fs::fstatfs(file).is_ok_and(|found| RELIABLE.contains(&(found.f_type as u64)));
    #[cfg(not(target_os = "linux"))]
    return false;
}
