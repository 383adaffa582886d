//! Backward: the gradient of a pooled row becomes gradients of the rows of its keys.

use super::forward::check_dims;
use super::{Bags, EntryRows, NO_WINNER, Pooling};
use crate::error::{Error, Result};
use crate::kernels::{Rows, RowsMut};

impl Bags<'_> {
    /// Writes the gradient of each entry's row to `of_entries`. `gradients` has those of the
    /// outputs.
    ///
    /// - `Sum`: the bag's gradient, times the entry's weight if there are weights.
    /// - `Mean`: the bag's gradient divided by the number of entries that count.
    /// - `Max`: each column's gradient goes to its winner, the others get 0. `winners` are those
    ///   that `forward` has written; other poolings look at none.
    ///
    /// An entry that is padding gets zeros. Entries of one key are not added up.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for numbers of rows that do not fit the bags, for `Max` without winners,
    /// and for a winner that is not in its bag. Nothing is written.
    pub fn backward(
        &self,
        gradients: Rows<'_>,
        winners: Option<&[u32]>,
        mut of_entries: RowsMut<'_>,
    ) -> Result<()> {
        let dim = gradients.dim();
        self.check_bags("gradients", gradients.count())?;
        self.check_entries("gradients of entries", of_entries.count())?;
        check_dims("gradients", dim, "gradients of entries", of_entries.dim())?;
        if self.pooling == Pooling::Max {
            let winners = self.winners_of_bags(winners, dim)?;
            self.spread_to_winners(gradients, winners, &mut of_entries);
            return Ok(());
        }
        for bag in 0..self.len() {
            let (entries, gradient) = (self.entries(bag), gradients.row(bag));
            let divisor = match self.pooling {
                Pooling::Mean => self.count(entries.clone()).max(1) as f32,
                _ => 1.0,
            };
            for entry in entries {
                let of_entry = of_entries.row(entry);
                if self.is_padding(entry) {
                    of_entry.fill(0.0);
                    continue;
                }
                let weight = self.weights.map_or(1.0, |weights| weights[entry]);
                for (of_entry, gradient) in of_entry.iter_mut().zip(gradient) {
                    *of_entry = gradient * weight / divisor;
                }
            }
        }
        Ok(())
    }

    /// Writes the gradient of each entry's weight to `of_weights`: the product of the bag's
    /// gradient and the entry's row; 0 for padding. Added up in double precision.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for bags without weights, and for numbers of rows or weights that do not
    /// fit the bags. Nothing is written.
    pub fn weight_gradients(
        &self,
        rows: &impl EntryRows,
        gradients: Rows<'_>,
        of_weights: &mut [f32],
    ) -> Result<()> {
        if self.weights.is_none() {
            return Err(Error::invalid("the bags have no weights; there are no gradients of them"));
        }
        self.check_entries("rows", rows.count())?;
        self.check_bags("gradients", gradients.count())?;
        self.check_entries("gradients of weights", of_weights.len())?;
        check_dims("rows", rows.dim(), "gradients", gradients.dim())?;
        for bag in 0..self.len() {
            let gradient = gradients.row(bag);
            for entry in self.entries(bag) {
                of_weights[entry] = match self.is_padding(entry) {
                    true => 0.0,
                    false => product(rows.row(entry), gradient),
                };
            }
        }
        Ok(())
    }

    /// The winners, of which each must be in its bag.
    fn winners_of_bags<'w>(&self, winners: Option<&'w [u32]>, dim: usize) -> Result<&'w [u32]> {
        let winners = winners.ok_or_else(|| {
            Error::invalid("pooling is 'max' and there are no winners; those of forward are needed")
        })?;
        self.check_winners(winners.len(), dim)?;
        for (bag, winners) in winners.chunks_exact(dim).enumerate() {
            let entries = self.entries(bag);
            let is_empty = self.count(entries.clone()) == 0;
            let can_win = |entry| entries.contains(&entry) && !self.is_padding(entry);
            let is_wrong = |winner: &u32| match *winner {
                NO_WINNER => !is_empty,
                winner => !can_win(winner as usize),
            };
            if let Some(column) = winners.iter().position(is_wrong) {
                return Err(Error::invalid(format!(
                    "the winner of bag {bag}, column {column}, is {}; an entry of {entries:?} that \
                     is not padding is needed",
                    winners[column]
                )));
            }
        }
        Ok(winners)
    }

    fn spread_to_winners(
        &self,
        gradients: Rows<'_>,
        winners: &[u32],
        of_entries: &mut RowsMut<'_>,
    ) {
        let dim = gradients.dim();
        for (bag, winners) in winners.chunks_exact(dim).enumerate() {
            let gradient = gradients.row(bag);
            for entry in self.entries(bag) {
                let columns = of_entries.row(entry).iter_mut().zip(gradient).zip(winners);
                for ((of_entry, gradient), winner) in columns {
                    *of_entry = if *winner == entry as u32 { *gradient } else { 0.0 };
                }
            }
        }
    }
}

/// The product of two rows. Four lanes, so that the compiler makes vectors of them.
fn product(row: &[f32], gradient: &[f32]) -> f32 {
    const LANES: usize = 4;
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    let (other_chunks, other_rest) = gradient.as_chunks::<LANES>();
    for (chunk, other) in chunks.iter().zip(other_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]) * f64::from(other[lane]);
        }
    }
    let tail = rest.iter().zip(other_rest).map(|(one, other)| f64::from(*one) * f64::from(*other));
    (lanes.iter().sum::<f64>() + tail.sum::<f64>()) as f32
}
