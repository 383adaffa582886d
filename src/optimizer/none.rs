//! No optimizer: the trainer has its own, and changes rows itself.
//!
//! State: `state` floats a row, which begin with `initial_accumulator_value`. damo keeps them
//! beside the weights, and gives them no meaning.

use super::parameters::initial_accumulator;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::{Error, Result};
use crate::params::ParamReader;

pub(super) const NAME: &str = "none";

/// As many as amsgrad has for the largest dim.
const MAX_STATE: i64 = 3 << 18;

struct None {
    state: usize,
    initial: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    let state = reader.int("state", 0, 0, MAX_STATE)? as usize;
    Ok(path.rule(None { state, initial: initial_accumulator(reader)? }))
}

/// Why gradients are refused.
pub(super) fn no_steps() -> Error {
    Error::invalid(
        "the optimizer 'none' takes no steps: its rows are changed with damo_rows_pin and \
         damo_pin_commit, or with damo_embedding_insert_records; another optimizer is needed for \
         gradients",
    )
}

impl Algorithm for None {
    fn state_len(&self, _dim: usize) -> usize {
        self.state
    }

    fn squares(&self, _dim: usize) -> std::ops::Range<usize> {
        0..0
    }

    fn begin(&self, state: &mut [f32]) {
        state.fill(self.initial);
    }

    #[inline(always)]
    fn step(&self, _: impl Stepper, _: &mut [f32], _: &[f32], _: f64, _: u64) {
        debug_assert!(false, "refused by `Optimizer::rate`");
    }
}
