//! What the parts of one embedding have together: their keys, and a row of floats for each.

use std::sync::Arc;

use crate::embedding::Embedding;
use crate::error::Result;
use crate::memory::reserve;

/// A group's keys, how often each occurs, and a row of floats for each.
type KeysAndFloats<'a> = (&'a [i64], Option<&'a [u32]>, &'a mut [f32]);

/// The keys of all parts of one embedding, one part behind the other.
#[derive(Default, Debug)]
pub(super) struct StepGroup {
    /// None while it waits to be used again.
    embedding: Option<Arc<Embedding>>,
    keys: Vec<i64>,
    /// How often each key occurs; empty if each occurs once.
    occurrences: Vec<u32>,
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

    /// How often each key occurs; None if each occurs once.
    pub(super) fn occurrences(&self) -> Option<&[u32]> {
        (!self.occurrences.is_empty()).then_some(&self.occurrences)
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
        self.occurrences.clear();
        self.parts.clear();
    }

    /// Adds the keys of a part, with the number of occurrences of each, if they are given.
    /// `is_new`: it is the group's first part.
    pub(super) fn add(
        &mut self,
        embedding: &Arc<Embedding>,
        (keys, occurrences): (&[i64], Option<&[u32]>),
        part: usize,
        is_new: bool,
    ) -> Result<()> {
        if is_new {
            self.clear();
        }
        reserve(&mut self.keys, keys.len())?;
        reserve(&mut self.parts, 1)?;
        self.add_occurrences(keys.len(), occurrences)?;
        self.keys.extend_from_slice(keys);
        self.parts.push(part);
        self.embedding = Some(Arc::clone(embedding));
        Ok(())
    }

    /// Adds the numbers of occurrences of a part that has `len` keys.
    fn add_occurrences(&mut self, len: usize, occurrences: Option<&[u32]>) -> Result<()> {
        let (before, after) = (self.keys.len(), self.keys.len() + len);
        match occurrences {
            None if self.occurrences.is_empty() => {}
            None => {
                reserve(&mut self.occurrences, len)?;
                self.occurrences.resize(after, 1);
            }
            Some(numbers) => {
                let more = after - self.occurrences.len();
                reserve(&mut self.occurrences, more)?;
                // Keys of earlier parts without numbers.
                self.occurrences.resize(before, 1);
                self.occurrences.extend_from_slice(numbers);
            }
        }
        Ok(())
    }

    /// The keys, and room for a row of floats each, which may have floats of an earlier call.
    pub(super) fn with_floats(&mut self, dim: usize) -> Result<(&[i64], &mut [f32])> {
        self.with_all(dim).map(|(keys, _, floats)| (keys, floats))
    }

    /// As [`StepGroup::with_floats`], with the numbers of occurrences in between.
    pub(super) fn with_all(&mut self, dim: usize) -> Result<KeysAndFloats<'_>> {
        let len = self.keys.len().saturating_mul(dim);
        if self.floats.len() < len {
            let more = len - self.floats.len();
            reserve(&mut self.floats, more)?;
            self.floats.resize(len, 0.0);
        }
        let occurrences = (!self.occurrences.is_empty()).then_some(&*self.occurrences);
        Ok((&self.keys, occurrences, &mut self.floats[..len]))
    }

    /// The floats that were written last.
    pub(super) fn floats(&self, dim: usize) -> &[f32] {
        &self.floats[..self.keys.len() * dim]
    }
}
