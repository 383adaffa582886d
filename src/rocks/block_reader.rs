//! BlockReader: reads the blocks of SST files in which rows are looked for.
//!
//! Blocks that the page cache has are read in place, from mapped files, as far as mappings have
//! room. The others are read by calls, since a call that fails is an error and no signal. A call
//! that does not wait reads what the page cache has. io_uring reads many at once, where the system
//! allows it. `pread` reads one after the other.

use std::ops::{AddAssign, Range};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[cfg(not(target_os = "linux"))]
use super::no_ring::{Left, Ring};
#[cfg(target_os = "linux")]
use super::ring::{Left, Ring};
use super::sst::{FileRead, SstLookup, bound_mapped, note_refused};
use crate::error::Result;
use crate::memory::{refill, reserve, room_for};
use crate::prefetch::prefetch_bytes;

/// The system is asked for all of so many blocks. Of more it is asked for a sample.
const FEW: usize = 16;
/// A sample is one block in this many.
const SAMPLE_PART: usize = 8;
/// The most blocks of a sample.
const MOST_SAMPLES: usize = 64;
/// Once the page cache has had this many blocks in a row, a sample is enough for few blocks, too.
const CONFIDENT: usize = 64;
/// The system is asked for each block if the page cache has one in this many of the sample.
const WARM_PART: usize = 4;
/// A mapped block is fetched this many blocks before it is looked at.
const AHEAD: usize = 3;
/// A ring is made for so many blocks. With fewer, it takes longer than it saves.
const MIN_FOR_RING: usize = 8;
/// A longer block is read without a ring, whose reads each have room for the longest.
const MAX_FOR_RING: usize = 128 << 10;
/// A call that takes no longer has not waited for the disk.
const QUICK_CALL: Duration = Duration::from_micros(5);
/// Reads in a ring that take less time each have not waited for the disk. If one waits, the
/// processor's part alone takes longer.
const QUICK_IN_RING: Duration = Duration::from_nanos(2_500);
/// How many calls are made before it is checked whether they were quick.
const QUICK_PIECE: usize = 16;
/// Bytes of the processor's cache lines.
const LINE: usize = 64;

/// How many blocks were read in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlockReads {
    pub(crate) mapped: usize,
    pub(crate) by_io_uring: usize,
    pub(crate) by_pread: usize,
}

impl BlockReads {
    pub(crate) fn all(self) -> usize {
        self.mapped + self.by_io_uring + self.by_pread
    }
}

impl AddAssign for BlockReads {
    fn add_assign(&mut self, more: BlockReads) {
        self.mapped += more.mapped;
        self.by_io_uring += more.by_io_uring;
        self.by_pread += more.by_pread;
    }
}

/// A block of a file.
pub(super) struct Block<'a> {
    pub(super) file: &'a SstLookup,
    pub(super) offset: u64,
    /// Its bytes, with its trailer.
    pub(super) len: usize,
    /// Which of the caller's asks it answers.
    pub(super) asks: Range<usize>,
}

impl<'a> Block<'a> {
    /// Whether the page cache has the block.
    fn is_cached(&self) -> bool {
        self.file.mapping().is_some_and(|mapping| mapping.has(self.offset, self.len))
    }

    /// Whether the system is asked for the block even if the page cache probably has it: one block
    /// in `SAMPLE_PART`.
    fn is_sample(&self) -> bool {
        let mixed = self.offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed.is_multiple_of(SAMPLE_PART as u64)
    }

    /// Whether the block was read from the mapped file before, or may be.
    fn has_room(&self) -> bool {
        self.file.mapping().is_some_and(|mapping| mapping.has_room(self.offset, self.len))
    }

    /// The block in the mapped file.
    fn mapped(&self) -> Option<&'a [u8]> {
        self.file.mapping().and_then(|mapping| mapping.bytes(self.offset, self.len))
    }
}

/// How much of some blocks the page cache has, by a sample.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cached {
    All,
    Some,
    Hardly,
}

pub(crate) struct BlockReader {
    /// Files may be mapped.
    maps: bool,
    /// How many of the latest answers in a row were that the page cache has the block, up to
    /// `CONFIDENT`.
    streak: AtomicUsize,
    /// Rings may be made, and the system has refused none so far.
    makes_rings: AtomicBool,
    /// Done once the first ring was made or refused.
    tried: Once,
    /// Blocks that were read by calls have not waited for the disk lately.
    is_quick: AtomicBool,
}

/// What reads the blocks of one batch.
pub(super) struct Reading<'a> {
    reader: &'a BlockReader,
    /// Made when it is first needed.
    ring: Option<Ring>,
    /// The system begins no more reads at the moment. The rest of the batch does without a ring.
    is_short: bool,
    pub(super) reads: BlockReads,
}

