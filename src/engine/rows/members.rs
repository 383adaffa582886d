//! The groups of a training step, with their keys and gradients.

use super::apply_gradients::{Done, held_back};
use super::dedup::Dedup;
use super::outcome::OrStop;
use super::{Gradients, OpenGroup};
use crate::error::Result;

/// The keys and gradients of one group of a training step.
pub(crate) struct OfGroup<'a> {
    pub(super) table: &'a OpenGroup,
    pub(super) gradients: Gradients<'a>,
    /// Keys, ascending and distinct, whose gradients are dropped if they have no row.
    pub(super) held_back: Vec<i64>,
}

impl<'a> OfGroup<'a> {
    /// `admitted` has one byte a key, 0 for a key that is not admitted; None: all are.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn new(
        table: &'a OpenGroup,
        gradients: Gradients<'a>,
        admitted: Option<&[u8]>,
    ) -> Result<OfGroup<'a>> {
        let held_back = match admitted {
            Some(admitted) => held_back(gradients.batch, admitted)?,
            None => Vec::new(),
        };
        Ok(OfGroup { table, gradients, held_back })
    }
}

/// A group of the call: its distinct keys with merged gradients, and what it has done.
pub(super) struct Member<'a> {
    pub(super) of: &'a OfGroup<'a>,
    pub(super) dedup: Box<Dedup>,
    pub(super) outcome: OrStop<()>,
    pub(super) done: Done,
    /// The sum of the squares of its gradients.
    pub(super) squares: f64,
}
