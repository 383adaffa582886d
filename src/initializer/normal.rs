//! The parameters that the normal distributions share.

use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

/// `mean` (default 0) and `stddev` (default 1).
pub(super) fn mean_and_stddev(reader: &mut ParamReader<'_>) -> Result<(f32, f32)> {
    let mean = reader.float(&["mean"], 0.0, FloatRange::FLOAT32)?;
    let stddev = reader.float(&["stddev"], 1.0, FloatRange::FLOAT32_NOT_NEGATIVE)?;
    Ok((mean as f32, stddev as f32))
}
