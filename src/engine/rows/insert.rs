//! Insert: rows with given weights.

use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::CallKind;

impl OpenGroup {
    /// Stores `weights`, `dim` floats a key, as fresh rows: no gradients counted, and the state
    /// with which the optimizer goes on from these weights. Of a key given twice the last row
    /// counts.
    ///
    /// # Errors
    /// `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing has changed.
    pub(crate) fn insert(&self, engine: &Engine, keys: &[i64], weights: &[f32]) -> Result<()> {
        self.insert_from(engine, keys, weights, Origin::Call)
    }

    pub(in crate::engine) fn insert_from(
        &self,
        engine: &Engine,
        keys: &[i64],
        weights: &[f32],
        source: Origin,
    ) -> Result<()> {
        self.replace(engine, keys, (weights, self.dim), CallKind::Insert, source, |row, weights| {
            let (row_weights, state) = row.split_at_mut(self.dim);
            row_weights.copy_from_slice(weights);
            self.optimizer.begin_at(weights, state);
            0
        })
    }
}
