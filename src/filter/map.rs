//! The counters of a file, mapped into memory. The mapping is shared with the file: the system
//! keeps what is stored there, whatever becomes of the process.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

use super::header::{BLOCK_LEN, HEADER_LEN};

/// 256 counters in two neighbouring cache lines, which processors fetch together.
pub(super) type Block = [AtomicU64; 16];
const _: () = assert!(size_of::<Block>() == BLOCK_LEN);

pub(super) struct MappedBlocks {
    raw: MmapRaw,
    blocks: usize,
}

impl MappedBlocks {
    /// Maps a file that has a header and this many blocks, all of them with room on the disk:
    /// writing a page without room would end the process.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn new(file: &File, blocks: usize) -> io::Result<MappedBlocks> {
        let len = blocks.checked_mul(BLOCK_LEN).and_then(|len| len.checked_add(HEADER_LEN));
        let len = len.ok_or(io::ErrorKind::OutOfMemory)?;
        let raw = MmapOptions::new().len(len).map_raw(file)?;
        // Advice: file systems in memory follow it, others may; where it fails nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = raw.advise(memmap2::Advice::HugePage);
        Ok(MappedBlocks { raw, blocks })
    }

    #[inline(always)]
    pub(super) fn blocks(&self) -> &[Block] {
        // SAFETY: the mapping was made with this length, is readable and writable, holds `blocks`
        // blocks behind its header and lives as long as `self`. It begins at a page and the header
        // fills one, so blocks are aligned. Any bits are an AtomicU64. Nobody here touches the
        // mapping but through these atomics, so other threads, and other mappings of the file, may
        // change them. (A file that another program truncates ends the process with SIGBUS, which
        // no reader of a mapping can prevent.)
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(HEADER_LEN).cast(), self.blocks) }
    }

    /// Brings all counters to disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.raw.flush()
    }
}

/// Prefetches a block, two cache lines.
#[inline(always)]
pub(super) fn prefetch(block: &Block) {
    crate::prefetch::prefetch(&block[0]);
    crate::prefetch::prefetch(&block[8]);
}
