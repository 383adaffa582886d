//! Fences: which block of a file may have a key, and where the blocks are.
//!
//! A fence is the largest key that a run of blocks may have. Between fences the sizes of the blocks
//! tell where each is, since they follow each other without gaps. A file whose index leaves a block
//! out is refused. For each block of a run, 16 bits tell where its last key is between two fences.
//! So one key is looked for in one block of a run, or in two blocks if these bits are the same.

use std::ops::Range;

use super::block::{Handle, TRAILER, entries_part, index_entry};
use super::head::{Head, MAX_SMALL, Properties};
use super::source::{Source, read_block};
use super::{MAX_DATA, MAX_INDEX, SUFFIX};
use crate::memory::reserve;
use crate::rocks::key::{self, KEY_LEN, Ordinal};

/// Blocks of a run. A block has about 2 KiB.
pub(super) const RUN: usize = 16;

/// The blocks of a file.
pub(super) struct Fences {
    /// The bytes of each block, without its trailer.
    sizes: Vec<u32>,
    /// Where the last key that each block may have is in its run.
    parts: Vec<u16>,
    runs: Vec<Run>,
    /// No key is smaller.
    first: Ordinal,
    /// Two blocks that follow each other may have versions of the same key.
    may_share_keys: bool,
}

/// Up to [`RUN`] blocks that follow each other.
struct Run {
    /// Where the first one is.
    offset: u64,
    /// At least the last key of the last one. The next run has larger keys, or further versions of
    /// this one.
    last: Ordinal,
}

impl Fences {
    /// The file's keys begin at `first`.
    ///
    /// # Errors
    /// Where in the file, and what about it, is damaged or unknown.
    pub(super) fn read(
        source: &dyn Source,
        head: &Head,
        properties: &Properties,
        first: Ordinal,
    ) -> Result<Fences, (u64, String)> {
        let index = head.block("rocksdb.index").ok_or((0, "its index is missing".to_owned()))?;
        let (blocks, bytes) =
            properties.blocks.ok_or((0, "it does not say how many blocks it has".to_owned()))?;
        let may_share_keys = !properties.is_user_key;
        let (sizes, parts, runs) = (Vec::new(), Vec::new(), Vec::new());
        let mut fences = Fences { sizes, parts, runs, first, may_share_keys };
        // No more than the file has room for: each block has a trailer.
        let room = bytes.min(head.end_of_entries()) / TRAILER as u64;
        if blocks > room {
            return Err((0, format!("it cannot have {blocks} blocks")));
        }
        let failed = |error: crate::error::Error| {
            source.note_passing();
            (0, error.message().to_owned())
        };
        reserve(&mut fences.sizes, blocks as usize).map_err(failed)?;
        reserve(&mut fences.parts, blocks as usize).map_err(failed)?;
        reserve(&mut fences.runs, (blocks as usize).div_ceil(RUN)).map_err(failed)?;

        let mut builder = Builder { fences, blocks, end: 0, last: None, run: Vec::new() };
        let block = |handle: Handle, limit| {
            read_block(source, head.base, handle, limit)
                .map_err(|what| (handle.offset, format!("a block of its index {what}")))
        };
        let top = block(index, MAX_INDEX)?;
        if properties.has_two_levels {
            let damaged = || (index.offset, "its index is damaged".to_owned());
            let mut rest = entries_part(&top).ok_or_else(damaged)?;
            let mut free = 0;
            while !rest.is_empty() {
                let (_, part) = index_entry(&mut rest).ok_or_else(damaged)?;
                // A list that was made to name one part many times would unfold without bound.
                let end = part.end().filter(|_| part.offset >= free);
                free = end.ok_or_else(|| {
                    (index.offset, "its index has parts that do not follow each other".to_owned())
                })?;
                builder.add(&block(part, MAX_SMALL)?, part)?;
            }
        } else {
            builder.add(&top, index)?;
        }
        builder.end_run();
        if builder.end != bytes || builder.fences.sizes.len() as u64 != blocks {
            let what = format!(
                "its index has {} blocks up to byte {}; {blocks} up to byte {bytes} are needed",
                builder.fences.sizes.len(),
                builder.end
            );
            return Err((index.offset, what));
        }
        Ok(builder.fences)
    }

