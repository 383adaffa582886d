//! A file as memory: read-only, shared with every process that has it mapped.
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
