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
        found: Option<&mut [u8]>,
    ) -> Result<()> {
        self.read(engine, batch, weights, found, Absent::Skip)
    }
}
