//! The option bag of `damo_embedding_new`, read and checked.

use crate::error::Result;
use crate::params::Params;
use crate::storage::Duplicates;

/// The options with their defaults filled in.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingOptions {
    pub duplicates: Duplicates,
    /// A key that reads as zeros, never has a row, and whose gradients are dropped.
    pub padding_key: Option<i64>,
}

const DUPLICATES: [(&str, Duplicates); 3] =
    [("sequential", Duplicates::Sequential), ("sum", Duplicates::Sum), ("mean", Duplicates::Mean)];

impl EmbeddingOptions {
    /// # Errors
    /// An unknown option or a value that is not accepted.
    pub fn read(params: &Params) -> Result<EmbeddingOptions> {
        let mut reader = params.reader("embedding");
        let duplicates = reader.choice("duplicates", 0, &DUPLICATES.map(|(word, _)| word))?;
        let padding_key = reader.int_if_set("padding_key", i64::MIN, i64::MAX)?;
        reader.finish()?;
        Ok(EmbeddingOptions { duplicates: DUPLICATES[duplicates].1, padding_key })
    }
}
