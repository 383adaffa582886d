//! Peek: reads rows as lookup does, and creates none.

use super::load::Absent;
use super::{KeyBatch, OpenGroup};
use crate::engine::Engine;
use crate::error::Result;

impl OpenGroup {
    /// Writes the weights of the keys into `weights`. A key without a row, and the padding key,
    /// reads as zeros. `found` gets 1 for a key with a row and 0 for any other.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may be partly written.
    pub(crate) fn peek(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
        mut found: Option<&mut [u8]>,
    ) -> Result<()> {
        let missing =
            self.read_resident(engine, batch, weights, found.as_deref_mut(), Absent::Skip)?;
        if missing.is_empty() {
            return Ok(());
        }
        self.read_missing(engine, &missing, Absent::Skip, weights, found)
    }
}
