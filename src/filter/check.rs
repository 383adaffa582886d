//! Check: whether keys have been counted often enough.

use super::hash::CounterPlace;
use super::{Filter, salt};
use crate::error::{Error, Result};

impl Filter {
    /// True once `key` of `group` was added `count` times. For other keys it is true with a
    /// probability of at most `fpr`, as long as no more than `capacity` keys were added.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a group above 65535; `FORKED`.
    pub fn check(&self, group: u32, key: i64) -> Result<bool> {
        let opened = self.begin()?;
        let blocks = opened.map.blocks();
        let place = CounterPlace::new(salt(group)?, key, blocks.len());
        Ok(self.counter_config(opened.header.per_key).is_admitted(&blocks[place.block], place))
    }

    /// Writes the answer of [`Filter::check`] to `admitted`: 1 or 0, one byte a key.
    ///
    /// # Errors
    /// As [`Filter::check`]; and `INVALID_ARGUMENT` when `admitted` does not have one byte a key.
    pub fn check_batch(&self, group: u32, keys: &[i64], admitted: &mut [u8]) -> Result<()> {
        check_lengths(keys.len(), admitted.len())?;
        let opened = self.begin()?;
        let counters = self.counter_config(opened.header.per_key);
        opened.each(salt(group)?, keys, |index, _, block, place| {
            admitted[index] = u8::from(counters.is_admitted(block, place));
        });
        Ok(())
    }
}

pub(super) fn check_lengths(keys: usize, admitted: usize) -> Result<()> {
    if keys == admitted {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "admitted_len is {admitted} and keys_len is {keys}; one byte a key is needed"
    )))
}
