//! `rate = (learning_rate - end) * (1 - min(step, decay_steps) / decay_steps) ^ power + end`
//!
//! Source: `tf.compat.v1.train.polynomial_decay`. With `cycle`, `decay_steps` grows to the next
//! whole multiple that is not below the step, so the rate climbs again after each period.

use super::decay::{Decay, decay_steps};
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct PolynomialDecay {
    decay_steps: f64,
    end_learning_rate: f64,
    power: f64,
    cycle: bool,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Box<dyn Decay>> {
    Ok(Box::new(PolynomialDecay {
        decay_steps: decay_steps(reader)?,
        end_learning_rate: reader.float(&["end_learning_rate"], 1e-4, FloatRange::NOT_NEGATIVE)?,
        power: reader.float(&["power"], 1.0, FloatRange::POSITIVE)?,
        cycle: reader.bool("cycle", false)?,
    }))
}

impl Decay for PolynomialDecay {
    fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        let step = step as f64;
        let (step, decay_steps) = if self.cycle {
            (step, self.decay_steps * (step / self.decay_steps).ceil().max(1.0))
        } else {
            (step.min(self.decay_steps), self.decay_steps)
        };
        // Beyond 2^53 steps rounding can make the difference slightly negative, which has no square
        // root.
        let left = (1.0 - step / decay_steps).max(0.0).powf(self.power);
        (learning_rate - self.end_learning_rate) * left + self.end_learning_rate
    }
}