    pub(super) fn block_count(&self) -> usize {
        self.sizes.len()
    }

    #[cfg(test)]
    pub(super) fn handles(&self) -> Vec<Handle> {
        let mut offset = 0;
        let handle = |size: &u32| {
            let handle = Handle { offset, size: u64::from(*size) };
            offset = handle.end().unwrap();
            handle
        };
        self.sizes.iter().map(handle).collect()
    }

    /// The first block of the first run that may have `key` or a larger one, and where it is; None
    /// when there is none.
    pub(super) fn find(&self, key: Ordinal) -> Option<(usize, u64)> {
        let run = self.runs.partition_point(|run| run.last < key);
        self.runs.get(run).map(|found| (run * RUN, found.offset))
    }

    /// The blocks to look for a key in, and where the first one is: mostly one block, sometimes
    /// more. A block that has a larger key ends the search. `near` is a run to begin with, and
    /// becomes the key's run: ascending keys are looked for faster one after the other.
    pub(super) fn find_key(&self, key: Ordinal, near: &mut usize) -> Option<(Range<usize>, u64)> {
        let run = first_not(self.runs.len(), *near, |run| self.runs[run].last < key);
        *near = run;
        let found = self.runs.get(run).filter(|_| key >= self.first)?;
        let begin = run * RUN;
        let parts = &self.parts[begin..(begin + RUN).min(self.parts.len())];
        let part = part_of(key, self.low(run), found.last);
        let before = parts.iter().position(|last| *last >= part)?;
        let same = parts[before..].iter().take_while(|last| **last == part).count();
        let end = (before + same + 1).min(parts.len());
        let bytes: u64 = (begin..begin + before).map(|block| self.size(block) as u64).sum();
        Some((begin + before..begin + end, found.offset + bytes))
    }

    /// No key of a run is smaller.
    fn low(&self, run: usize) -> Ordinal {
        run.checked_sub(1).map_or(self.first, |before| self.runs[before].last)
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.sizes.len() * (size_of::<u32>() + size_of::<u16>())
            + self.runs.len() * size_of::<Run>()
    }

    /// Bytes of memory for so many blocks.
    pub(super) fn bytes_of(blocks: u64) -> u64 {
        let runs = blocks.div_ceil(RUN as u64).saturating_mul(size_of::<Run>() as u64);
        runs.saturating_add(blocks.saturating_mul((size_of::<u32>() + size_of::<u16>()) as u64))
    }

    /// The first block that has no key below `end`, as far as the fences tell.
    pub(super) fn end_before(&self, end: Ordinal) -> usize {
        let run = self.runs.partition_point(|run| run.last < end);
        ((run + 1) * RUN).min(self.sizes.len())
    }

    /// The bytes of a block with its trailer.
    pub(super) fn size(&self, block: usize) -> usize {
        self.sizes[block] as usize + TRAILER
    }

    /// The bytes of a block and of those that follow it before `end`: up to `wanted` bytes, or the
    /// one block.
    pub(super) fn bytes_from(&self, block: usize, end: usize, wanted: usize) -> usize {
        let mut bytes = self.size(block);
        for next in block + 1..end {
            match bytes + self.size(next) {
                more if more <= wanted => bytes = more,
                _ => break,
            }
        }
        bytes
    }

    /// Whether keys from `first` to `last` may be those of a block.
    pub(super) fn may_have(&self, block: usize, first: Ordinal, last: Ordinal) -> bool {
        let run = block / RUN;
        let is_above = match run.checked_sub(1).map(|before| self.runs[before].last) {
            Some(before) if self.may_share_keys => first >= before,
            Some(before) => first > before,
            None => true,
        };
        is_above && last <= self.runs[run].last
    }
}

