//! What adam, amsgrad and adamw share: two moving averages of the gradient and their bias
//! corrections.
//!
//! Source: Kingma and Ba 2015, in the arrangement of `torch.optim.Adam`.

use super::bias::Correction;
use super::lanes::Lanes;
use crate::error::Result;
use crate::params::{FloatRange, ParamReader};

/// `beta1`, `beta2`, `epsilon`, and the values that follow from them for every row.
pub(super) struct Moments {
    /// 1 - beta1^t
    correction1: Correction<f64>,
    /// sqrt(1 - beta2^t)
    root_correction2: Correction<f32>,
    averages: Averages,
}

/// beta1, 1 - beta1, beta2, 1 - beta2 and epsilon.
#[derive(Clone, Copy)]
struct Averages {
    keep1: f32,
    take1: f32,
    keep2: f32,
    take2: f32,
    epsilon: f32,
}

/// The scalars of one row's step and the arithmetic on them.
#[derive(Clone, Copy)]
pub(super) struct MomentsStep {
    averages: Averages,
    /// -rate / (1 - beta1^t)
    step_size: f32,
    /// sqrt(1 - beta2^t)
    root: f32,
}

impl Moments {
    pub(super) fn read(reader: &mut ParamReader<'_>) -> Result<Moments> {
        let beta1 = reader.float(&["beta1"], 0.9, FloatRange::DECAY)?;
        let beta2 = reader.float(&["beta2"], 0.999, FloatRange::DECAY)?;
        let epsilon = reader.float(&["epsilon"], 1e-8, FloatRange::FLOAT32_NOT_NEGATIVE)? as f32;
        Ok(Moments {
            // 1 - x rounds to 1 in float64 for x <= 2^-54, and its root in float32 for x < 2^-24.
            correction1: Correction::new(beta1, 55, |correction| correction),
            root_correction2: Correction::new(beta2, 26, |correction| correction.sqrt() as f32),
            averages: Averages {
                keep1: beta1 as f32,
                take1: (1.0 - beta1) as f32,
                keep2: beta2 as f32,
                take2: (1.0 - beta2) as f32,
                epsilon,
            },
        })
    }

    /// The scalars of a row's update `t`.
    #[inline(always)]
    pub(super) fn step(&self, rate: f64, t: u64) -> MomentsStep {
        MomentsStep {
            averages: self.averages,
            step_size: -(rate / self.correction1.at(t)) as f32,
            root: self.root_correction2.at(t),
        }
    }
}

impl MomentsStep {
    /// Both averages with one more gradient in them.
    #[inline(always)]
    pub(super) fn update<V: Lanes>(self, m: V, v: V, g: V) -> (V, V) {
        let Averages { keep1, take1, keep2, take2, .. } = self.averages;
        (m * keep1 + g * take1, v * keep2 + g * take2 * g)
    }

    /// The step `-rate m^ / (sqrt(v^) + epsilon)`, to be added to the weight.
    #[inline(always)]
    pub(super) fn descent<V: Lanes>(self, m: V, v: V) -> V {
        quotient(m * self.step_size, v.sqrt() / self.root + self.averages.epsilon)
    }
}

/// `numerator / denominator`, and 0 for 0 / 0. With epsilon = 0, a weight that has never had a
/// gradient has both zero; it must stay where it is and not become NaN.
#[inline(always)]
pub(super) fn quotient<V: Lanes>(numerator: V, denominator: V) -> V {
    let zero = V::splat(0.0);
    V::select(denominator.ne(zero), numerator / denominator, zero)
}
