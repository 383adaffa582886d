//! A lookup of keys that are given once, with how often they occur.

use super::{Embedding, KeyBatch};
use crate::error::{Error, Result};

impl Embedding {
    /// As [`Embedding::lookup`] of a batch that has each key as often as `occurrences` says, but
    /// with one row for each of `keys`. The filter and the statistics count every occurrence.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is not a number above 0 for each key. Otherwise as
    /// [`Embedding::lookup`].
    pub fn lookup_counted(
        &self,
        keys: &[i64],
        occurrences: &[u32],
        weights: &mut [f32],
    ) -> Result<()> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        check_occurrences(keys, occurrences)?;
        let batch = self.counted_batch(keys, Some(occurrences));
        self.look_up(batch, weights).map_err(|error| self.storage.in_dir(error))
    }

    /// The keys of a call, with the padding key, and how often they occur.
    pub(crate) fn counted_batch<'a>(
        &self,
        keys: &'a [i64],
        occurrences: Option<&'a [u32]>,
    ) -> KeyBatch<'a> {
        KeyBatch { occurrences, ..self.batch(keys) }
    }
}

/// Refuses occurrences that are not a number above 0 for each key.
///
/// # Errors
/// `INVALID_ARGUMENT` naming both lengths, or the key with its position.
pub(crate) fn check_occurrences(keys: &[i64], occurrences: &[u32]) -> Result<()> {
    if occurrences.len() != keys.len() {
        return Err(Error::invalid(format!(
            "occurrences_len is {} and keys_len is {}; one number a key is needed",
            occurrences.len(),
            keys.len()
        )));
    }
    match occurrences.iter().position(|number| *number == 0) {
        None => Ok(()),
        Some(position) => Err(Error::invalid(format!(
            "occurrences[{position}] of key {} is 0; 1 or more is needed: how often the key occurs",
            keys[position]
        ))),
    }
}
