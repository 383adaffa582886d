//! Builds the index of a group while its rows are written, in constant memory and the same way
//! every time.
//!
//! Each row leaves a hash of 42 bits. Rows take slots in the order of their homes; rows of one home
//! keep their own order. Each takes the first free slot from its home on. Homes grow with the hash.
//! So once the rows are divided by the first bits of their hash, slots are made part by part by
//! counting, and nothing is sorted. Two million rows are held in memory; the rows of a larger group
//! are divided and written to a scratch file as runs.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::file::PartialFile;
use super::hash::{HASH_BITS, IndexShape, PART_BITS, hash};
use super::output::SectionOutput;
use crate::error::Result;
use crate::memory::reserve;

/// Rows of a run: 16 MiB, and as much again while the run is divided.
const RUN: usize = 1 << 21;
/// A hash and the row's index within its run share 64 bits.
const LOCAL_BITS: u32 = u64::BITS - HASH_BITS;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;
const PARTS: usize = 1 << PART_BITS;
/// The bits of a hash behind those that all of a part share.
const REST_BITS: u32 = HASH_BITS - PART_BITS;
/// Bits of a row's index: those beside the rest of a hash.
const ROW_BITS: u32 = u64::BITS - REST_BITS;

/// The rows of one group so far.
#[derive(Default)]
pub(super) struct IndexBuilder {
    /// Hash in the upper bits, index within the run in the lower.
    run: Vec<u64>,
    /// The run, divided into parts.
    divided: Vec<u64>,
    /// Rows in earlier runs.
    before: u64,
    spill: Option<Spill>,
    /// One part: the rest of the hash in the upper bits, the row's index in the lower.
    part: Vec<u64>,
    slots: Slots,
}

/// Runs on disk, each divided into parts.
struct Spill {
    file: File,
    runs: Vec<Run>,
}

struct Run {
    /// The index of its first row.
    first: u64,
    ends: Ends,
}

/// Where each part ends, in entries from the run's beginning.
type Ends = Box<[u32; PARTS]>;

impl IndexBuilder {
    /// Adds the next rows' keys.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn add(
        &mut self,
        keys: impl ExactSizeIterator<Item = i64>,
        near: &PartialFile,
    ) -> Result<()> {
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

    /// Writes all slots in order and empties the builder. Returns the number of slots and of homes.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn finish(&mut self, output: &mut SectionOutput) -> Result<(u64, u64)> {
        let rows = self.before + self.run.len() as u64;
        let homes = IndexShape::homes_for(rows);
        let shape = IndexShape::new(rows, homes);
        self.slots.next = 0;
        if self.spill.is_some() {
            self.spill(output.file())?;
        }
        if let Some(spill) = self.spill.take() {
            for number in 0..PARTS {
                self.part.clear();
                spill.read_part(number, &mut self.part, output.file())?;
                self.place_part(number, shape, homes, output)?;
            }
        } else if IndexShape::is_divided(rows) {
            let ends = self.divide()?;
            let mut start = 0;
            for (number, end) in ends.iter().enumerate() {
                let entries = &self.divided[start..*end as usize];
                start = *end as usize;
                self.part.clear();
                reserve(&mut self.part, entries.len())?;
                self.part.extend(entries.iter().map(|entry| repack(*entry, 0)));
                self.place_part(number, shape, homes, output)?;
            }
        } else {
            let entries = self.run.iter().map(|entry| (entry >> LOCAL_BITS, entry & LOCAL_MASK));
            self.slots.place(entries, 0..homes, shape, output)?;
        }
        self.run.clear();
        self.before = 0;
        self.slots.fill_up(homes, output)?;
        Ok((self.slots.next, homes))
    }

    fn place_part(
        &mut self,
        number: usize,
        shape: IndexShape,
        homes: u64,
        output: &mut SectionOutput,
    ) -> Result<()> {
        let (number, parts) = (number as u64, PARTS as u64);
        let first_bits = number << REST_BITS;
        let entries = self
            .part
            .iter()
            .map(|entry| (first_bits | entry >> ROW_BITS, entry & ((1 << ROW_BITS) - 1)));
        self.slots.place(
            entries,
            homes / parts * number..homes / parts * (number + 1),
            shape,
            output,
        )
    }

    /// Moves the run to `divided`, part by part; within a part rows keep their order.
    fn divide(&mut self) -> Result<Ends> {
        let part_of = |entry: u64| (entry >> (LOCAL_BITS + REST_BITS)) as usize & (PARTS - 1);
        let mut ends = Box::new([0_u32; PARTS]);
        self.run.iter().for_each(|entry| ends[part_of(*entry)] += 1);
        let mut sum = 0;
        for start in ends.iter_mut() {
            sum += *start;
            *start = sum - *start;
        }
        self.divided.clear();
        reserve(&mut self.divided, self.run.len())?;
        self.divided.resize(self.run.len(), 0);
        for entry in self.run.drain(..) {
            let place = &mut ends[part_of(entry)];
            self.divided[*place as usize] = entry;
            *place += 1;
        }
        Ok(ends)
    }

    /// Writes the run to the scratch file.
    fn spill(&mut self, near: &PartialFile) -> Result<()> {
        let ends = self.divide()?;
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => self.spill.insert(Spill { file: near.scratch()?, runs: Vec::new() }),
        };
        let first = self.before;
        let written = spill.file.write_all_at(bytemuck::cast_slice(&self.divided), first * 8);
        written.map_err(|error| near.failed("be written (its index, on the way)", &error))?;
        self.before += self.divided.len() as u64;
        reserve(&mut spill.runs, 1)?;
        spill.runs.push(Run { first, ends });
        Ok(())
    }
}

