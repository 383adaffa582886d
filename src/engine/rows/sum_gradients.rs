//! Sum gradients: the sums that apply_gradients steps with, for a caller that needs them earlier.

use super::part::{Duplicates, Part};
use super::{Gradients, OpenGroup};
use crate::engine::Engine;
use crate::error::Result;
use crate::memory::room_for;

/// What sum_gradients tells of a batch's sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summed {
    /// How many keys were written.
    pub keys: usize,
    /// The 2-norm of all sums together, added up in double precision.
    pub norm: f64,
    /// The largest absolute value among the sums.
    pub largest: f64,
}

/// One part and the pieces of the caller's buffers that it is copied into.
struct Copying<'a> {
    part: &'a Part,
    keys: &'a mut [i64],
    sums: &'a mut [f32],
    squares: f64,
    largest: f32,
}

impl OpenGroup {
    /// Writes each key except the padding key once into `summed_keys`, and the sum or mean of its
    /// gradients, `dim` floats, at the same index in `sums`. Both must have room for the whole
    /// batch. Looks at no row.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `OUT_OF_MEMORY`. Nothing is written
    /// then.
    pub(crate) fn sum_gradients(
        &self,
        engine: &Engine,
        gradients: Gradients<'_>,
        (summed_keys, sums): (&mut [i64], &mut [f32]),
    ) -> Result<Summed> {
        let duplicates = match gradients.duplicates {
            Duplicates::Sequential | Duplicates::Sum => Duplicates::Sum,
            Duplicates::Mean => Duplicates::Mean,
        };
        let dedup = self.merged_gradients(engine, Gradients { duplicates, ..gradients })?;
        let summed = self.copy_sums(engine, &dedup.parts, summed_keys, sums);
        self.kept.keep(dedup, false);
        summed
    }

    /// Copies the parts into the buffers, one after the other.
    fn copy_sums(
        &self,
        engine: &Engine,
        parts: &[Part],
        mut keys_left: &mut [i64],
        mut sums_left: &mut [f32],
    ) -> Result<Summed> {
        let mut copies = room_for(parts.len())?;
        let mut count = 0;
        for part in parts {
            let (keys, sums);
            (keys, keys_left) = keys_left.split_at_mut(part.keys.len());
            (sums, sums_left) = sums_left.split_at_mut(part.floats.len());
            count += keys.len();
            copies.push(Copying { part, keys, sums, squares: 0.0, largest: 0.0 });
        }
        let _call = engine.pool.begin_work(count);
        engine.pool.each(count, &mut copies, |copy| {
            copy.keys.copy_from_slice(&copy.part.keys);
            copy.sums.copy_from_slice(&copy.part.floats);
            (copy.squares, copy.largest) = measure(&copy.part.floats);
            Ok(())
        })?;
        // Added in the order of the parts, so that the norm does not depend on the threads.
        let squares: f64 = copies.iter().map(|copy| copy.squares).sum();
        let largest = copies.iter().fold(0.0, |largest, copy| copy.largest.max(largest));
        Ok(Summed { keys: count, norm: squares.sqrt(), largest: largest.into() })
    }
}

/// The sum of the squares of finite floats, and the largest absolute value. Eight lanes, so that
/// the compiler makes vectors of them.
pub(super) fn measure(floats: &[f32]) -> (f64, f32) {
    const LANES: usize = 8;
    let (mut squares, mut largest) = ([0.0; LANES], [0.0; LANES]);
    let (chunks, rest) = floats.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            add(chunk[lane], &mut squares[lane], &mut largest[lane]);
        }
    }
    let (mut square, mut greatest) =
        (squares.iter().sum(), largest.iter().copied().fold(0.0, f32::max));
    rest.iter().for_each(|float| add(*float, &mut square, &mut greatest));
    (square, greatest)
}

#[inline(always)]
fn add(float: f32, square: &mut f64, largest: &mut f32) {
    let double = f64::from(float);
    *square += double * double;
    // f32::max would spend instructions on NaN.
    *largest = if float.abs() > *largest { float.abs() } else { *largest };
}

#[cfg(test)]
mod tests {
    use super::measure;

    #[test]
    fn every_length_is_measured_whole() {
        for len in 0..40 {
            let floats: Vec<f32> =
                (0..len).map(|n| if n % 2 == 0 { n as f32 } else { -n as f32 }).collect();
            let squares: f64 = floats.iter().map(|float| f64::from(*float).powi(2)).sum();
            assert_eq!(measure(&floats), (squares, (len - 1).max(0) as f32), "{len}");
        }
        assert_eq!(measure(&[1e18, -1e-45]), (f64::from(1e18f32).powi(2), 1e18));
        assert_eq!(measure(&[-1e-45]).0.sqrt(), f64::from(1e-45f32));
    }
}