impl BlockReader {
    /// `maps`: files may be mapped. `makes_rings`: io_uring may be used.
    pub(crate) fn new(maps: bool, makes_rings: bool) -> BlockReader {
        BlockReader {
            maps,
            streak: AtomicUsize::new(0),
            makes_rings: AtomicBool::new(makes_rings),
            tried: Once::new(),
            is_quick: AtomicBool::new(false),
        }
    }

    /// Begins to read for a batch.
    pub(super) fn begin(&self) -> Reading<'_> {
        Reading { reader: self, ring: None, is_short: false, reads: BlockReads::default() }
    }

    /// Whether a thread may have many reads in flight. The first call makes a ring to find out.
    pub(super) fn makes_rings(&self) -> bool {
        self.tried.call_once(|| drop(self.make_ring()));
        self.makes_rings.load(Ordering::Relaxed)
    }

    /// A ring, if the system allows it.
    fn make_ring(&self) -> Option<Ring> {
        if !self.makes_rings.load(Ordering::Relaxed) {
            return None;
        }
        Ring::new().inspect_err(|_| self.note_refusal()).ok()
    }

    /// Remembers that the system refuses rings.
    pub(super) fn note_refusal(&self) {
        self.makes_rings.store(false, Ordering::Relaxed);
    }

    /// Whether the page cache has a block. Notes the answer.
    fn is_cached(&self, block: &Block<'_>) -> bool {
        let (is_cached, streak) = (block.is_cached(), self.streak.load(Ordering::Relaxed));
        if !is_cached {
            self.streak.store(0, Ordering::Relaxed);
        } else if streak < CONFIDENT {
            self.streak.store(streak + 1, Ordering::Relaxed);
        }
        is_cached
    }

    /// How much of the blocks the page cache has.
    fn cached(&self, blocks: &[Block<'_>]) -> Cached {
        if !self.maps {
            return Cached::Hardly;
        }
        let is_confident = self.streak.load(Ordering::Relaxed) >= CONFIDENT;
        let (mut asked, mut has) = (0, 0);
        let mut ask = |block: &Block<'_>| {
            asked += 1;
            has += usize::from(self.is_cached(block));
        };
        if is_confident {
            // Of all files alike: the blocks are in their order.
            let step = blocks.len().div_ceil(SAMPLE_PART * MOST_SAMPLES).max(1);
            blocks.iter().step_by(step).filter(|block| block.is_sample()).for_each(&mut ask);
        } else {
            let samples = (blocks.len() / SAMPLE_PART).clamp(FEW, MOST_SAMPLES);
            blocks.iter().step_by(blocks.len().div_ceil(samples)).for_each(&mut ask);
        }
        if has == asked && are_whole(blocks) {
            Cached::All
        } else if has * WARM_PART >= asked {
            Cached::Some
        } else {
            Cached::Hardly
        }
    }
}

