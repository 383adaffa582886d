//! Lion: the sign of an interpolated momentum, with decoupled weight decay.
//!
//! ```text
//! c = beta1 m + (1 - beta1) g
//! w = w - eta (sign(c) + lambda w)        sign(0) = 0
//! m = beta2 m + (1 - beta2) g
//! ```
//!
//! Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, algorithm 2. State: m.

use super::lanes::{Formula, Lanes};
use super::parameters::weight_decay;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct Lion {
    beta1: f64,
    beta2: f64,
    lambda: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(Lion {
        beta1: reader.float(&["beta1"], 0.9, FloatRange::DECAY)?,
        beta2: reader.float(&["beta2"], 0.99, FloatRange::DECAY)?,
        lambda: weight_decay(reader, 1e-2)? as f32,
    }))
}

impl Algorithm for Lion {
    fn state_len(&self, dim: usize) -> usize {
        dim
    }

    fn squares(&self, _dim: usize) -> std::ops::Range<usize> {
        0..0
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, _t: u64) {
        let step = Step {
            rate: rate as f32,
            keep1: self.beta1 as f32,
            take1: (1.0 - self.beta1) as f32,
            keep2: self.beta2 as f32,
            take2: (1.0 - self.beta2) as f32,
            lambda: self.lambda,
        };
        stepper.step_each(row, gradient, step);
    }
}

#[derive(Clone, Copy)]
struct Step {
    rate: f32,
    keep1: f32,
    take1: f32,
    keep2: f32,
    take2: f32,
    lambda: f32,
}

impl Formula<2> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w, m]: [V; 2], g: V) -> [V; 2] {
        let c = m * self.keep1 + g * self.take1;
        [w - (sign(c) + w * self.lambda) * self.rate, m * self.keep2 + g * self.take2]
    }
}

/// Unlike `f32::signum`, 0 for both zeros.
#[inline(always)]
fn sign<V: Lanes>(x: V) -> V {
    let (zero, one) = (V::splat(0.0), V::splat(1.0));
    V::select(x.gt(zero), one, zero) - V::select(zero.gt(x), one, zero)
}
