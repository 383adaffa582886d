//! Bags: pooled (multi-hot) features. A bag is some consecutive keys of a batch, whose rows become
//! one row. What it means is what torch.nn.functional.embedding_bag does.
//!
//! - `forward` pools the rows of keys, `backward` spreads gradients of the pooled rows over keys.
//! - An **entry** is a key of the batch by its index: a key that is given twice is two entries.
//!
//! Knows arrays only: who looks rows up, and who applies gradients, gives rows by entry.

mod backward;
mod forward;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use rows::{EntryRows, Positioned};

use crate::error::{Error, Result};

/// The winner of a column, where no entry counts.
pub const NO_WINNER: u32 = u32::MAX;

/// How the rows of a bag become one. A bag without entries is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their sum, each times its weight if there are weights.
    Sum,
    /// Their mean.
    Mean,
    /// The largest value of each column.
    Max,
}

impl Pooling {
    /// The name in parameters and messages.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Sum => "sum",
            Pooling::Mean => "mean",
            Pooling::Max => "max",
        }
    }
}

/// Where bags begin.
#[derive(Clone, Copy, Debug)]
pub struct Offsets<'a> {
    /// The index of each bag's first key. The first is 0, and none is below the one before.
    pub offsets: &'a [i64],
    /// Whether one more follows, the number of keys: torch's `include_last_offset`.
    pub has_last: bool,
}

/// The bags of a batch, of one feature.
#[derive(Clone, Copy, Debug)]
pub struct Bags<'a> {
    keys: &'a [i64],
    /// The first entry of each bag.
    begins: &'a [i64],
    pooling: Pooling,
    /// One an entry.
    weights: Option<&'a [f32]>,
    padding: Option<i64>,
}

impl<'a> Bags<'a> {
    /// The bags of `keys`. `weights` are torch's `per_sample_weights`: one a key, for `Sum` only.
    /// The key `padding` counts for nothing: not in a sum, not as a mean's number, not as a largest
    /// value; and it gets no gradient.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for offsets that are not those of bags, for weights with another pooling
    /// or of another number, and for 2^32 - 1 keys and more.
    pub fn new(
        keys: &'a [i64],
        offsets: Offsets<'a>,
        pooling: Pooling,
        weights: Option<&'a [f32]>,
        padding: Option<i64>,
    ) -> Result<Bags<'a>> {
        let begins = begins(keys.len(), offsets)?;
        if keys.len() >= NO_WINNER as usize {
            return Err(Error::invalid(format!(
                "keys_len is {}; at most {} keys are accepted",
                keys.len(),
                NO_WINNER - 1
            )));
        }
        if let Some(weights) = weights {
            if pooling != Pooling::Sum {
                return Err(Error::invalid(format!(
                    "there are weights, and pooling is '{}'; weights go with 'sum' only",
                    pooling.name()
                )));
            }
            if weights.len() != keys.len() {
                return Err(Error::invalid(format!(
                    "weights_len is {} and keys_len is {}; one weight a key is needed",
                    weights.len(),
                    keys.len()
                )));
            }
        }
        Ok(Bags { keys, begins, pooling, weights, padding })
    }

    /// How many bags there are.
    pub fn len(&self) -> usize {
        self.begins.len()
    }

    /// Whether there are no bags.
    pub fn is_empty(&self) -> bool {
        self.begins.is_empty()
    }

    /// The keys of all bags.
    pub fn keys(&self) -> &'a [i64] {
        self.keys
    }

    /// How rows become one.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The entries of a bag, padding included.
    ///
    /// # Panics
    /// If there is no such bag.
    #[inline(always)]
    pub fn entries(&self, bag: usize) -> Range<usize> {
        let end = self.begins.get(bag + 1).map_or(self.keys.len(), |end| *end as usize);
        self.begins[bag] as usize..end
    }

    /// Whether an entry is padding.
    ///
    /// # Panics
    /// If there is no such entry.
    #[inline(always)]
    pub fn is_padding(&self, entry: usize) -> bool {
        Some(self.keys[entry]) == self.padding
    }

    /// How many of these entries are not padding.
    fn count(&self, entries: Range<usize>) -> usize {
        match self.padding {
            None => entries.len(),
            Some(padding) => self.keys[entries].iter().filter(|key| **key != padding).count(),
        }
    }

    /// Refuses rows of another number than bags. `name` is the buffer's.
    fn check_bags(&self, name: &str, rows: usize) -> Result<()> {
        if rows == self.len() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name} has {rows} rows and there are {} bags; one row a bag is needed",
            self.len()
        )))
    }

    /// Refuses something of another number than keys. `name` is the buffer's.
    fn check_entries(&self, name: &str, given: usize) -> Result<()> {
        if given == self.keys.len() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{name} are {given} and keys_len is {}; one a key is needed",
            self.keys.len()
        )))
    }

    /// Refuses winners of another number than columns of all bags.
    fn check_winners(&self, winners: usize, dim: usize) -> Result<()> {
        if self.len().checked_mul(dim) == Some(winners) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "winners_len is {winners}; {} bags x dim {dim} are needed",
            self.len()
        )))
    }
}

/// The first entry of each bag.
fn begins(keys: usize, Offsets { offsets, has_last }: Offsets<'_>) -> Result<&[i64]> {
    let mut low = 0;
    for (index, &offset) in offsets.iter().enumerate() {
        let high = if index == 0 { 0 } else { keys as i64 };
        if !(low..=high).contains(&offset) {
            let reason = match index {
                0 => "the first bag begins at key 0",
                _ => "a bag begins where the one before ends, within the keys",
            };
            return Err(Error::invalid(format!(
                "offsets[{index}] is {offset}; {low} to {high} is needed: {reason}"
            )));
        }
        low = offset;
    }
    match (has_last, offsets.split_last()) {
        (true, Some((&last, begins))) if last == keys as i64 => Ok(begins),
        (true, Some((last, _))) => Err(Error::invalid(format!(
            "the last of offsets is {last} and keys_len is {keys}; they must be equal"
        ))),
        (true, None) => {
            Err(Error::invalid("offsets_len is 0; at least one is needed, the number of keys"))
        }
        (false, None) if keys > 0 => Err(Error::invalid(format!(
            "offsets_len is 0 and keys_len is {keys}; every key must be in a bag"
        ))),
        (false, _) => Ok(offsets),
    }
}