impl Reading<'_> {
    /// Reads blocks, which are ordered by file. Hands each to `visit`, in any order; None for one
    /// that cannot be read.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; those of `visit`.
    pub(super) fn read<'a>(
        &mut self,
        blocks: &[Block<'a>],
        mut visit: impl FnMut(&Block<'a>, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        let mut mapped: Vec<(&Block<'a>, &'a [u8])> = room_for(blocks.len())?;
        let (mut near, mut others): (Vec<&Block<'a>>, Vec<&Block<'a>>) = (Vec::new(), Vec::new());
        let cached = self.reader.cached(blocks);
        for block in blocks {
            let is_near = cached != Cached::Hardly && !block.has_room();
            let is_cached = match cached {
                Cached::All => true,
                // Reading it tells.
                Cached::Some if is_near => false,
                Cached::Some => self.reader.is_cached(block),
                Cached::Hardly => false,
            };
            if let Some(bytes) = is_cached.then(|| block.mapped()).flatten() {
                mapped.push((block, bytes));
                continue;
            }
            let list = if is_near { &mut near } else { &mut others };
            if list.is_empty() {
                reserve(list, blocks.len())?;
            }
            list.push(block);
        }
        self.reads.mapped += mapped.len();
        for (index, (block, bytes)) in mapped.iter().enumerate() {
            let ahead = if index == 0 { 1..AHEAD + 1 } else { index + AHEAD..index + AHEAD + 1 };
            for (_, later) in ahead.filter_map(|later| mapped.get(later)) {
                prefetch_bytes(later, later.len() / LINE + 1);
            }
            visit(block, Some(bytes))?;
        }
        if !mapped.is_empty() {
            bound_mapped();
        }
        self.read_near(&near, &mut others, &mut visit)?;
        let done = self.read_quick(&others, &mut visit)?;
        others.drain(..done);
        if others.len() >= MIN_FOR_RING && !self.is_short {
            others = self.read_by_ring(others, &mut visit)?;
        }
        self.read_each(&others, &mut visit)
    }

    /// Reads the first blocks by `pread`, if the page cache probably has them and the system cannot
    /// be asked: a ring would be slower. Returns how many blocks it has read. It stops once reads
    /// wait for the disk.
    fn read_quick<'a>(
        &mut self,
        blocks: &[&Block<'a>],
        visit: &mut impl FnMut(&Block<'a>, Option<&[u8]>) -> Result<()>,
    ) -> Result<usize> {
        let can_ask = |block: &&Block<'_>| self.reader.maps && block.file.mapping().is_some();
        if !self.reader.is_quick.load(Ordering::Relaxed) || blocks.first().is_some_and(can_ask) {
            return Ok(0);
        }
        let mut done = 0;
        for piece in blocks.chunks(QUICK_PIECE) {
            let began = Instant::now();
            self.read_each(piece, visit)?;
            done += piece.len();
            if began.elapsed() > QUICK_CALL * piece.len() as u32 {
                self.reader.is_quick.store(false, Ordering::Relaxed);
                break;
            }
        }
        Ok(done)
    }

    /// Reads blocks that the page cache probably has, and that have no room in mappings. Adds those
    /// to `others` for which a call would wait.
    fn read_near<'b, 'a>(
        &mut self,
        blocks: &[&'b Block<'a>],
        others: &mut Vec<&'b Block<'a>>,
        visit: &mut impl FnMut(&Block<'a>, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        if blocks.is_empty() {
            return Ok(());
        }
        note_refused(blocks.len());
        reserve(others, blocks.len())?;
        let mut buffer = Vec::new();
        for block in blocks {
            refill(&mut buffer, 0, block.len)?;
            let part = block.file.part(block.offset, block.len);
            if part.is_some_and(|part| part.read_at_once(&mut buffer)) {
                self.reads.by_pread += 1;
                visit(block, Some(&buffer))?;
            } else {
                others.push(block);
            }
        }
        Ok(())
    }

    /// Reads blocks one after the other.
    fn read_each<'a>(
        &mut self,
        blocks: &[&Block<'a>],
        visit: &mut impl FnMut(&Block<'a>, Option<&[u8]>) -> Result<()>,
    ) -> Result<()> {
        self.reads.by_pread += blocks.len();
        let mut buffer = Vec::new();
        for block in blocks {
            let is_read = read_into(block, &mut buffer)?;
            visit(block, is_read.then_some(&buffer))?;
        }
        Ok(())
    }

    /// Reads blocks by a ring, and returns those that are still to be read, without one.
    fn read_by_ring<'b, 'a>(
        &mut self,
        blocks: Vec<&'b Block<'a>>,
        visit: &mut impl FnMut(&Block<'a>, Option<&[u8]>) -> Result<()>,
    ) -> Result<Vec<&'b Block<'a>>> {
        let Some(ring) = self.ring.take().or_else(|| self.reader.make_ring()) else {
            return Ok(blocks);
        };
        let mut reads: Vec<FileRead<'a>> = room_for(blocks.len())?;
        let mut read: Vec<&Block<'a>> = room_for(blocks.len())?;
        let mut others = room_for(blocks.len())?;
        for block in blocks {
            match block.file.part(block.offset, block.len) {
                Some(part) if part.len <= MAX_FOR_RING => {
                    reads.push(part);
                    read.push(block);
                }
                _ => others.push(block),
            }
        }
        self.reads.by_io_uring += reads.len();
        let began = Instant::now();
        let left = ring.read(&reads, |index, bytes| visit(read[index], bytes.ok()))?;
        if began.elapsed() < QUICK_IN_RING * reads.len() as u32 {
            self.reader.is_quick.store(true, Ordering::Relaxed);
        }
        match left {
            Left::Ring(ring) => self.ring = Some(ring),
            Left::Nothing => self.is_short = true,
            Left::Refusal => self.reader.note_refusal(),
        }
        Ok(others)
    }
}

/// Whether each of the files still has its length.
fn are_whole(blocks: &[Block<'_>]) -> bool {
    let mut files = blocks.chunk_by(|one, next| std::ptr::eq(one.file, next.file));
    files.all(|of_file| of_file[0].file.has_its_length())
}

/// Reads a block. False where it cannot be read.
///
/// # Errors
/// `OUT_OF_MEMORY`. Then RocksDB must not be asked: without memory it ends the process.
fn read_into(block: &Block<'_>, buffer: &mut Vec<u8>) -> Result<bool> {
    refill(buffer, 0, block.len)?;
    Ok(block.file.source().read_at(buffer, block.offset).is_ok())
}
