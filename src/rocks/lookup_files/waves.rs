//! Waves: how the keys of a batch are looked for in files.
//!
//! For each key the first file is found whose filter does not rule it out. The blocks of all keys
//! are then read together, in the order of the disk: a wave. What a filter has let through in error
//! is looked for in later files, in the next wave, which has few keys.

use std::time::{Duration, Instant};

use super::{Leveled, LookupFiles, Use};
use crate::error::Result;
use crate::memory::{filled, room_for};
use crate::rocks::block_reader::{Block, BlockReader, BlockReads};
use crate::rocks::key::{self, KEY_LEN, Ordinal};
use crate::rocks::sst::{BlockPlace, DeletedRanges, InBlock, Line, SstLookup, hash};

/// What a read of files leaves to RocksDB, and what it cost.
pub(in crate::rocks) struct Rest {
    /// The positions of the keys for which RocksDB has to be asked, in ascending order.
    pub(in crate::rocks) refused: Vec<usize>,
    /// How many blocks were read.
    pub(in crate::rocks) reads: BlockReads,
    /// How long these reads took.
    pub(in crate::rocks) took: Duration,
}

impl LookupFiles {
    /// Looks for ascending keys, and hands each row to `visit` with its key's position; None when
    /// there is no row.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `visit`.
    pub(in crate::rocks) fn read(
        &self,
        reader: &BlockReader,
        keys: &[[u8; KEY_LEN]],
        mut visit: impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<Rest> {
        let mut search = Search::new(self, keys)?;
        let (mut reads, mut took) = (BlockReads::default(), Duration::ZERO);
        loop {
            search.find_places();
            if search.asks.is_empty() {
                break;
            }
            let began = Instant::now();
            search.read_wave(reader, &mut reads, &mut visit)?;
            took += began.elapsed();
        }
        for &at in &search.open {
            visit(at, None)?;
        }
        let mut refused = search.refused;
        // `read_rows` wants ascending keys.
        refused.sort_unstable();
        Ok(Rest { refused, reads, took })
    }
}

/// A key that is looked for in a block.
#[derive(Clone, Copy)]
struct Ask {
    /// The key's position.
    at: usize,
    /// The file's index.
    file: usize,
    place: BlockPlace,
}

/// The keys of a batch, and how far the search for each has come.
struct Search<'a> {
    files: &'a [Leveled],
    deleted: &'a DeletedRanges,
    keys: Vec<Ordinal>,
    /// The filters' hash of each key.
    hashes: Vec<u64>,
    /// The positions of keys that are looked for in further files, ascending.
    open: Vec<usize>,
    /// The first file that each key was not looked for in yet.
    next_file: Vec<usize>,
    /// Whether each key has an answer, or a block to be looked for in.
    is_settled: Vec<bool>,
    /// What the next wave reads. Behind a wave, what the one after it reads on from there.
    asks: Vec<Ask>,
    /// Keys for which RocksDB has to be asked.
    refused: Vec<usize>,
    /// Room for the keys of one file, and for their lines in its filter.
    candidates: Vec<usize>,
    lines: Vec<Option<Line>>,
}

