//! The traits between an optimizer, its algorithm and the vectors that step rows.
//!
//! An [`Algorithm`] is written once. A path of `simd` compiles it into a [`Rule`] with the
//! [`Stepper`] of that path.

use std::ops::Range;

use super::lanes::Formula;

/// One algorithm, compiled for instructions that this CPU has.
pub(super) trait Rule: Send + Sync {
    /// Floats of state beside `dim` weights.
    fn state_len(&self, dim: usize) -> usize;

    /// As `Optimizer::squares`.
    fn squares(&self, dim: usize) -> Range<usize>;

    /// As `Optimizer::begin`.
    fn begin(&self, state: &mut [f32]);

    /// As `Optimizer::begin_at`.
    fn begin_at(&self, weights: &[f32], state: &mut [f32]);

    /// As `Optimizer::step`.
    fn step(&self, row: &mut [f32], gradient: &[f32], rate: f64, t: u64);
}

/// One algorithm.
pub(super) trait Algorithm: Send + Sync + 'static {
    /// Floats of state beside `dim` weights.
    fn state_len(&self, dim: usize) -> usize;

    /// As [`Rule::squares`].
    fn squares(&self, dim: usize) -> Range<usize>;

    /// As [`Rule::begin`].
    fn begin(&self, state: &mut [f32]) {
        state.fill(0.0);
    }

    /// As [`Rule::begin_at`].
    fn begin_at(&self, _weights: &[f32], state: &mut [f32]) {
        self.begin(state);
    }

    /// As [`Rule::step`]. Implementations are `#[inline(always)]`, so that each path compiles them
    /// for its instructions.
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, t: u64);
}

/// Steps the weights of a row with the vectors of one path.
pub(super) trait Stepper: Copy + Send + Sync + 'static {
    /// Steps every weight of a row of `C` columns.
    fn step_each<const C: usize>(self, row: &mut [f32], gradient: &[f32], formula: impl Formula<C>);
}
