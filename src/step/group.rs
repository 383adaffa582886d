//! What the parts of one embedding have together: their keys, and a row of floats for each.

use std::sync::Arc;

use crate::embedding::Embedding;
use crate::error::Result;
use crate::memory::reserve;

/// The keys of all parts of one embedding, one part behind the other.
#[derive(Default, Debug)]
pub(super) struct StepGroup {
    /// None while it waits to be used again.
    embedding: Option<Arc<Embedding>>,
    keys: Vec<i64>,
    /// Weights in a lookup, and gradients in apply_gradients: `dim` floats a key.
    floats: Vec<f32>,
    /// The numbers of its parts.
    parts: Vec<usize>,
}

impl StepGroup {
    pub(super) fn embedding(&self) -> Option<&Arc<Embedding>> {
        self.embedding.as_ref()
    }

    pub(super) fn keys(&self) -> &[i64] {
        &self.keys
    }

    pub(super) fn parts(&self) -> &[usize] {
        &self.parts
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Lets go of the embedding and its keys.
    pub(super) fn clear(&mut self) {
        self.embedding = None;
        self.keys.clear();
        self.parts.clear();
    }

    /// Adds the keys of a part. `is_new`: it is the group's first part.
    pub(super) fn add(
        &mut self,
        embedding: &Arc<Embedding>,
        keys: &[i64],
        part: usize,
        is_new: bool,
    ) -> Result<()> {
        if is_new {
            self.clear();
        }
        reserve(&mut self.keys, keys.len())?;
        reserve(&mut self.parts, 1)?;
        self.keys.extend_from_slice(keys);
        self.parts.push(part);
        self.embedding = Some(Arc::clone(embedding));
        Ok(())
    }

    /// The keys, and room for a row of floats each, which may have floats of an earlier call.
    pub(super) fn with_floats(&mut self, dim: usize) -> Result<(&[i64], &mut [f32])> {
        let len = self.keys.len().saturating_mul(dim);
        if self.floats.len() < len {
            let more = len - self.floats.len();
            reserve(&mut self.floats, more)?;
            self.floats.resize(len, 0.0);
        }
        Ok((&self.keys, &mut self.floats[..len]))
    }

    /// The floats that were written last.
    pub(super) fn floats(&self, dim: usize) -> &[f32] {
        &self.floats[..self.keys.len() * dim]
    }
}
