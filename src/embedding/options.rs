//! The option bag of `damo_embedding_new`, read and checked.

use crate::engine::rows::{Clip, Duplicates, NonFinite};
use crate::error::{Error, Result};
use crate::optimizer::Optimizer;
use crate::params::{FloatRange, Params};

/// The options with their defaults filled in.
#[derive(Clone, Debug)]
pub struct EmbeddingOptions {
    /// The group's name.
    pub name: Option<String>,
    /// What apply_gradients does with a key given twice.
    pub duplicates: Duplicates,
    /// A key that reads as zeros, never has a row, and whose gradients are dropped.
    pub padding_key: Option<i64>,
    /// The limits of the gradients of each call.
    pub clip: Clip,
    /// The limit of the 2-norm of a row's weights.
    pub max_norm: Option<f64>,
    /// What is done with a call that has wrong gradients.
    pub non_finite: NonFinite,
}

const DUPLICATES: [(&str, Duplicates); 3] =
    [("sequential", Duplicates::Sequential), ("sum", Duplicates::Sum), ("mean", Duplicates::Mean)];

impl EmbeddingOptions {
    /// Reads the bag.
    ///
    /// # Errors
    /// An unknown option or a value that is not accepted.
    pub fn read(params: &Params) -> Result<EmbeddingOptions> {
        let mut reader = params.reader("embedding");
        let duplicates = reader.choice("duplicates", 0, &DUPLICATES.map(|(word, _)| word))?;
        let padding_key = reader.int_if_set("padding_key", i64::MIN, i64::MAX)?;
        let name = reader.text_if_set("name", "a name of 1 to 255 bytes")?.map(str::to_owned);
        let clip = Clip::read(&mut reader)?;
        let max_norm = reader.float_if_set(&["max_norm"], FloatRange::POSITIVE)?;
        let non_finite = NonFinite::read(&mut reader)?.unwrap_or_default();
        reader.finish()?;
        let duplicates = DUPLICATES[duplicates].1;
        Ok(EmbeddingOptions { name, duplicates, padding_key, clip, max_norm, non_finite })
    }

    /// Refuses a limit of rows that no step keeps.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for max_norm with an optimizer that takes no steps.
    pub(super) fn check_max_norm(&self, optimizer: &Optimizer) -> Result<()> {
        match self.max_norm {
            Some(limit) if optimizer.check_steps().is_err() => Err(Error::invalid(format!(
                "embedding: max_norm is {limit:?} and the optimizer is '{}', which takes no steps; \
                 a trainer that changes rows itself limits them itself: leave max_norm out",
                optimizer.name()
            ))),
            _ => Ok(()),
        }
    }
}
