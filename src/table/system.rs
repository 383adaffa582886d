//! System calls: a file mapped read-only, shared with every process that maps it; and the request
//! to write back what was written.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Advice, Mmap, MmapOptions};

pub(super) struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a whole file; an empty file gives an empty slice.
    pub(super) fn new(file: &File) -> io::Result<MappedFile> {
        // SAFETY: the bytes of a mapped file change under the references that are handed out if
        // somebody writes to it, and reading beyond its end raises SIGBUS if somebody truncates it.
        // damo never writes to a file that has its name: a new file replaces it, and the old one
        // lives as long as it is mapped. That nobody else writes to it is a promise of
        // `damo_table_open`'s caller, as the header says; no safe interface to a mapped file can do
        // without that promise. Nothing that is read from the file is trusted: a changed byte gives
        // other weights, not other memory.
        unsafe { MmapOptions::new().map(file) }.map(MappedFile)
    }

    /// Asks for huge pages, which make rows cheaper to reach, for the part that is not in memory
    /// yet. Not for a file that is a large part of the memory: a row of it that was dropped would
    /// bring back two megabytes. Advice, so errors are ignored.
    pub(super) fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: plain queries; an error is -1.
            let (pages, page) =
                unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
            let memory = (pages.max(0) as u64).saturating_mul(page.max(0) as u64);
            if self.0.len() as u64 <= memory / 4 {
                let _ = self.0.advise(Advice::HugePage);
            }
        }
    }

    /// Announces random reads: pages that are not in memory yet then come one by one, without their
    /// neighbours. Advice, so errors are ignored.
    pub(super) fn expect_random_reads(&self) {
        let _ = self.0.advise(Advice::Random);
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Asks the system to write these bytes back now and not when it has to: the disk then works while
/// the rest is made. Does not wait, and promises nothing.
pub(super) fn begin_writing_back(file: &File, start: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `file` is; the call touches no memory of ours.
        // An error has no effect.
        unsafe {
            libc::sync_file_range(
                file.as_raw_fd(),
                start as libc::off64_t,
                len as libc::off64_t,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, start, len);
}
