//! Every weight is `value` (default 0).

use super::fill::Fill;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Fill> {
    Ok(Fill::Constant(reader.float(&["value"], 0.0, FloatRange::FLOAT32)? as f32))
}
