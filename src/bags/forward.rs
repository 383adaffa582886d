//! Forward: the rows of a bag's keys become one row.
//!
//! Columns are taken in blocks of 16, 4 and 1. The sums of a block stay in registers over all
//! entries of a bag, and the compiler makes vectors of a block.

use std::ops::Range;

use super::{Bags, EntryRows, NO_WINNER, Pooling};
use crate::error::{Error, Result};
use crate::kernels::RowsMut;

/// How many entries ahead of its use a row is prefetched.
const AHEAD: usize = 12;

impl Bags<'_> {
    /// Writes the pooled row of each bag to `outputs`.
    ///
    /// With `Max`, `winners` gets for each column of each bag the entry that has its largest value,
    /// the first one of several, or [`NO_WINNER`]: what `backward` asks for. None: nobody will.
    /// Other poolings have no winners, and leave them as they are.
    ///
    /// Sums are float32, added in the order of entries. A mean is the sum divided by the number.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for numbers of rows that do not fit the bags. Nothing is written.
    pub fn forward(
        &self,
        rows: &impl EntryRows,
        mut outputs: RowsMut<'_>,
        mut winners: Option<&mut [u32]>,
    ) -> Result<()> {
        let dim = outputs.dim();
        self.check_entries("rows", rows.count())?;
        self.check_bags("outputs", outputs.count())?;
        check_dims("rows", rows.dim(), "outputs", dim)?;
        if let (Pooling::Max, Some(winners)) = (self.pooling, &winners) {
            self.check_winners(winners.len(), dim)?;
        }
        for bag in 0..self.len() {
            let entries = self.entries(bag);
            entries.clone().for_each(|entry| rows.prefetch(entry + AHEAD));
            let output = outputs.row(bag);
            match (self.pooling, self.weights) {
                (Pooling::Sum, None) => self.sum(rows, &entries, output, |_| 1.0),
                (Pooling::Sum, Some(weights)) => {
                    self.sum(rows, &entries, output, |entry| weights[entry]);
                }
                (Pooling::Mean, _) => {
                    self.sum(rows, &entries, output, |_| 1.0);
                    let count = self.count(entries).max(1) as f32;
                    output.iter_mut().for_each(|sum| *sum /= count);
                }
                (Pooling::Max, _) => {
                    let winners =
                        winners.as_deref_mut().map(|all| &mut all[bag * dim..(bag + 1) * dim]);
                    self.max(rows, &entries, output, winners);
                }
            }
        }
        Ok(())
    }

    /// The weighted sum of a bag.
    #[inline(always)]
    fn sum(
        &self,
        rows: &impl EntryRows,
        entries: &Range<usize>,
        output: &mut [f32],
        weight: impl Fn(usize) -> f32 + Copy,
    ) {
        let mut first = 0;
        let (blocks, rest) = output.as_chunks_mut::<16>();
        for block in blocks {
            *block = self.sum_columns(rows, entries, first, weight);
            first += 16;
        }
        let (blocks, rest) = rest.as_chunks_mut::<4>();
        for block in blocks {
            *block = self.sum_columns(rows, entries, first, weight);
            first += 4;
        }
        for float in rest {
            [*float] = self.sum_columns(rows, entries, first, weight);
            first += 1;
        }
    }

    #[inline(always)]
    fn sum_columns<const N: usize>(
        &self,
        rows: &impl EntryRows,
        entries: &Range<usize>,
        first: usize,
        weight: impl Fn(usize) -> f32,
    ) -> [f32; N] {
        let mut sums = [0.0; N];
        for entry in entries.clone().filter(|entry| !self.is_padding(*entry)) {
            let (row, weight) = (columns::<N>(rows.row(entry), first), weight(entry));
            sums.iter_mut().zip(row).for_each(|(sum, float)| *sum += weight * float);
        }
        sums
    }

    /// The largest values of a bag, and the first entries that have them.
    fn max(
        &self,
        rows: &impl EntryRows,
        entries: &Range<usize>,
        output: &mut [f32],
        mut winners: Option<&mut [u32]>,
    ) {
        let (mut first, dim) = (0, output.len());
        while first < dim {
            let len = match dim - first {
                16.. => self.max_block::<16>(rows, entries, first, output, &mut winners),
                4.. => self.max_block::<4>(rows, entries, first, output, &mut winners),
                _ => self.max_block::<1>(rows, entries, first, output, &mut winners),
            };
            first += len;
        }
    }

    #[inline(always)]
    fn max_block<const N: usize>(
        &self,
        rows: &impl EntryRows,
        entries: &Range<usize>,
        first: usize,
        output: &mut [f32],
        winners: &mut Option<&mut [u32]>,
    ) -> usize {
        let (mut largest, mut winner) = ([0.0; N], [NO_WINNER; N]);
        let mut is_begun = false;
        for entry in entries.clone().filter(|entry| !self.is_padding(*entry)) {
            let row = columns::<N>(rows.row(entry), first);
            let has_won = |float: f32, largest: f32| !is_begun || float > largest;
            for column in 0..N {
                let wins = has_won(row[column], largest[column]);
                winner[column] = if wins { entry as u32 } else { winner[column] };
                largest[column] = if wins { row[column] } else { largest[column] };
            }
            is_begun = true;
        }
        output[first..first + N].copy_from_slice(&largest);
        if let Some(winners) = winners {
            winners[first..first + N].copy_from_slice(&winner);
        }
        N
    }
}

/// Some columns of a row.
#[inline(always)]
fn columns<const N: usize>(row: &[f32], first: usize) -> &[f32; N] {
    &row[first..first + N].as_chunks::<N>().0[0]
}

/// Refuses rows of two dims.
pub(super) fn check_dims(name: &str, dim: usize, other: &str, other_dim: usize) -> Result<()> {
    if dim == other_dim {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name} have dim {dim} and {other} dim {other_dim}; the same dim is needed"
    )))
}
