//! FTRL-Proximal: per-coordinate rates with L1 and L2 regularisation, for sparse linear models.
//!
//! ```text
//! sigma = (sqrt(n + g^2) - sqrt(n)) / alpha
//! z = z + g - sigma w
//! n = n + g^2
//! w = 0                                                          if |z| <= lambda1
//!     -(z - sign(z) lambda1) / ((beta + sqrt(n)) / alpha + lambda2)   otherwise
//! ```
//!
//! Source: McMahan et al. 2013, Ad Click Prediction: a View from the Trenches, algorithm 1. State:
//! z, n.
//!
//! The paper's alpha is constant. With an alpha that changes, the algorithm as it stands would
//! scale every weight by new alpha / old alpha: a warmup over 1000 steps would make weights a
//! thousand times too large. sigma stands for the change of the inverse rate, `sigma = 1 / rate - 1
//! / old rate` with `rate = alpha / (beta + sqrt(n))`. The old rate need not be stored, since a
//! weight that is not zero determines it: `-(z - sign(z) lambda1) = w (1 / old rate + lambda2)`.
//! Put into the update of z this gives
//!
//! ```text
//! z = sign(z) lambda1 + g - w c           with c = (beta + sqrt(n)) / alpha + lambda2
//! w = w - g / c                           while z stays on its side of lambda1
//! ```
//!
//! For a constant alpha this is the algorithm. For any other alpha the weight continues from its
//! present value. Without beta, lambda1 and lambda2 it is Adagrad.
//!
//! n begins with `initial_accumulator_value`, as in TensorFlow's Ftrl. An inserted row has weights
//! to which no gradient has led, so no z belongs to them. Its z gets the sign that the weight
//! implies and a size just beyond lambda1; the next step then takes the weights for a solution and
//! continues from them.
//!
//! A coordinate whose gradients have all been zero becomes 0, as in the paper, unless it was
//! inserted. A learning rate of 0 (the first step of a warmup) leaves the row as it is.

use super::lanes::{Formula, Lanes};
use super::moments::quotient;
use super::parameters::initial_accumulator;
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

/// Below this a rate moves no weight and its inverse overflows.
const SMALLEST_RATE: f32 = 1e-30;

struct Ftrl {
    beta: f32,
    lambda1: f32,
    lambda2: f32,
    initial: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(Ftrl {
        beta: reader.float(&["beta"], 0.0, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32,
        lambda1: reader.float(&["lambda1"], 0.0, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32,
        lambda2: reader.float(&["lambda2"], 0.0, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32,
        initial: initial_accumulator(reader)?,
    }))
}

impl Algorithm for Ftrl {
    fn state_len(&self, dim: usize) -> usize {
        2 * dim
    }

    fn squares(&self, dim: usize) -> std::ops::Range<usize> {
        2 * dim..3 * dim
    }

    fn begin(&self, state: &mut [f32]) {
        let (z, n) = state.split_at_mut(state.len() / 2);
        z.fill(0.0);
        n.fill(self.initial);
    }

    fn begin_at(&self, weights: &[f32], state: &mut [f32]) {
        self.begin(state);
        for (z, weight) in state.iter_mut().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            *z = self.lambda1.next_up().min(f32::MAX).copysign(-weight);
        }
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, _t: u64) {
        let alpha = rate as f32;
        if alpha < SMALLEST_RATE {
            return;
        }
        let Ftrl { beta, lambda1, lambda2, .. } = *self;
        stepper.step_each(row, gradient, Step { alpha, beta, lambda1, lambda2 });
    }
}

#[derive(Clone, Copy)]
struct Step {
    alpha: f32,
    beta: f32,
    lambda1: f32,
    lambda2: f32,
}

impl Formula<3> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w, z, n]: [V; 3], g: V) -> [V; 3] {
        let root = n.sqrt();
        let n = n + g * g;
        let new_root = n.sqrt();
        let curvature = (new_root + self.beta) / self.alpha + self.lambda2;

        // For a fresh weight, which is not in z yet, and for a zero, where it makes no difference:
        // sigma of algorithm 1, written so that the roots neither cancel nor overflow where n does.
        let sigma = g * quotient(g, (new_root + root) * self.alpha);
        let (zero, lambda1) = (V::splat(0.0), V::splat(self.lambda1));
        let is_solution = z.abs().gt(lambda1) & w.ne(zero);
        let kept = V::select(is_solution, lambda1.copysign(z) - w * curvature, z - sigma * w);
        let next = kept + g;
        let same_side = is_solution & next.same_sign(z);

        let shrunk = next.abs() - lambda1;
        let ratio = quotient(V::select(same_side, g, -shrunk.copysign(next)), curvature);
        let weight = V::select(same_side, w - ratio, ratio);
        // Without a gradient a solution stays, even where its curvature is too small to tell.
        let or_stays =
            |moved, old| V::select(is_solution, V::select(g.ne(zero), moved, old), moved);
        let is_beyond = shrunk.gt(zero);
        [
            V::select(is_beyond, weight, or_stays(zero, w)),
            V::select(is_beyond, next, or_stays(next, z)),
            n,
        ]
    }
}
