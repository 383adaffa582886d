//! Adam with L2 regularisation in the gradient.
//!
//! ```text
//! g = g + lambda w
//! m = beta1 m + (1 - beta1) g
//! v = beta2 v + (1 - beta2) g^2
//! w = w - gamma / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + epsilon)
//! ```
//!
//! Source: `torch.optim.Adam`; Kingma and Ba 2015. `t` counts the row's own updates, so a row that
//! appears late gets the bias correction of a first step. State: m, v.

use super::lanes::{Formula, Lanes};
use super::moments::{Moments, MomentsStep};
use super::parameters::weight_decay;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::ParamReader;

struct Adam {
    moments: Moments,
    lambda: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path
        .rule(Adam { moments: Moments::read(reader)?, lambda: weight_decay(reader, 0.0)? as f32 }))
}

impl Algorithm for Adam {
    fn state_len(&self, dim: usize) -> usize {
        2 * dim
    }

    fn squares(&self, dim: usize) -> std::ops::Range<usize> {
        2 * dim..3 * dim
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, t: u64) {
        stepper.step_each(
            row,
            gradient,
            Step { moments: self.moments.step(rate, t), lambda: self.lambda },
        );
    }
}

#[derive(Clone, Copy)]
struct Step {
    moments: MomentsStep,
    lambda: f32,
}

impl Formula<3> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w, m, v]: [V; 3], g: V) -> [V; 3] {
        let (m, v) = self.moments.update(m, v, g + w * self.lambda);
        [w + self.moments.descent(m, v), m, v]
    }
}
