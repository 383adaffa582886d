//! Builds the index of a group while its rows go by, in constant memory and the same way every time.
//!
//! Each row leaves a hash of 42 bits. Rows take slots in the order of their homes, those of one home in their own, each the
//! first free slot from its home on. Homes grow with the hash, so once the rows are divided by the first bits of it, slots
//! are made part by part from the first to the last, by counting, and nothing is sorted. Two million rows are held; those
//! of a larger group are divided and put into a scratch file as runs.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::file::NewFile;
use super::hash::{HASH_BITS, PART_BITS, Shape, hash};
use super::output::Output;
use crate::error::Result;
use crate::memory::reserve;

/// Rows of a run: 16 MiB, and as much again while it is divided.
const RUN: usize = 1 << 21;
/// A hash and the row's number within its run share 64 bits.
const LOCAL_BITS: u32 = u64::BITS - HASH_BITS;
const LOCAL_MASK: u64 = (1 << LOCAL_BITS) - 1;
const PARTS: usize = 1 << PART_BITS;
/// The bits of a hash behind those that all of a part share.
const REST_BITS: u32 = HASH_BITS - PART_BITS;
/// A row's number: what is left beside the rest of a hash.
const ROW_BITS: u32 = u64::BITS - REST_BITS;

/// The rows of one group so far.
#[derive(Default)]
pub(super) struct IndexBuilder {
    /// Hash, then number within the run.
    run: Vec<u64>,
    /// A run part by part.
    divided: Vec<u64>,
    /// Rows in earlier runs.
    before: u64,
    spill: Option<Spill>,
    /// One part: the rest of the hash, then the row's number.
    part: Vec<u64>,
    slots: Slots,
}

/// Runs on disk. Each has its entries part by part.
struct Spill {
    file: File,
    runs: Vec<Run>,
}

struct Run {
    /// Number of its first row.
    first: u64,
    ends: Ends,
}

/// Where each part ends, in entries from the run's beginning.
type Ends = Box<[u32; PARTS]>;

impl IndexBuilder {
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn add(
        &mut self,
        keys: impl ExactSizeIterator<Item = i64>,
        near: &NewFile,
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

    /// Writes the slots, from the first to the last, and is empty again. Returns how many there are, and how many of
    /// them are homes.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(u64, u64)> {
        let rows = self.before + self.run.len() as u64;
        let homes = Shape::homes_for(rows);
        let shape = Shape::new(rows, homes);
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
        } else if Shape::is_divided(rows) {
            let ends = self.divide()?;
            let mut start = 0;
            for (number, end) in ends.iter().enumerate() {
                let entries = self.divided.get(start..*end as usize).unwrap_or_default();
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
        shape: Shape,
        homes: u64,
        output: &mut Output,
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

    /// Moves the run to `divided`, part by part, each in the order of its rows.
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

    /// Puts the run into the scratch file.
    fn spill(&mut self, near: &NewFile) -> Result<()> {
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

/// From the hash and the number within a run to the rest of the hash and the row's number.
#[inline(always)]
fn repack(entry: u64, first: u64) -> u64 {
    entry << PART_BITS >> (PART_BITS + LOCAL_BITS) << ROW_BITS | (first + (entry & LOCAL_MASK))
}

impl Spill {
    fn read_part(&self, number: usize, part: &mut Vec<u64>, near: &NewFile) -> Result<()> {
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

/// Slots on their way out.
#[derive(Default)]
struct Slots {
    /// The first that is not written.
    next: u64,
    /// Of each home: first how many rows it has, then where the next of them goes.
    places: Vec<u32>,
    batch: Vec<u32>,
}

impl Slots {
    /// Writes the slots of all rows with these homes; `rows` are hashes and rows in the order of rows.
    fn place(
        &mut self,
        rows: impl Iterator<Item = (u64, u64)> + Clone,
        homes: std::ops::Range<u64>,
        shape: Shape,
        output: &mut Output,
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
            // Not a branch: whether a home has rows cannot be foreseen.
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

    fn fill_up(&mut self, end: u64, output: &mut Output) -> Result<()> {
        for _ in self.next..end {
            output.write(&[0; 4])?;
        }
        self.next = self.next.max(end);
        Ok(())
    }
}
