//! Normal with `mean` (default 0) and `stddev` (default 1).

use rand::RngExt;
use rand_distr::StandardNormal;

use super::fill::{Draw, Fill, Stream};
use super::normal::mean_and_stddev;
use crate::error::Result;
use crate::params::ParamReader;

struct Normal {
    mean: f32,
    stddev: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Fill> {
    let (mean, stddev) = mean_and_stddev(reader)?;
    Ok(Fill::Random(Box::new(Normal { mean, stddev })))
}

impl Draw for Normal {
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]) {
        for weight in weights {
            let z: f32 = stream.sample(StandardNormal);
            *weight = (self.mean + self.stddev * z).clamp(f32::MIN, f32::MAX);
        }
    }
}
