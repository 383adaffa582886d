//! Gathers rows: a row per distinct key becomes a row per key.

use super::check_positions;
use super::strided::{Rows, RowsMut, check_count};

use crate::error::{Error, Result};

/// How many rows ahead of its use a row is prefetched.
const AHEAD: usize = 12;

/// Copies the row at each of `positions` to `outputs`.
///
/// # Errors
/// `INVALID_ARGUMENT` for another number of outputs than positions, another dim, and a position
/// that is no row's. Nothing is written.
pub fn rows_gather(rows: Rows<'_>, positions: &[u32], mut outputs: RowsMut<'_>) -> Result<()> {
    check_count("outputs", outputs.count(), positions.len())?;
    check_same_dim(rows.dim(), outputs.dim())?;
    check_positions(positions, rows.count(), "rows")?;
    // For the usual dims the compiler knows the length of a row.
    match rows.dim() {
        8 => copy(rows, positions, &mut outputs, 8),
        16 => copy(rows, positions, &mut outputs, 16),
        32 => copy(rows, positions, &mut outputs, 32),
        64 => copy(rows, positions, &mut outputs, 64),
        dim => copy(rows, positions, &mut outputs, dim),
    }
    Ok(())
}

/// Refuses rows of two dims. C passes one.
pub(super) fn check_same_dim(first: usize, second: usize) -> Result<()> {
    if first == second {
        return Ok(());
    }
    Err(Error::invalid(format!("rows have {first} and {second} floats; one dim is needed")))
}

#[inline(always)]
fn copy(rows: Rows<'_>, positions: &[u32], outputs: &mut RowsMut<'_>, dim: usize) {
    for (index, position) in positions.iter().enumerate() {
        if let Some(later) = positions.get(index + AHEAD) {
            rows.prefetch(*later as usize);
        }
        outputs.row(index)[..dim].copy_from_slice(&rows.row(*position as usize)[..dim]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_to_their_positions_and_nothing_between_them_changes() {
        for dim in [1, 3, 8, 16, 17, 32, 64] {
            let (from, to) = (dim + 1, dim + 2);
            let floats: Vec<f32> = (0..5 * from - 1).map(|n| n as f32).collect();
            let positions = [4, 0, 0, 3, 1, 4, 2];
            let mut outputs = vec![-1.0; positions.len() * to];
            rows_gather(
                Rows::new(&floats, dim, from).unwrap(),
                &positions,
                RowsMut::new(&mut outputs, dim, to).unwrap(),
            )
            .unwrap();
            for (position, output) in positions.iter().zip(outputs.chunks_exact(to)) {
                let start = *position as usize * from;
                assert_eq!(output[..dim], floats[start..start + dim], "{dim}");
                assert_eq!(output[dim..], [-1.0; 2], "{dim}");
            }
        }
    }

    #[test]
    fn wrong_arguments_are_named_and_nothing_is_written() {
        let refused = |rows: usize, positions: &[u32], outputs: usize, words: &str| {
            let (floats, mut room) = (vec![1.0; rows * 2], vec![-1.0; outputs * 2]);
            let (rows, room_rows) =
                (Rows::new(&floats, 2, 2).unwrap(), RowsMut::new(&mut room, 2, 2).unwrap());
            let error = rows_gather(rows, positions, room_rows).unwrap_err();
            assert!(error.message().contains(words), "{error}");
            assert!(room.iter().all(|float| *float == -1.0));
        };
        refused(3, &[0, 1, 3, 9], 4, "positions[2] is 3; rows has 3 rows, so 0 to 2 are accepted");
        refused(3, &[u32::MAX], 1, "positions[0] is 4294967295");
        refused(0, &[0], 1, "positions[0] is 0; rows has 0 rows, so no position is accepted");
        refused(3, &[0, 1], 3, "outputs has 3 rows and positions_len is 2");
        let mut room = [0.0; 3];
        let (rows, other) = (Rows::new(&[1.0], 1, 1), RowsMut::new(&mut room, 3, 3));
        assert!(rows_gather(rows.unwrap(), &[0], other.unwrap()).is_err());
        let none = RowsMut::new(&mut [], 1, 1).unwrap();
        rows_gather(Rows::new(&[], 1, 1).unwrap(), &[], none).unwrap();
    }
}