/// The first index below `len` that is not before what is looked for; `len` if there is none. It is
/// looked for around `near`.
#[inline]
pub(super) fn first_not(len: usize, near: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    let mut step = 1;
    if near < len && is_before(near) {
        low = near + 1;
        while low + step - 1 < len {
            let probe = low + step - 1;
            if !is_before(probe) {
                high = probe;
                break;
            }
            low = probe + 1;
            step *= 2;
        }
    } else {
        high = near.min(len);
        while high > 0 {
            let probe = high.saturating_sub(step);
            if is_before(probe) {
                low = probe + 1;
                break;
            }
            high = probe;
            step *= 2;
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

struct Builder {
    fences: Fences,
    /// How many blocks there should be.
    blocks: u64,
    /// The first byte behind the blocks so far.
    end: u64,
    last: Option<Ordinal>,
    /// The last keys of the blocks of the last run.
    run: Vec<Ordinal>,
}

impl Builder {
    /// Adds the blocks of an index, or of a part of one.
    fn add(&mut self, index: &[u8], place: Handle) -> Result<(), (u64, String)> {
        let damaged = |what: &str| (place.offset, format!("its index {what}"));
        let mut rest = entries_part(index).ok_or_else(|| damaged("is damaged"))?;
        let may_share_keys = self.fences.may_share_keys;
        while !rest.is_empty() {
            let (key, handle) = index_entry(&mut rest).ok_or_else(|| damaged("is damaged"))?;
            let last = last_key(key, may_share_keys)
                .ok_or_else(|| damaged("has a key that is not a row's"))?;
            let is_next = handle.offset == self.end && handle.size <= MAX_DATA;
            let end = handle.end().filter(|end| is_next && *end <= place.offset);
            let block = self.fences.sizes.len();
            if block as u64 == self.blocks {
                return Err(damaged("has more blocks than the file"));
            }
            self.end = end.ok_or_else(|| damaged("has blocks that do not follow each other"))?;
            let is_ascending = self
                .last
                .is_none_or(|before| if may_share_keys { before <= last } else { before < last });
            if !is_ascending {
                return Err(damaged("has keys that are not ascending"));
            }
            self.last = Some(last);
            if block.is_multiple_of(RUN) {
                self.end_run();
                self.fences.runs.push(Run { offset: handle.offset, last });
            }
            self.run.push(last);
            self.fences.sizes.push(handle.size as u32);
        }
        Ok(())
    }

    /// Ends the last run. No block of it follows.
    fn end_run(&mut self) {
        let fences = &mut self.fences;
        let (Some(last), Some(run)) = (self.run.last().copied(), fences.runs.last_mut()) else {
            return;
        };
        run.last = last;
        let low = fences.low(fences.runs.len() - 1);
        fences.parts.extend(self.run.drain(..).map(|key| part_of(key, low, last)));
    }
}

/// Where a key is between two others, as 16 bits. Of two keys the larger one's bits are not
/// smaller.
fn part_of(key: Ordinal, low: Ordinal, high: Ordinal) -> u16 {
    let bits = Ordinal::BITS - high.saturating_sub(low).leading_zeros();
    let part = key.saturating_sub(low) >> bits.saturating_sub(u16::BITS);
    part.min(u16::MAX.into()) as u16
}

/// The largest key of a row that is not above a key of an index. RocksDB cuts keys of indexes
/// short, and a shorter key comes before all keys that begin with it.
pub(super) fn last_key(bytes: &[u8], has_suffix: bool) -> Option<Ordinal> {
    let bytes = match has_suffix {
        true => bytes.split_last_chunk::<SUFFIX>()?.0,
        false => bytes,
    };
    let mut full = [0; KEY_LEN];
    full.get_mut(..bytes.len())?.copy_from_slice(bytes);
    let key = key::ordinal(&full);
    if bytes.len() == KEY_LEN { Some(key) } else { key.checked_sub(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_index_is_found_from_any_other() {
        for len in 0..40 {
            for wanted in 0..=len {
                for near in 0..len + 3 {
                    assert_eq!(first_not(len, near, |index| index < wanted), wanted);
                }
            }
        }
    }

    #[test]
    fn a_short_key_is_before_all_that_begin_with_it() {
        let full = key::encode(3, 7);
        assert_eq!(last_key(&full, false), Some(key::ordinal(&full)));
        let cut = last_key(&full[..4], false).unwrap();
        let mut first = [0; KEY_LEN];
        first[..4].copy_from_slice(&full[..4]);
        assert_eq!(cut + 1, key::ordinal(&first));
        assert_eq!(last_key(&[0; 4], false), None);
        assert_eq!(last_key(&[1; KEY_LEN + 1], false), None);
        assert_eq!(last_key(&[1; SUFFIX - 1], true), None);
    }
}
