//! What needs the system itself: a file as memory, read-only and shared with every process that has it mapped; and asking
//! for what was written to go to the disk.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Advice, Mmap, MmapOptions};

pub(super) struct Map(Mmap);

impl Map {
    /// Maps a whole file. An empty one is no bytes.
    pub(super) fn new(file: &File) -> io::Result<Map> {
        // SAFETY: the bytes of a mapped file may change under the references that are handed out when somebody writes to
        // it, and reading beyond its end raises SIGBUS when somebody truncates it. damo never writes to a file that has
        // its name: a new one replaces it, and the old one lives as long as it is mapped. That nobody else writes to
        // it is a promise of `damo_table_open`'s caller, as the header says; no safe interface to a mapped file
        // can do without it. Nothing that is read from it is trusted: a changed byte gives other weights, not other
        // memory.
        unsafe { MmapOptions::new().map(file) }.map(Map)
    }

    /// What is not in memory yet should come as huge pages, which make rows cheaper to reach; unless the file is a large
    /// part of the memory, when a row that has left it would bring back two megabytes. Advice, so an error is none.
    pub(super) fn prefer_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: plain questions to the system; an error is -1.
            let (pages, page) =
                unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
            let memory = (pages.max(0) as u64).saturating_mul(page.max(0) as u64);
            if self.0.len() as u64 <= memory / 4 {
                let _ = self.0.advise(Advice::HugePage);
            }
        }
    }

    /// Rows will be read here and there: what is not in memory yet comes page by page, without those around it. Advice,
    /// so an error is none.
    pub(super) fn expect_random_reads(&self) {
        let _ = self.0.advise(Advice::Random);
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Asks the system to bring these bytes to the disk now and not when it has to: the disk then works while the rest is being
/// made. Does not wait, and promises nothing.
pub(super) fn begin_writing_back(file: &File, start: u64, len: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `file` is; the call touches no memory of ours. An error is as if it
        // had not been made.
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
