//! Stochastic gradient descent with L2 regularisation.
//!
//! ```text
//! g = g + lambda w
//! w = w - gamma g
//! ```
//!
//! Source: `torch.optim.SGD` without momentum. No state.

use super::lanes::{Formula, Lanes};
use super::parameters::weight_decay;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::ParamReader;

struct Sgd {
    lambda: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(Sgd { lambda: weight_decay(reader, 0.0)? as f32 }))
}

impl Algorithm for Sgd {
    fn state_len(&self, _dim: usize) -> usize {
        0
    }

    fn squares(&self, _dim: usize) -> std::ops::Range<usize> {
        0..0
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, _t: u64) {
        stepper.step_each(row, gradient, Step { rate: rate as f32, lambda: self.lambda });
    }
}

#[derive(Clone, Copy)]
struct Step {
    rate: f32,
    lambda: f32,
}

impl Formula<1> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w]: [V; 1], g: V) -> [V; 1] {
        let g = g + w * self.lambda;
        [w - g * self.rate]
    }
}
