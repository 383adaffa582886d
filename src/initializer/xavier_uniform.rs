//! Uniform in `[-limit, limit]` with `limit = sqrt(6 / (fan_in + fan_out))`.
//!
//! Source: Glorot and Bengio 2010. A table has no fixed number of rows, so both fans are the row's
//! dim, as for Keras' one-dimensional shapes. The limit is then `sqrt(3 / dim)`.

use super::fill::{Draw, Fill, Stream};
use super::random_uniform::Uniform;
use crate::error::Result;
use crate::params::ParamReader;

struct XavierUniform;

pub(super) fn build(_reader: &mut ParamReader<'_>) -> Result<Fill> {
    Ok(Fill::Random(Box::new(XavierUniform)))
}

impl Draw for XavierUniform {
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]) {
        let limit = (3.0 / weights.len().max(1) as f32).sqrt();
        Uniform { min: -limit, max: limit }.draw(stream, weights);
    }
}
