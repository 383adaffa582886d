//! Begin_lookup: reads rows ahead of the lookup that wants them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::Embedding;
use crate::engine::rows::{BegunLookup, OpenGroup};
use crate::error::Result;
use crate::memory::room_for;

/// A lookup that has been begun: [`Embedding::finish_lookup`] finishes it. Keeps nothing open.
#[derive(Debug)]
pub struct Lookup {
    /// Whose rows they are.
    pub(super) table: Weak<OpenGroup>,
    pub(super) begun: Begun,
}

/// What is known of a lookup's rows.
pub(super) enum Begun {
    /// Which version of each row was read.
    Rows(BegunLookup),
    /// Nothing: all the keys are looked up again.
    Keys(Vec<i64>),
    /// It has been finished.
    Finished,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Begun::Rows(begun) => write!(formatter, "{} keys", begun.keys().len()),
            Begun::Keys(keys) => write!(formatter, "{} keys", keys.len()),
            Begun::Finished => formatter.write_str("finished"),
        }
    }
}

impl Embedding {
    /// Writes the weights of `keys` into `weights` as they are now, as [`Embedding::peek`] does,
    /// and begins a lookup of them. Changes no row, and no filter counts the keys.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when `weights` does not hold `keys.len() * dim` floats; `OUT_OF_MEMORY`,
    /// `IO`, `CORRUPTION`. `weights` may be partly written.
    pub fn begin_lookup(&self, keys: &[i64], weights: &mut [f32]) -> Result<Lookup> {
        let _call = self.storage.begin_call()?;
        self.check_floats("weights", weights.len(), keys.len())?;
        let engine = self.storage.engine();
        let begun = self
            .table
            .group()
            .between_clears(|| self.table.begin_lookup(engine, self.batch(keys), weights));
        let begun = begun.map_err(|error| self.storage.in_dir(error))?;
        engine.counters().own().rows_read.fetch_add(keys.len() as u64, Ordering::Relaxed);
        let begun = match begun {
            Some(begun) => Begun::Rows(begun),
            None => {
                let mut copy = room_for(keys.len())?;
                copy.extend_from_slice(keys);
                Begun::Keys(copy)
            }
        };
        Ok(Lookup { table: Arc::downgrade(&self.table), begun })
    }
}
