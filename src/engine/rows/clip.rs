//! The limits of gradients. `clip_gradients` applies them.

use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

/// What torch.nn.utils.clip_grad_norm_ adds to a norm before it divides by it.
const EPSILON: f64 = 1e-6;

/// The limits of gradients, in the order in which they are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Of each float: torch.nn.utils.clip_grad_value_.
    pub value: Option<f32>,
    /// Of the 2-norm of each key's gradient.
    pub row_norm: Option<f64>,
    /// Of the 2-norm of the gradients of all keys together: torch.nn.utils.clip_grad_norm_. They
    /// are those of a call, or of all groups of a training step.
    pub norm: Option<f64>,
}

impl Clip {
    /// Reads the options clip_value, clip_row_norm and clip_norm.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a limit that is not accepted.
    pub fn read(reader: &mut ParamReader<'_>) -> Result<Clip> {
        let mut limit = |name| reader.float_if_set(&[name], FloatRange::POSITIVE);
        let value = limit("clip_value")?.map(|limit| limit.min(f64::from(f32::MAX)) as f32);
        Ok(Clip { value, row_norm: limit("clip_row_norm")?, norm: limit("clip_norm")? })
    }

    /// Whether no gradient changes.
    pub(super) fn is_none(&self) -> bool {
        *self == Clip::default()
    }

    /// What gradients with this norm are multiplied with.
    pub(super) fn factor_of(&self, norm: f64) -> f32 {
        self.norm.map_or(1.0, |limit| factor(norm, limit))
    }
}

/// What floats with a norm are multiplied with, so that it is within the limit.
pub(super) fn factor(norm: f64, limit: f64) -> f32 {
    (limit / (norm + EPSILON)).min(1.0) as f32
}
