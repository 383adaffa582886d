//! `rate = learning_rate * ((alpha + linear) * cosine + beta)`, with `done = min(step, decay_steps)
//! / decay_steps`, `linear = 1 - done` and `cosine = (1 + cos(2 pi * num_periods * done)) / 2`
//!
//! Source: `tf.compat.v1.train.linear_cosine_decay`; Bello et al. 2017, Neural Optimizer Search.

use std::f64::consts::PI;

use super::decay::{Decay, decay_steps};
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct LinearCosineDecay {
    decay_steps: f64,
    num_periods: f64,
    alpha: f64,
    beta: f64,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Box<dyn Decay>> {
    Ok(Box::new(LinearCosineDecay {
        decay_steps: decay_steps(reader)?,
        num_periods: reader.float(&["num_periods"], 0.5, FloatRange::POSITIVE)?,
        alpha: reader.float(&["alpha"], 0.0, FloatRange::NOT_NEGATIVE)?,
        beta: reader.float(&["beta"], 1e-3, FloatRange::NOT_NEGATIVE)?,
    }))
}

impl Decay for LinearCosineDecay {
    fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        let step = (step as f64).min(self.decay_steps);
        let linear = (self.decay_steps - step) / self.decay_steps;
        let cosine = 0.5 * (1.0 + (2.0 * PI * self.num_periods * step / self.decay_steps).cos());
        learning_rate * ((self.alpha + linear) * cosine + self.beta)
    }
}
