//! Waves: how the keys of a batch are looked for in files.
//!
//! For each key the first file is found whose filter does not rule it out. The blocks of all keys
//! are then read together, in the order of the files: a wave. Keys that a filter has let through in
//! error are looked for in later files, in the next wave. That wave has few keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Leveled, LookupFiles, Use};
use crate::error::Result;
use crate::memory::room_for;
use crate::rocks::block_reader::{Block, BlockReader, BlockReads, Reading};
use crate::rocks::key::{self, KEY_LEN, Ordinal};
use crate::rocks::sst::{BlockPlace, DeletedRanges, InBlock, Line, SstLookup, hash};

/// What a search in files leaves to RocksDB, and what it cost.
pub(in crate::rocks) struct Rest {
    /// The positions of the keys for which RocksDB has to be asked, in ascending order.
    pub(in crate::rocks) refused: Vec<usize>,
    /// How many blocks were read.
    pub(in crate::rocks) reads: BlockReads,
    /// How long the waves took.
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
        let (mut reading, mut took) = (reader.begin(), Duration::ZERO);
        loop {
            search.find_places();
            if search.asks.is_empty() {
                break;
            }
            let began = Instant::now();
            search.read_wave(&mut reading, &mut visit)?;
            took += began.elapsed();
        }
        for &at in &search.open {
            visit(at, None)?;
        }
        let mut refused = search.refused;
        // RocksDB's `read_rows` wants ascending keys.
        refused.sort_unstable();
        Ok(Rest { refused, reads: reading.reads, took })
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

/// A key of a batch, and how far the search for it has come.
struct Wanted {
    key: Ordinal,
    /// The filters' hash of it.
    hash: u64,
    /// The first file in which it was not looked for yet.
    next_file: usize,
    /// It has an answer, or a block in which it will be looked for.
    is_settled: bool,
}

/// The search for the keys of a batch.
struct Search<'a> {
    files: &'a [Leveled],
    deleted: &'a DeletedRanges,
    wanted: Vec<Wanted>,
    /// The positions of keys that are to be looked for in further files, ascending.
    open: Vec<usize>,
    /// What the next wave reads. While a wave is read, it adds keys that may be in the block behind
    /// theirs.
    asks: Vec<Ask>,
    /// Keys for which RocksDB has to be asked.
    refused: Vec<usize>,
    /// Room for the keys of one file, each with its line in the filter.
    candidates: Vec<(usize, Option<Line>)>,
}

impl<'a> Search<'a> {
    fn new(files: &'a LookupFiles, keys: &[[u8; KEY_LEN]]) -> Result<Search<'a>> {
        let count = keys.len();
        let mut search = Search {
            files: &files.files,
            deleted: &files.deleted,
            wanted: room_for(count)?,
            open: room_for(count)?,
            asks: room_for(count)?,
            refused: Vec::new(),
            candidates: room_for(count)?,
        };
        search.wanted.extend(keys.iter().map(|bytes| Wanted {
            key: key::ordinal(bytes),
            hash: hash(bytes),
            next_file: 0,
            is_settled: false,
        }));
        search.open.extend(0..count);
        Ok(search)
    }

    /// Finds for each open key the next file that may have it, and the place there. Keys without
    /// such a file stay open.
    fn find_places(&mut self) {
        let first = self.open.iter().map(|at| self.wanted[*at].next_file).min();
        for (index, one) in self.files.iter().enumerate().skip(first.unwrap_or(usize::MAX)) {
            match &one.state {
                Use::Open(file) => {
                    self.list_candidates(index, one, Some(file));
                    self.add_asks(index, file);
                }
                // The file may have the newest version of these keys, or delete older ones.
                _ => {
                    self.list_candidates(index, one, None);
                    self.refused.extend(self.candidates.iter().map(|(at, _)| at));
                }
            }
            if !self.candidates.is_empty() {
                self.candidates.iter().for_each(|(at, _)| self.wanted[*at].is_settled = true);
                self.open.retain(|at| !self.wanted[*at].is_settled);
            }
        }
        // No file has these: the next wave asks no filter again.
        self.open.iter().for_each(|at| self.wanted[*at].next_file = self.files.len());
    }

    /// Lists the open keys between the first and the last key of a file, and fetches the lines of
    /// its filter for them.
    fn list_candidates(&mut self, index: usize, one: &Leveled, file: Option<&Arc<SstLookup>>) {
        let wanted = &self.wanted;
        let here = within(&self.open, wanted, one.first, one.last);
        let mut near = 0;
        let mut line = |at: usize| {
            file.and_then(|file| file.filter_line(wanted[at].key, wanted[at].hash, &mut near))
        };
        let here = here.iter().filter(|at| wanted[**at].next_file <= index);
        self.candidates.clear();
        // So all lines are fetched before the first is looked at.
        self.candidates.extend(here.map(|&at| (at, line(at))));
    }

    /// Adds an ask for each candidate: in which block of the file it may be. Drops the candidates
    /// that the file's filter or fences rule out.
    fn add_asks(&mut self, index: usize, file: &SstLookup) {
        let mut near = 0;
        self.candidates.retain(|&(at, line)| {
            let wanted = &self.wanted[at];
            if !file.may_have(line, wanted.hash) {
                return false;
            }
            match file.place(wanted.key, &mut near) {
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
        reading: &mut Reading<'_>,
        visit: &mut impl FnMut(usize, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut asks = std::mem::take(&mut self.asks);
        // In the first wave they are in order: files one after the other, keys ascending.
        asks.sort_unstable_by_key(|ask| (ask.file, ask.place.offset, ask.at));
        let blocks = self.blocks(&asks)?;
        let mut room = Vec::new();
        reading.read(&blocks, |block, bytes| {
            let asks = &asks[block.asks.clone()];
            let content = bytes.map(|bytes| block.file.content(bytes, block.offset, &mut room));
            let content = match content {
                Some(Ok(content)) => content,
                refusal => {
                    let shortage = refusal.and_then(|read| read.err()?.shortage());
                    self.refused.extend(asks.iter().map(|ask| ask.at));
                    return shortage.map_or(Ok(()), Err);
                }
            };
            asks.iter().try_for_each(|ask| self.look(block, content, ask, visit))
        })?;
        // Keys that no block had go on with later files.
        self.open.sort_unstable();
        Ok(())
    }

    /// The blocks of sorted asks, each once.
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
        match block.file.find(content, ask.place, self.wanted[at].key) {
            Ok(InBlock::Version(version, value)) => {
                let is_row = !version.is_deletion() && !self.deleted.has(version);
                return visit(at, is_row.then_some(value));
            }
            Ok(InBlock::Further) => {
                let place = block.file.next(ask.place, block.len);
                self.asks.extend(place.map(|place| Ask { place, ..*ask }));
            }
            Ok(InBlock::Nothing) => {
                self.wanted[at].next_file = ask.file + 1;
                self.wanted[at].is_settled = false;
                self.open.push(at);
            }
            Err(_) => self.refused.push(at),
        }
        Ok(())
    }
}

/// The part of ascending positions whose keys are from `first` to `last`.
fn within<'a>(open: &'a [usize], wanted: &[Wanted], first: Ordinal, last: Ordinal) -> &'a [usize] {
    let begin = open.partition_point(|&at| wanted[at].key < first);
    let len = open[begin..].partition_point(|&at| wanted[at].key <= last);
    &open[begin..begin + len]
}
