//! Clipping: makes gradients smaller, each key's after they were added up. An embedding's limits
//! hold for each call, those of a training step for all of its groups together.

use super::clip::{Clip, factor};
use super::dedup::Dedup;
use super::norm::{scale, squares};
use super::part::Part;
use crate::engine::pool::Pool;
use crate::error::Result;
use crate::memory::room_for;

impl Clip {
    /// Clips the gradients of a call on one group.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(super) fn clip_call(&self, pool: &Pool, dedup: &mut Dedup, dim: usize) -> Result<()> {
        if let [part] = &mut *dedup.parts {
            let squares = self.clip_rows(part, dim);
            scale(&mut part.floats, self.factor_of(squares.sqrt()));
            return Ok(());
        }
        let keys = dedup.parts.iter().map(|part| part.keys.len()).sum();
        let _call = pool.begin_work(keys);
        let mut parts = room_for(dedup.parts.len())?;
        parts.extend(dedup.parts.iter_mut().map(|part| (part, 0.0)));
        pool.each(keys, &mut parts, |(part, squares)| {
            *squares = self.clip_rows(part, dim);
            Ok(())
        })?;
        // Added in the order of the parts, so that the norm does not depend on the threads.
        let norm = parts.iter().map(|(_, squares)| squares).sum::<f64>().sqrt();
        let factor = self.factor_of(norm);
        if factor == 1.0 {
            return Ok(());
        }
        pool.each(keys, &mut parts, |(part, _)| {
            scale(&mut part.floats, factor);
            Ok(())
        })
    }

    /// Clips each float and each key's gradient of a part. Returns the sum of the squares then.
    pub(super) fn clip_rows(&self, part: &mut Part, dim: usize) -> f64 {
        if let Some(limit) = self.value {
            part.floats.iter_mut().for_each(|float| *float = float.clamp(-limit, limit));
        }
        if let Some(limit) = self.row_norm {
            for row in part.floats.chunks_exact_mut(dim) {
                scale(row, factor(squares(row).sqrt(), limit));
            }
        }
        if self.norm.is_some() { squares(&part.floats) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(floats: &[f32]) -> Part {
        let mut part = Part::default();
        part.floats.extend_from_slice(floats);
        part
    }

    #[test]
    fn values_come_first_then_rows_then_the_whole() {
        let clip = Clip { value: Some(4.0), row_norm: Some(2.5), norm: Some(1.0) };
        // clip_value makes 4 of 8, so the first row has norm 5; the second one has norm 1.
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
