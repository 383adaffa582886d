//! Uniform in `[min, max]` (defaults -1 and 1): `min + u (max - min)` with `u` a multiple of 2^-24
//! in [0, 1).

use rand::RngExt;

use super::fill::{Draw, Fill, Stream};
use crate::error::{Error, Result};
use crate::params::{FloatRange, ParamReader};

pub(super) struct Uniform {
    pub(super) min: f32,
    pub(super) max: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Fill> {
    let min = reader.float(&["min"], -1.0, FloatRange::FLOAT32)?;
    let max = reader.float(&["max"], 1.0, FloatRange::FLOAT32)?;
    if min > max {
        return Err(Error::invalid(format!(
            "initializer 'random_uniform': parameter 'min' is {min} and 'max' is {max}; min <= max \
             is needed"
        )));
    }
    Ok(Fill::Random(Box::new(Uniform { min: min as f32, max: max as f32 })))
}

impl Draw for Uniform {
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]) {
        // Two products and no width, which would overflow for the widest ranges.
        for weight in weights {
            let u: f32 = stream.random();
            *weight = (self.min * (1.0 - u) + self.max * u).clamp(self.min, self.max);
        }
    }
}
