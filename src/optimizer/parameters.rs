//! Parameters that several optimizers take.

use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

/// `initial_accumulator_value`: where the sum of squared gradients begins.
pub(super) fn initial_accumulator(reader: &mut ParamReader<'_>) -> Result<f32> {
    let value =
        reader.float(&["initial_accumulator_value"], 0.0, FloatRange::FLOAT32_NOT_NEGATIVE)?;
    Ok(value as f32)
}

/// `lambda`: the weight decay, which every optimizer but ftrl takes.
pub(super) fn weight_decay(reader: &mut ParamReader<'_>, default: f64) -> Result<f64> {
    reader.float(&["lambda"], default, FloatRange::FLOAT32_NOT_NEGATIVE)
}
