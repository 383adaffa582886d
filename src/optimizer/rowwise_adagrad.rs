//! Row-wise Adagrad: one accumulator a row instead of one a weight, for a sixteenth of the state at
//! dim 16.
//!
//! ```text
//! g = g + lambda w
//! m = m + mean(g^2)
//! w = w - gamma g / (sqrt(m) + epsilon)
//! ```
//!
//! Source: FBGEMM's `EXACT_ROWWISE_ADAGRAD`; Mudigere et al. 2022. State: m, one float, which
//! begins with `initial_accumulator_value`.

use super::lanes::{Formula, Lanes};
use super::moments::quotient;
use super::parameters::{initial_accumulator, weight_decay};
use super::rule::{Algorithm, Rule, Stepper};
use super::simd::Path;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

struct RowwiseAdagrad {
    lambda: f32,
    epsilon: f32,
    initial: f32,
}

pub(super) fn build(reader: &mut ParamReader<'_>, path: Path) -> Result<Box<dyn Rule>> {
    Ok(path.rule(RowwiseAdagrad {
        lambda: weight_decay(reader, 0.0)? as f32,
        epsilon: reader.float(&["epsilon"], 1e-8, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32,
        initial: initial_accumulator(reader)?,
    }))
}

/// The sum has this many independent lanes, so that the compiler may vectorise it.
const LANES: usize = 8;

impl Algorithm for RowwiseAdagrad {
    fn state_len(&self, _dim: usize) -> usize {
        1
    }

    fn squares(&self, dim: usize) -> std::ops::Range<usize> {
        dim..dim + 1
    }

    fn begin(&self, state: &mut [f32]) {
        state.fill(self.initial);
    }

    #[inline(always)]
    fn step(&self, stepper: impl Stepper, row: &mut [f32], gradient: &[f32], rate: f64, _t: u64) {
        let (weights, state) = row.split_at_mut(gradient.len());
        let Some(m) = state.first_mut() else { return };
        let square = |w: &f32, g: &f32| {
            let g = g + w * self.lambda;
            g * g
        };
        let mut lanes = [0.0f32; LANES];
        let (whole_w, rest_w) = weights.as_chunks::<LANES>();
        let (whole_g, rest_g) = gradient.as_chunks::<LANES>();
        for (w, g) in whole_w.iter().zip(whole_g) {
            for ((lane, w), g) in lanes.iter_mut().zip(w).zip(g) {
                *lane += square(w, g);
            }
        }
        let mut sum = 0.0;
        // The rest belongs to the first lanes. It is added to the sum and not to the array: loading
        // a vector that has just been stored in parts stalls the CPU.
        let mut rest = rest_w.iter().zip(rest_g);
        for lane in lanes {
            sum += rest.next().map_or(lane, |(w, g)| lane + square(w, g));
        }
        *m += sum / gradient.len() as f32;

        let denominator = m.sqrt() + self.epsilon;
        stepper.step_each(
            weights,
            gradient,
            Step { rate: rate as f32, lambda: self.lambda, denominator },
        );
    }
}

#[derive(Clone, Copy)]
struct Step {
    rate: f32,
    lambda: f32,
    denominator: f32,
}

impl Formula<1> for Step {
    #[inline(always)]
    fn next<V: Lanes>(self, [w]: [V; 1], g: V) -> [V; 1] {
        let g = g + w * self.lambda;
        [w - quotient(g * self.rate, V::splat(self.denominator))]
    }
}
