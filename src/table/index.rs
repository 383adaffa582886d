//! Builds the index of a group while its rows go by, in constant memory and the same way every time.
//!
//! Each row leaves a hash of 42 bits. Slots are filled in the order of (hash, row), each row taking the first free slot from
//! its home on; homes grow with the hash, so slots are written from the first to the last without looking back.
//! Two million rows are held and sorted; those of a larger group are divided by the first bits of their hash and put into a
//! scratch file as runs, and then sorted part by part.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::file::NewFile;
use super::hash::{HASH_BITS, Shape, hash};
use super::output::Output;
use crate::error::Result;
use crate::memory::reserve;

/// Rows of a run: 16 MiB, and as much again while it is divided.
const RUN: usize = 1 << 21;
/// A hash and the row's number within its run share 64 bits.
const LOCAL_BITS: u32 = u64::BITS - HASH_BITS;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;
const PART_BITS: u32 = 10;
const PARTS: usize = 1 << PART_BITS;
/// The bits of a hash behind those that all of a part share.
const REST_BITS: u32 = HASH_BITS - PART_BITS;
/// Slots that are handed on at once.
const BATCH: usize = 16 << 10;

/// The rows of one group so far.
#[derive(Default)]
pub(super) struct IndexBuilder {
    /// Hash, then number within the run.
    run: Vec<u64>,
    /// Room for a run that is divided.
    divided: Vec<u64>,
    /// Rows in earlier runs.
    before: u64,
    spill: Option<Spill>,
}

/// Runs on disk. Each has its entries part by part.
struct Spill {
    file: File,
    runs: Vec<Run>,
}

struct Run {
    /// Number of its first row.
    first: u64,
    /// Where each part ends, in entries from the run's beginning.
    ends: Box<[u32; PARTS]>,
}

impl IndexBuilder {
    pub(super) fn rows(&self) -> u64 {
        self.before + self.run.len() as u64
    }

    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn add(&mut self, keys: impl ExactSizeIterator<Item = i64>, near: &NewFile) -> Result<()> {
        let mut keys = keys;
        while keys.len() > 0 {
            if self.run.len() == RUN {
                self.spill(near)?;
            }
            let len = keys.len().min(RUN - self.run.len());
            let local = self.run.len() as u64;
            reserve(&mut self.run, len)?;
            let entries = keys.by_ref().take(len).zip(local..);
            self.run.extend(entries.map(|(key, local)| hash(key) << LOCAL_BITS | local));
        }
        Ok(())
    }

    /// Writes the slots, from the first to the last, and is empty again. Returns how many there are, and how many of
    /// them are homes.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(u64, u64)> {
        let rows = self.rows();
        let homes = Shape::homes_for(rows);
        if self.spill.is_some() {
            self.spill(output.file())?;
        }
        let mut slots = Slots { shape: Shape::new(rows, homes), next: 0, batch: Vec::new(), output };
        reserve(&mut slots.batch, BATCH)?;
        match self.spill.take() {
            None => {
                self.run.sort_unstable();
                for entry in self.run.drain(..) {
                    slots.place(entry >> LOCAL_BITS, entry & LOCAL_MASK)?;
                }
            }
            Some(spill) => {
                let mut part = Vec::new();
                for number in 0..PARTS {
                    spill.read_part(number, &mut part, slots.output.file())?;
                    part.sort_unstable();
                    let first_bits = (number as u64) << REST_BITS;
                    for entry in &part {
                        slots.place(first_bits | entry >> 32, entry & u64::from(u32::MAX))?;
                    }
                }
            }
        }
        self.before = 0;
        slots.fill_up(homes)?;
        slots.hand_on()?;
        Ok((slots.next, homes))
    }

    /// Puts the run into the scratch file, divided into parts.
    fn spill(&mut self, near: &NewFile) -> Result<()> {
        let part_of = |entry: u64| (entry >> (LOCAL_BITS + REST_BITS)) as usize & (PARTS - 1);
        let mut starts = Box::new([0_u32; PARTS]);
        self.run.iter().for_each(|entry| starts[part_of(*entry)] += 1);
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += *start;
            *start = sum - *start;
        }
        self.divided.clear();
        reserve(&mut self.divided, self.run.len())?;
        self.divided.resize(self.run.len(), 0);
        for entry in self.run.drain(..) {
            let place = &mut starts[part_of(entry)];
            self.divided[*place as usize] = entry;
            *place += 1;
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill { file: near.scratch()?, runs: Vec::new() }),
        };
        let (first, ends) = (self.before, starts);
        let written = spill.file.write_all_at(bytemuck::cast_slice(&self.divided), first * 8);
        written.map_err(|error| near.failed("be written (its index, on the way)", &error))?;
        self.before += self.divided.len() as u64;
        spill.runs.push(Run { first, ends });
        Ok(())
    }
}

impl Spill {
    /// The rows of a part: the rest of the hash, then the row's number.
    fn read_part(&self, number: usize, part: &mut Vec<u64>, near: &NewFile) -> Result<()> {
        let range = |run: &Run| {
            let start = if number == 0 { 0 } else { run.ends[number - 1] };
            start as usize..run.ends[number] as usize
        };
        let len = self.runs.iter().map(|run| range(run).len()).sum();
        part.clear();
        reserve(part, len)?;
        part.resize(len, 0);
        let mut rest = part.as_mut_slice();
        for run in &self.runs {
            let range = range(run);
            let (entries, later) = rest.split_at_mut(range.len());
            rest = later;
            let start = (run.first + range.start as u64) * 8;
            let read = self.file.read_exact_at(bytemuck::cast_slice_mut(entries), start);
            read.map_err(|error| near.failed("be written (its index, on the way)", &error))?;
            for entry in entries {
                let row = run.first + (*entry & LOCAL_MASK);
                // The first bits go out to the left.
                *entry = (*entry << PART_BITS >> 32) << 32 | row;
            }
        }
        Ok(())
    }
}

/// The slots on their way out.
struct Slots<'a> {
    shape: Shape,
    /// The first slot that is free.
    next: u64,
    batch: Vec<u32>,
    output: &'a mut Output,
}

impl Slots<'_> {
    #[inline]
    fn place(&mut self, hash: u64, row: u64) -> Result<()> {
        let home = self.shape.home(hash);
        if home > self.next {
            self.fill_up(home)?;
        }
        self.push(self.shape.slot(hash, row as u32))
    }

    fn fill_up(&mut self, end: u64) -> Result<()> {
        while self.next < end {
            self.push(0)?;
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, slot: u32) -> Result<()> {
        if self.batch.len() == BATCH {
            self.hand_on()?;
        }
        self.batch.push(slot.to_le());
        self.next += 1;
        Ok(())
    }

    fn hand_on(&mut self) -> Result<()> {
        self.output.write(bytemuck::cast_slice(&self.batch))?;
        self.batch.clear();
        Ok(())
    }
}
