//! A part of a step: where its keys are among its group's, and its bags if it has them.

use crate::bags::{Bags, Offsets, Pooling};
use crate::error::{Error, Result};
use crate::kernels::{Rows, RowsMut};
use crate::memory::{refill, reserve};

/// The bags of a part, as the caller gives them.
#[derive(Clone, Copy, Debug)]
pub struct GivenBags<'a> {
    /// Where they begin.
    pub offsets: Offsets<'a>,
    /// How rows become one.
    pub pooling: Pooling,
    /// One a key, for [`Pooling::Sum`].
    pub weights: Option<&'a [f32]>,
}

#[derive(Default, Debug)]
pub(super) struct Part {
    /// The number of its group in the step.
    pub(super) group: usize,
    /// The index of its first key there.
    pub(super) first: usize,
    pub(super) len: usize,
    /// How rows become one; None: a row a key.
    pooling: Option<Pooling>,
    offsets: Vec<i64>,
    has_last: bool,
    weights: Vec<f32>,
    has_weights: bool,
    padding: Option<i64>,
    /// With `Max`: the entry that has each column's largest value, since the latest lookup or peek.
    winners: Vec<u32>,
    has_winners: bool,
}

impl Part {
    /// Makes this a part with these keys.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for bags that are none; `OUT_OF_MEMORY`.
    pub(super) fn set(
        &mut self,
        padding: Option<i64>,
        keys: &[i64],
        bags: Option<GivenBags<'_>>,
    ) -> Result<()> {
        self.len = keys.len();
        self.padding = padding;
        self.offsets.clear();
        self.weights.clear();
        (self.pooling, self.has_weights, self.has_winners) = (None, false, false);
        let Some(GivenBags { offsets, pooling, weights }) = bags else { return Ok(()) };
        Bags::new(keys, offsets, pooling, weights, padding)?;
        reserve(&mut self.offsets, offsets.offsets.len())?;
        self.offsets.extend_from_slice(offsets.offsets);
        if let Some(weights) = weights {
            reserve(&mut self.weights, weights.len())?;
            self.weights.extend_from_slice(weights);
        }
        self.has_weights = weights.is_some();
        (self.has_last, self.pooling) = (offsets.has_last, Some(pooling));
        Ok(())
    }

    /// Notes that the entries with the largest values are not known.
    pub(super) fn forget_winners(&mut self) {
        self.has_winners = false;
    }

    pub(super) fn has_bags(&self) -> bool {
        self.pooling.is_some()
    }

    /// How many rows of output it has: one a key, or one a bag.
    pub(super) fn rows(&self) -> usize {
        match self.pooling {
            None => self.len,
            Some(_) => self.offsets.len() - usize::from(self.has_last),
        }
    }

    /// Whether the gradient of an output's row goes to a key.
    pub(super) fn has_entry(&self, keys: &[i64], row: usize) -> bool {
        let keys = self.keys(keys);
        let counts = |key: &i64| Some(*key) != self.padding;
        match self.pooling {
            None => counts(&keys[row]),
            Some(_) => {
                let begin = self.offsets[row] as usize;
                let end = self.offsets.get(row + 1).map_or(keys.len(), |end| *end as usize);
                keys[begin..end].iter().any(counts)
            }
        }
    }

    /// Its keys among those of the group.
    fn keys<'k>(&self, keys: &'k [i64]) -> &'k [i64] {
        &keys[self.first..self.first + self.len]
    }

    /// The bags of `keys`, its own.
    fn bags<'a>(&'a self, keys: &'a [i64], pooling: Pooling) -> Result<Bags<'a>> {
        let offsets = Offsets { offsets: &self.offsets, has_last: self.has_last };
        let weights = self.has_weights.then_some(&*self.weights);
        Bags::new(keys, offsets, pooling, weights, self.padding)
    }

    /// Writes its rows to `outputs`. `keys` and `weights` are the group's.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn forward(
        &mut self,
        keys: &[i64],
        weights: &[f32],
        mut outputs: RowsMut<'_>,
    ) -> Result<()> {
        let dim = outputs.dim();
        let weights = &weights[self.first * dim..(self.first + self.len) * dim];
        let Some(pooling) = self.pooling else {
            for (index, row) in weights.chunks_exact(dim).enumerate() {
                outputs.row(index).copy_from_slice(row);
            }
            return Ok(());
        };
        let mut winners = std::mem::take(&mut self.winners);
        if pooling == Pooling::Max {
            refill(&mut winners, 0, self.rows() * dim)?;
        }
        let rows = Rows::new(weights, dim, dim)?;
        self.bags(self.keys(keys), pooling)?.forward(&rows, outputs, Some(&mut winners))?;
        (self.winners, self.has_winners) = (winners, true);
        Ok(())
    }

    /// Writes the gradients of its keys to `of_keys`, which are the group's.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for pooling "max" if the part was never read.
    pub(super) fn backward(
        &self,
        number: usize,
        keys: &[i64],
        gradients: Rows<'_>,
        of_keys: &mut [f32],
    ) -> Result<()> {
        let dim = gradients.dim();
        let of_keys = &mut of_keys[self.first * dim..(self.first + self.len) * dim];
        let Some(pooling) = self.pooling else {
            for (index, row) in of_keys.chunks_exact_mut(dim).enumerate() {
                row.copy_from_slice(gradients.row(index));
            }
            return Ok(());
        };
        if pooling == Pooling::Max && !self.has_winners {
            return Err(Error::invalid(format!(
                "part {number} has pooling 'max' and was not looked up since it was added; look \
                 the step up first"
            )));
        }
        let winners = (pooling == Pooling::Max).then_some(&*self.winners);
        let of_entries = RowsMut::new(of_keys, dim, dim)?;
        self.bags(self.keys(keys), pooling)?.backward(gradients, winners, of_entries)
    }
}
