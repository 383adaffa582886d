//! Normal with `mean` (default 0) and `stddev` (default 1), redrawn while more than 2 stddev from
//! the mean.
//!
//! Source: TensorFlow's `truncated_normal`.

use rand::RngExt;
use rand_distr::StandardNormal;

use super::fill::{Draw, Fill, Stream};
use super::normal::mean_and_stddev;
use crate::error::Result;
use crate::params::ParamReader;

struct TruncateNormal {
    mean: f32,
    stddev: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Fill> {
    let (mean, stddev) = mean_and_stddev(reader)?;
    Ok(Fill::Random(Box::new(TruncateNormal { mean, stddev })))
}

impl Draw for TruncateNormal {
    fn draw(&self, stream: &mut Stream, weights: &mut [f32]) {
        for weight in weights {
            let z = loop {
                let z: f32 = stream.sample(StandardNormal);
                if z.abs() <= 2.0 {
                    break z;
                }
            };
            *weight = (self.mean + self.stddev * z).clamp(f32::MIN, f32::MAX);
        }
    }
}
