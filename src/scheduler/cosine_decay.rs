//! `rate = learning_rate * ((1 - alpha) * (1 + cos(pi * done)) / 2 + alpha)`, with `done =
//! min(step, decay_steps) / decay_steps`
//!
//! Source: `tf.compat.v1.train.cosine_decay`; Loshchilov and Hutter 2017, SGDR.

use std::f64::consts::PI;

use super::decay::{Decay, decay_steps};
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct CosineDecay {
    decay_steps: f64,
    alpha: f64,
}

pub(super) fn build(reader: &mut ParamReader<'_>) -> Result<Box<dyn Decay>> {
    Ok(Box::new(CosineDecay {
        decay_steps: decay_steps(reader)?,
        alpha: reader.float(&["alpha"], 0.0, FloatRange::NOT_NEGATIVE)?,
    }))
}

impl Decay for CosineDecay {
    fn rate(&self, learning_rate: f64, step: i64) -> f64 {
        let completed = (step as f64).min(self.decay_steps) / self.decay_steps;
        let cosine = 0.5 * (1.0 + (PI * completed).cos());
        learning_rate * ((1.0 - self.alpha) * cosine + self.alpha)
    }
}