impl<'a> Search<'a> {
    fn new(files: &'a LookupFiles, keys: &[[u8; KEY_LEN]]) -> Result<Search<'a>> {
        let count = keys.len();
        let mut search = Search {
            files: &files.files,
            deleted: &files.deleted,
            keys: room_for(count)?,
            hashes: room_for(count)?,
            open: room_for(count)?,
            next_file: filled(0, count)?,
            is_settled: filled(false, count)?,
            asks: room_for(count)?,
            refused: Vec::new(),
            candidates: room_for(count)?,
            lines: room_for(count)?,
        };
        search.keys.extend(keys.iter().map(key::ordinal));
        search.hashes.extend(keys.iter().map(hash));
        search.open.extend(0..count);
        Ok(search)
    }

    /// Finds for each open key the next file that may have it, and the place there. Keys without
    /// such a file stay open.
    fn find_places(&mut self) {
        let first = self.open.iter().map(|at| self.next_file[*at]).min();
        for (index, one) in self.files.iter().enumerate().skip(first.unwrap_or(usize::MAX)) {
            let here = within(&self.open, &self.keys, one.first, one.last);
            self.candidates.clear();
            self.candidates.extend(here.iter().filter(|at| self.next_file[**at] <= index));
            if self.candidates.is_empty() {
                continue;
            }
            if let Use::Open(file) = &one.state {
                self.keep_likely(file);
                self.add_asks(index, file);
            } else {
                // It may have the newest version of these keys, or delete older ones.
                self.refused.extend_from_slice(&self.candidates);
            }
            if !self.candidates.is_empty() {
                self.candidates.iter().for_each(|at| self.is_settled[*at] = true);
                self.open.retain(|at| !self.is_settled[*at]);
            }
        }
    }

    /// Keeps those candidates that a file's filter does not rule out.
    fn keep_likely(&mut self, file: &SstLookup) {
        let (keys, hashes) = (&self.keys, &self.hashes);
        // All lines are fetched before the first is looked at.
        let mut near = 0;
        let line = |at: &usize| file.filter_line(keys[*at], hashes[*at], &mut near);
        self.lines.clear();
        self.lines.extend(self.candidates.iter().map(line));
        let mut lines = self.lines.iter();
        self.candidates
            .retain(|at| lines.next().is_some_and(|line| file.may_have(*line, hashes[*at])));
    }

    /// Asks a file's blocks for the candidates. Those that are in no block are none any more.
    fn add_asks(&mut self, index: usize, file: &SstLookup) {
        let mut near = 0;
        self.candidates.retain(|&at| {
            match file.place(self.keys[at], &mut near) {
                Ok(Some(place)) => self.asks.push(Ask { at, file: index, place }),
                Ok(None) => return false,
                Err(_) => self.refused.push(at),
            }
            true
        });
    }

    /// Reads the blocks that are asked for, and looks in them.
    fn read_wave(
        &mut self,
        reader: &BlockReader,
        reads: &mut BlockReads,
        visit: &mut impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut asks = std::mem::take(&mut self.asks);
        // In the first wave they are in order: files one after the other, keys ascending.
        asks.sort_unstable_by_key(|ask| (ask.file, ask.place.offset, ask.at));
        let blocks = self.blocks(&asks)?;
        let mut room = Vec::new();
        reader.read(&blocks, reads, |block, bytes| {
            let asks = &asks[block.asks.clone()];
            let content = bytes.map(|bytes| block.file.content(bytes, block.offset, &mut room));
            let Some(Ok(content)) = content else {
                self.refused.extend(asks.iter().map(|ask| ask.at));
                return Ok(());
            };
            asks.iter().try_for_each(|ask| self.look(block, content, ask, visit))
        })?;
        // What no block had goes on with later files.
        self.open.sort_unstable();
        Ok(())
    }

    /// The blocks of sorted asks. Keys of one block read it once.
    fn blocks(&mut self, asks: &[Ask]) -> Result<Vec<Block<'a>>> {
        let mut blocks: Vec<Block<'a>> = room_for(asks.len())?;
        let mut before = None;
        for (index, ask) in asks.iter().enumerate() {
            let place = (ask.file, ask.place.offset);
            if before == Some(place)
                && let Some(block) = blocks.last_mut()
            {
                block.asks.end = index + 1;
                continue;
            }
            let Use::Open(file) = &self.files[ask.file].state else { continue };
            let Ok(len) = file.block_len(ask.place) else {
                self.refused.push(ask.at);
                continue;
            };
            before = Some(place);
            blocks.push(Block { file, offset: ask.place.offset, len, asks: index..index + 1 });
        }
        Ok(blocks)
    }

    /// Looks for a key in the content of its block.
    fn look(
        &mut self,
        block: &Block<'_>,
        content: &[u8],
        ask: &Ask,
        visit: &mut impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let at = ask.at;
        match block.file.find(content, ask.place, self.keys[at]) {
            Ok(InBlock::Version(version, value)) => {
                let is_row = !version.is_deletion() && !self.deleted.has(version);
                return visit(at, is_row.then_some(value));
            }
            Ok(InBlock::Further) => {
                let place = block.file.next(ask.place, block.len);
                self.asks.extend(place.map(|place| Ask { place, ..*ask }));
            }
            Ok(InBlock::Nothing) => {
                self.next_file[at] = ask.file + 1;
                self.is_settled[at] = false;
                self.open.push(at);
            }
            Err(_) => self.refused.push(at),
        }
        Ok(())
    }
}

/// The part of ascending positions whose keys are from `first` to `last`.
fn within<'a>(open: &'a [usize], keys: &[Ordinal], first: Ordinal, last: Ordinal) -> &'a [usize] {
    let begin = open.partition_point(|&at| keys[at] < first);
    let len = open[begin..].partition_point(|&at| keys[at] <= last);
    &open[begin..begin + len]
}