/// Converts an entry of a run (hash, index within the run) to one of a part (rest of the hash,
/// row's index).
#[inline(always)]
fn repack(entry: u64, first: u64) -> u64 {
    entry << PART_BITS >> (PART_BITS + LOCAL_BITS) << ROW_BITS | (first + (entry & LOCAL_MASK))
}

impl Spill {
    fn read_part(&self, number: usize, part: &mut Vec<u64>, near: &PartialFile) -> Result<()> {
        let range = |run: &Run| {
            let start = if number == 0 { 0 } else { run.ends[number - 1] };
            start as usize..run.ends[number] as usize
        };
        let len = self.runs.iter().map(|run| range(run).len()).sum();
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
            entries.iter_mut().for_each(|entry| *entry = repack(*entry, run.first));
        }
        Ok(())
    }
}

/// Slots that are being written.
#[derive(Default)]
struct Slots {
    /// The first slot that is not written yet.
    next: u64,
    /// For each home: first its number of rows, then the slot of its next row.
    places: Vec<u32>,
    batch: Vec<u32>,
}

impl Slots {
    /// Writes the slots of all rows with these homes; `rows` are hashes and row indexes in row
    /// order.
    fn place(
        &mut self,
        rows: impl Iterator<Item = (u64, u64)> + Clone,
        homes: std::ops::Range<u64>,
        shape: IndexShape,
        output: &mut SectionOutput,
    ) -> Result<()> {
        self.places.clear();
        reserve(&mut self.places, (homes.end - homes.start) as usize)?;
        self.places.resize((homes.end - homes.start) as usize, 0);
        for (hash, _) in rows.clone() {
            self.places[(shape.home(hash) - homes.start) as usize] += 1;
        }
        let mut free = self.next;
        for (home, place) in homes.clone().zip(&mut self.places) {
            let (count, start) = (*place, free.max(home));
            *place = (start - self.next) as u32;
            // A select and no branch, which would be mispredicted: whether a home has rows is
            // random.
            free = if count > 0 { start + u64::from(count) } else { free };
        }
        self.batch.clear();
        reserve(&mut self.batch, (free - self.next) as usize)?;
        self.batch.resize((free - self.next) as usize, 0);
        for (hash, row) in rows {
            let place = &mut self.places[(shape.home(hash) - homes.start) as usize];
            self.batch[*place as usize] = shape.slot(hash, row as u32).to_le();
            *place += 1;
        }
        self.next = free;
        output.write(bytemuck::cast_slice(&self.batch))
    }

    fn fill_up(&mut self, end: u64, output: &mut SectionOutput) -> Result<()> {
        for _ in self.next..end {
            output.write(&[0; 4])?;
        }
        self.next = self.next.max(end);
        Ok(())
    }
}
