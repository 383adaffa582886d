//! AMSGrad: Adam whose second moment never falls.
//!
//! ```text
//! g = g + lambda w
//! m = beta1 m + (1 - beta1) g
//! v = beta2 v + (1 - beta2) g^2
//! v_max = max(v_max, v)
//! w = w - gamma / (1 - beta1^t) * m / (sqrt(v_max / (1 - beta2^t)) + epsilon)
//! ```
//!
//! Source: `torch.optim.Adam(amsgrad=True)`; Reddi, Kale and Kumar 2018. State: m, v, v_max.

use super::lanes::{Formula, Lanes};
use super::moments::{Moments, MomentsStep};
use super::parameters::weight_decay;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::ParamReader;

struct Amsgrad {
    moments: Moments,
    lambda: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(Amsgrad {
        moments: Moments::read(reader)?,
        lambda: weight_decay(reader, 0.0)? as f32,
    }))
}

impl Algorithm for Amsgrad {
    fn state_len(&self, dim: usize) -> usize {
        3 * dim
    }

    fn squares(&self, dim: usize) -> std::ops::Range<usize> {
        2 * dim..4 * dim
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

impl Formula<4> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w, m, v, v_max]: [V; 4], g: V) -> [V; 4] {
        let (m, v) = self.moments.update(m, v, g + w * self.lambda);
        let v_max = V::select(v.gt(v_max), v, v_max);
        [w + self.moments.descent(m, v_max), m, v, v_max]
    }
}
