//! Adagrad: each weight's rate falls with the sum of its squared gradients.
//!
//! ```text
//! g = g + lambda w
//! n = n + g^2
//! w = w - gamma / (1 + (t - 1) eta) * g / (sqrt(n) + epsilon)
//! ```
//!
//! Source: `torch.optim.Adagrad`, where eta is `lr_decay` and n begins with
//! `initial_accumulator_value`; Duchi, Hazan and Singer 2011. State: n.

use super::lanes::{Formula, Lanes};
use super::moments::quotient;
use super::parameters::{initial_accumulator, weight_decay};
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct Adagrad {
    lambda: f32,
    eta: f64,
    epsilon: f32,
    initial: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(Adagrad {
        lambda: weight_decay(reader, 0.0)? as f32,
        eta: reader.float(&["eta"], 0.0, FloatRange::NOT_NEGATIVE)?,
        epsilon: reader.float(&["epsilon"], 1e-10, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32,
        initial: initial_accumulator(reader)?,
    }))
}

impl Algorithm for Adagrad {
    fn state_len(&self, dim: usize) -> usize {
        dim
    }

    fn squares(&self, dim: usize) -> std::ops::Range<usize> {
        dim..2 * dim
    }

    fn begin(&self, state: &mut [f32]) {
        state.fill(self.initial);
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, t: u64) {
        let rate = (rate / (1.0 + (t - 1) as f64 * self.eta)) as f32;
        stepper.step_each(row, gradient, Step { rate, lambda: self.lambda, epsilon: self.epsilon });
    }
}

#[derive(Clone, Copy)]
struct Step {
    rate: f32,
    lambda: f32,
    epsilon: f32,
}

impl Formula<2> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w, n]: [V; 2], g: V) -> [V; 2] {
        let g = g + w * self.lambda;
        let n = n + g * g;
        [w - quotient(g * self.rate, n.sqrt() + self.epsilon), n]
    }
}
