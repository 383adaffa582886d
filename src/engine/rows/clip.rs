//! Clipping: makes the gradients of a training step smaller, each key's after they were added up.

use super::part::Part;
use super::sum_gradients::measure;

/// What torch.nn.utils.clip_grad_norm_ adds to a norm before it divides by it.
const EPSILON: f64 = 1e-6;

/// The limits of a training step's gradients, in the order in which they are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clip {
    /// Of each float: torch.nn.utils.clip_grad_value_.
    pub value: Option<f32>,
    /// Of the 2-norm of each key's gradient.
    pub row_norm: Option<f64>,
    /// Of the 2-norm of the gradients of all keys of all groups together:
    /// torch.nn.utils.clip_grad_norm_.
    pub norm: Option<f64>,
}

impl Clip {
    /// Whether no gradient changes.
    pub(super) fn is_none(&self) -> bool {
        *self == Clip::default()
    }

    /// Clips each float and each key's gradient of a part. Returns the sum of the squares then.
    pub(super) fn clip_rows(&self, part: &mut Part, dim: usize) -> f64 {
        if let Some(limit) = self.value {
            part.floats.iter_mut().for_each(|float| *float = float.clamp(-limit, limit));
        }
        if let Some(limit) = self.row_norm {
            for row in part.floats.chunks_exact_mut(dim) {
                scale(row, factor(measure(row).0.sqrt(), limit));
            }
        }
        if self.norm.is_some() { measure(&part.floats).0 } else { 0.0 }
    }

    /// What gradients with this norm are multiplied with.
    pub(super) fn factor_of(&self, norm: f64) -> f32 {
        self.norm.map_or(1.0, |limit| factor(norm, limit))
    }
}

fn factor(norm: f64, limit: f64) -> f32 {
    (limit / (norm + EPSILON)).min(1.0) as f32
}

/// Multiplies floats by a factor, unless it is 1.
pub(super) fn scale(floats: &mut [f32], factor: f32) {
    if factor != 1.0 {
        floats.iter_mut().for_each(|float| *float *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(floats: &[f32]) -> Part {
        let mut part = Part::default();
        part.floats = floats.to_vec();
        part
    }

    #[test]
    fn values_come_first_then_rows_then_the_whole() {
        let clip = Clip { value: Some(4.0), row_norm: Some(2.5), norm: Some(1.0) };
        // Rows of norm 5 after 4 became the limit of 8, and of norm 1.
        let mut part = part(&[3.0, -8.0, 0.0, 1.0]);
        let squares = clip.clip_rows(&mut part, 2);
        let expected = [1.5, -2.0, 0.0, 1.0];
        assert!(part.floats.iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-6));
        assert!((squares - 7.25).abs() < 1e-5);
        let factor = clip.factor_of(squares.sqrt());
        assert!((f64::from(factor) - 1.0 / 7.25f64.sqrt()).abs() < 1e-6);
        assert_eq!(clip.factor_of(0.0), 1.0);
        assert_eq!(Clip::default().factor_of(9.0), 1.0);
    }

    #[test]
    fn gradients_within_the_limits_stay_bit_for_bit() {
        let clip = Clip { value: Some(1e18), row_norm: Some(1e30), norm: Some(1e30) };
        let mut part = part(&[0.1, -1e-45, 1e18, -0.0]);
        let before = part.floats.clone();
        clip.clip_rows(&mut part, 2);
        scale(&mut part.floats, clip.factor_of(1e18));
        assert!(
            part.floats.iter().zip(before).all(|(one, other)| one.to_bits() == other.to_bits())
        );
    }
}
