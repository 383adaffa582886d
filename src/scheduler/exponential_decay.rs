//! `rate = learning_rate * decay_rate ^ (step / decay_steps)`
//!
//! Source: `tf.compat.v1.train.exponential_decay`. With `staircase` the exponent is floored.

use super::decay::{Decay, decay_steps, periods};
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct ExponentialDecay {
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Box<dyn Decay>> {
    Ok(Box::new(ExponentialDecay {
        decay_steps: decay_steps(reader)?,
        decay_rate: reader.required_float("decay_rate", FloatRange::POSITIVE)?,
        staircase: reader.bool("staircase", false)?,
    }))
}

impl Decay for ExponentialDecay {
    fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        learning_rate * self.decay_rate.powf(periods(step, self.decay_steps, self.staircase))
    }
}
