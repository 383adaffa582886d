//! Sums gradients: a gradient per key becomes a gradient per distinct key.

use super::check_positions;
use super::rows_gather::check_same_dim;
use super::strided::{Rows, RowsMut, check_count};
use crate::error::Result;
use crate::memory::filled;

/// How many gradients ahead of its use a sum is prefetched. The gradients lie in order.
const AHEAD: usize = 24;

/// Writes to each row of `sums` the sum of the gradients that have its position, or zeros if none
/// has. A sum is float32, and its gradients are added in their order, beginning with the first one:
/// as apply_gradients adds those of a key that occurs several times.
///
/// # Errors
/// `INVALID_ARGUMENT` for another number of gradients than positions, another dim, and a position
/// that is no sum's; `OUT_OF_MEMORY`. Nothing is written.
pub fn gradients_sum(gradients: Rows<'_>, positions: &[u32], mut sums: RowsMut<'_>) -> Result<()> {
    check_count("gradients", gradients.count(), positions.len())?;
    check_same_dim(gradients.dim(), sums.dim())?;
    check_positions(positions, sums.count(), "sums")?;
    let mut is_begun = filled(false, sums.count())?;
    // For the usual dims the compiler knows the length of a row.
    match gradients.dim() {
        8 => add(gradients, positions, &mut sums, &mut is_begun, 8),
        16 => add(gradients, positions, &mut sums, &mut is_begun, 16),
        32 => add(gradients, positions, &mut sums, &mut is_begun, 32),
        64 => add(gradients, positions, &mut sums, &mut is_begun, 64),
        dim => add(gradients, positions, &mut sums, &mut is_begun, dim),
    }
    for index in (0..sums.count()).filter(|index| !is_begun[*index]) {
        sums.row(index).fill(0.0);
    }
    Ok(())
}

#[inline(always)]
fn add(
    gradients: Rows<'_>,
    positions: &[u32],
    sums: &mut RowsMut<'_>,
    is_begun: &mut [bool],
    dim: usize,
) {
    for (index, position) in positions.iter().enumerate() {
        if let Some(later) = positions.get(index + AHEAD) {
            sums.prefetch(*later as usize);
        }
        let gradient = &gradients.row(index)[..dim];
        let sum = &mut sums.row(*position as usize)[..dim];
        if std::mem::replace(&mut is_begun[*position as usize], true) {
            sum.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += gradient);
        } else {
            // A copy, and not 0 + gradient: that would lose the sign of -0.
            sum.copy_from_slice(gradient);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A plain loop, which begins with the first gradient.
    fn model(gradients: &[Vec<f32>], positions: &[u32], count: usize) -> Vec<Vec<u32>> {
        let mut sums: Vec<Option<Vec<f32>>> = vec![None; count];
        for (gradient, position) in gradients.iter().zip(positions) {
            match &mut sums[*position as usize] {
                Some(sum) => sum.iter_mut().zip(gradient).for_each(|(sum, more)| *sum += more),
                none => *none = Some(gradient.clone()),
            }
        }
        let dim = gradients.first().map_or(0, Vec::len);
        let bits = |sum: Vec<f32>| sum.into_iter().map(f32::to_bits).collect();
        sums.into_iter().map(|sum| bits(sum.unwrap_or(vec![0.0; dim]))).collect()
    }

    #[test]
    fn sums_are_those_of_a_loop_bit_for_bit() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for dim in [1, 3, 8, 16, 17, 32, 64] {
            for count in [1, 7, 200] {
                let (from, to) = (dim + 2, dim + 1);
                // Sizes so different that another order of addition gives other sums.
                let mut float = || {
                    let size = 10f32.powi(random.random_range(-12..8));
                    random.random_range(-1.0..1.0f32) * size
                };
                let mut floats: Vec<f32> = (0..300 * from).map(|_| float()).collect();
                floats[..from].fill(-0.0);
                let positions: Vec<u32> =
                    (0..300).map(|_| random.random_range(0..count as u32)).collect();
                let mut sums = vec![7.0; count * to];
                gradients_sum(
                    Rows::new(&floats, dim, from).unwrap(),
                    &positions,
                    RowsMut::new(&mut sums, dim, to).unwrap(),
                )
                .unwrap();
                let gradients: Vec<Vec<f32>> =
                    floats.chunks_exact(from).map(|row| row[..dim].to_vec()).collect();
                let expected = model(&gradients, &positions, count);
                for (sum, expected) in sums.chunks_exact(to).zip(expected) {
                    let bits: Vec<u32> = sum[..dim].iter().map(|float| float.to_bits()).collect();
                    assert_eq!(bits, expected, "{dim} {count}");
                    assert_eq!(sum[dim], 7.0);
                }
            }
        }
    }

    #[test]
    fn a_sum_without_gradients_is_zero_and_a_lone_one_keeps_its_bits() {
        let mut sums = [7.0; 3];
        let gradients = Rows::new(&[-0.0], 1, 1).unwrap();
        gradients_sum(gradients, &[1], RowsMut::new(&mut sums, 1, 1).unwrap()).unwrap();
        assert_eq!(sums.map(f32::to_bits), [0.0f32, -0.0, 0.0].map(f32::to_bits));
    }

    #[test]
    fn wrong_arguments_are_named_and_nothing_is_written() {
        let refused = |gradients: usize, positions: &[u32], sums: usize, words: &str| {
            let (floats, mut room) = (vec![1.0; gradients * 2], vec![-1.0; sums * 2]);
            let (rows, room_rows) =
                (Rows::new(&floats, 2, 2).unwrap(), RowsMut::new(&mut room, 2, 2).unwrap());
            let error = gradients_sum(rows, positions, room_rows).unwrap_err();
            assert!(error.message().contains(words), "{error}");
            assert!(room.iter().all(|float| *float == -1.0));
        };
        refused(2, &[0, 3], 3, "positions[1] is 3; sums has 3 rows, so 0 to 2 are accepted");
        refused(2, &[0], 3, "gradients has 2 rows and positions_len is 1");
        refused(1, &[0], 0, "positions[0] is 0; sums has 0 rows");
        let mut room = [0.0; 3];
        let (rows, other) = (Rows::new(&[1.0], 1, 1), RowsMut::new(&mut room, 3, 3));
        assert!(gradients_sum(rows.unwrap(), &[0], other.unwrap()).is_err());
    }
}
