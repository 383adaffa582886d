//! `damo_gradients_sum`: a gradient per key becomes a gradient per distinct key.

use super::arguments::{bytes, check_all_apart};
use super::{arguments, guard};
use crate::error::damo_status;
use crate::kernels::gradients_sum;

/// Sums the gradients at each position: row p of sums becomes the sum of those rows i of gradients
/// whose positions[i] is p, or zeros if there are none.
///
/// - gradients: positions_len rows of dim floats. The next row begins gradients_stride floats after
///   the beginning of a row. What lies behind the last row may be missing from gradients_len.
/// - dim: 1 to 262144.
/// - positions: positions_len numbers, each that of a row of sums, as damo_keys_partition writes
///   them.
/// - sums: rows of dim floats, with their stride and length likewise. sums_len says how many there
///   are. The floats between them are neither read nor written.
///
/// Sums are float32, added in the order of gradients, as damo adds those of a key that occurs
/// several times. So damo_embedding_apply_gradients with the distinct keys and these sums gives the
/// same rows, bit for bit, as with all keys and gradients that it accepts when the option
/// duplicates is "sum". damo_embedding_sum_gradients does the same for keys that nobody has made
/// distinct.
///
/// Floats are not checked. A NaN goes into its sum, which damo_embedding_apply_gradients refuses.
/// Gradients beyond 1e18 may add up to one that it accepts. The call works on the caller's thread
/// alone.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a position that is no sum's (the message has its index and value); a wrong
///   dim; a stride below dim; a length that ends within a row; another number of gradients than
///   positions; a NULL buffer with a length; overlapping buffers, also where their rows do not.
/// - OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_gradients_sum(
    gradients: *const f32,
    gradients_len: usize,
    gradients_stride: usize,
    dim: usize,
    positions: *const u32,
    positions_len: usize,
    sums: *mut f32,
    sums_len: usize,
    sums_stride: usize,
) -> damo_status {
    guard::status("damo_gradients_sum", || {
        let read = [
            bytes(gradients, gradients_len, "gradients"),
            bytes(positions, positions_len, "positions"),
        ];
        check_all_apart(&read, &[bytes(sums, sums_len, "sums")])?;
        // SAFETY: the contract of `arguments`; sums overlap no other buffer.
        let (gradients, positions, sums) = unsafe {
            (
                arguments::rows((gradients, gradients_len), (dim, gradients_stride), "gradients")?,
                arguments::slice(positions, positions_len, "positions")?,
                arguments::rows_mut((sums, sums_len), (dim, sums_stride), "sums")?,
            )
        };
        gradients_sum(gradients, positions, sums)
    })
}
