//! What the schedules share: their trait and the parameters that several of them take.

use crate::error::Result;
use crate::params::ParamReader;

/// One schedule without its warmup.
pub(super) trait Decay: Send + Sync {
    /// The rate at `step` >= 0.
    fn rate(&self, learning_rate: f64, step: i64) -> f64;
}

/// `decay_steps`, which every schedule needs.
pub(super) fn decay_steps(reader: &mut ParamReader<'_>) -> Result<f64> {
    Ok(reader.required_int("decay_steps", 1, i64::MAX)? as f64)
}

/// How many decay periods have passed: a fraction, or with `staircase` only the whole ones.
pub(super) fn periods(step: i64, decay_steps: f64, staircase: bool) -> f64 {
    let periods = step as f64 / decay_steps;
    if staircase { periods.floor() } else { periods }
}
