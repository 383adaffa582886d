//! `rate = learning_rate * exp(-decay_rate * step / decay_steps)`
//!
//! Source: `tf.compat.v1.train.natural_exp_decay`. With `staircase` the quotient is floored.

use super::decay::{Decay, decay_steps, periods};
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct NaturalExpDecay {
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Box<dyn Decay>> {
    Ok(Box::new(NaturalExpDecay {
        decay_steps: decay_steps(reader)?,
        decay_rate: reader.required_float("decay_rate", FloatRange::NOT_NEGATIVE)?,
        staircase: reader.bool("staircase", false)?,
    }))
}

impl Decay for NaturalExpDecay {
    fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        learning_rate * (-self.decay_rate * periods(step, self.decay_steps, self.staircase)).exp()
    }
}
