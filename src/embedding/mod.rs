//! One group of a storage with its optimizer and initializer: the calls that a trainer makes.
//!
//! Checks a call's arguments; `engine::rows` reads and changes the rows. Knows nothing of C.

mod admission;
mod apply_gradients;
mod attached;
mod begin_lookup;
mod check;
mod clear;
mod delete;
mod finish_lookup;
mod insert;
mod lookup;
mod lookup_counted;
mod once;
mod options;
mod peek;
mod pin;
mod prefetch;
mod record;
mod step;
mod sum_gradients;
mod together;

use std::sync::Arc;

pub use begin_lookup::Lookup;
pub use once::CallId;
pub(crate) use once::{hold_steps, is_stored};
pub use options::EmbeddingOptions;
pub use pin::Pin;
pub use together::{Given, apply_together};

pub use crate::engine::rows::{
    Applied, Clip, Conflicts, Duplicates, Expected, NonFinite, Record, Summed,
};

pub(crate) use crate::engine::rows::KeyBatch;
pub(crate) use lookup_counted::check_occurrences;

use attached::AttachedFilter;

use crate::engine::group::Group;
use crate::engine::names::GroupRef;
use crate::engine::row_rules::RowRules;
use crate::engine::rows::{Gradients, OpenGroup};
use crate::error::{Error, Result};
use crate::initializer::Initializer;
use crate::limits::{MAX_DIM, is_dim, not_a_group};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::storage::Storage;

/// The largest update count of a row.
pub const MAX_UPDATE_NUM: i64 = (1 << 56) - 1;

/// In place of a group's number: the group that has the name in the options, or a new one.
pub const GROUP_BY_NAME: u32 = u32::MAX - 1;

/// An open group. Safe to use from any number of threads; keeps its storage open.
pub struct Embedding {
    /// Dropped before `storage`, whose last handle closes the storage.
    table: Arc<OpenGroup>,
    storage: Storage,
    options: EmbeddingOptions,
    attached: AttachedFilter,
}

impl Embedding {
    /// Opens `group` of `storage`, registering it when it is new.
    ///
    /// # Errors
    /// - `INVALID_ARGUMENT`: dim 0 or too wide, a group above 65535, a wrong option
    /// - `ALREADY_EXISTS`: the group has another dim, optimizer or name; the name is another
    ///   group's
    pub fn new(
        storage: Storage,
        optimizer: Arc<Optimizer>,
        initializer: Arc<Initializer>,
        dim: usize,
        group: u32,
        options: &Params,
    ) -> Result<Embedding> {
        if !is_dim(dim) {
            return Err(Error::invalid(format!(
                "dim is {dim}; a number from 1 to {MAX_DIM} is needed"
            )));
        }
        let options = EmbeddingOptions::read(options)?;
        options.check_max_norm(&optimizer)?;
        let number = match (u16::try_from(group), &options.name) {
            (Ok(number), _) => Some(number),
            (Err(_), Some(_)) if group == GROUP_BY_NAME => None,
            (Err(_), _) => {
                let or = ", or DAMO_GROUP_BY_NAME and the option name, is needed";
                return Err(not_a_group(group, or));
            }
        };
        let wanted = GroupRef { number, name: options.name.as_deref() };
        let rules = RowRules { dim, optimizer, initializer, max_norm: options.max_norm };
        let table = Arc::new(storage.open_group(wanted, rules)?);
        Ok(Embedding { table, storage, options, attached: AttachedFilter::default() })
    }

    /// The number of weights of a row.
    pub fn dim(&self) -> usize {
        self.table.dim()
    }

    /// The number of floats of a row: its weights and the optimizer's state.
    pub fn row_len(&self) -> usize {
        self.table.row_len()
    }

    /// The group of the storage.
    pub fn group(&self) -> &Group {
        self.table.group()
    }

    /// The key that never has a row.
    pub fn padding(&self) -> Option<i64> {
        self.options.padding_key
    }

    /// What is done with a call that has wrong gradients.
    pub(crate) fn non_finite(&self) -> NonFinite {
        self.options.non_finite
    }

    /// The keys of a call, with the padding key.
    fn batch<'a>(&self, keys: &'a [i64]) -> KeyBatch<'a> {
        KeyBatch { keys, padding: self.options.padding_key, occurrences: None }
    }

    /// The gradients of a call, merged and clipped as the options say.
    fn gradients<'a>(&self, keys: &'a [i64], floats: &'a [f32]) -> Gradients<'a> {
        let EmbeddingOptions { duplicates, clip, non_finite, .. } = self.options;
        Gradients { batch: self.batch(keys), floats, duplicates, clip, non_finite }
    }

    /// The storage that the group is in.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Panics while the group is being written, as a bug would; for tests.
    ///
    /// # Errors
    /// `POISONED` when a panic came before; otherwise it panics.
    pub fn panic_for_test(&self) -> Result<()> {
        let _call = self.storage.begin_call()?;
        let _guard = self.table.group().begin_write()?;
        crate::error::panic_for_test()
    }
}

impl std::fmt::Debug for Embedding {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Embedding({:?}, dim {}, {:?})",
            self.group(),
            self.dim(),
            self.table.optimizer()
        )
    }
}
