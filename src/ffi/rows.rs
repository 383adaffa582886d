//! `damo_rows_gather`: a row per distinct key becomes a row per key.

use super::arguments::{bytes, check_all_apart};
use super::{arguments, guard};
use crate::error::damo_status;
use crate::kernels::rows_gather;

/// Copies the row at each position: row i of outputs becomes row positions[i] of rows.
///
/// - rows: rows of dim floats. The next row begins rows_stride floats after the beginning of a row.
///   rows_len says how many there are; what lies behind the last row may be missing.
/// - dim: 1 to 262144.
/// - positions: positions_len numbers, each that of a row, as damo_keys_partition writes them.
/// - outputs: positions_len rows of dim floats, with their stride and length likewise. The floats
///   between them are neither read nor written.
///
/// With a stride, outputs may be some columns of a matrix, such as those of one feature: pass the
/// address of the first one. Several threads may fill different columns of it at once. The call
/// works on the caller's thread alone.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a position that is no row's (the message has its index and value); a wrong
///   dim; a stride below dim; a length that ends within a row; another number of outputs than
///   positions; a NULL buffer with a length; overlapping buffers, also where their rows do not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_rows_gather(
    rows: *const f32,
    rows_len: usize,
    rows_stride: usize,
    dim: usize,
    positions: *const u32,
    positions_len: usize,
    outputs: *mut f32,
    outputs_len: usize,
    outputs_stride: usize,
) -> damo_status {
    guard::status("damo_rows_gather", || {
        let read = [bytes(rows, rows_len, "rows"), bytes(positions, positions_len, "positions")];
        check_all_apart(&read, &[bytes(outputs, outputs_len, "outputs")])?;
        // SAFETY: the contract of `arguments`; outputs overlap no other buffer.
        let (rows, positions, outputs) = unsafe {
            (
                arguments::rows((rows, rows_len), (dim, rows_stride), "rows")?,
                arguments::slice(positions, positions_len, "positions")?,
                arguments::rows_mut((outputs, outputs_len), (dim, outputs_stride), "outputs")?,
            )
        };
        rows_gather(rows, positions, outputs)
    })
}
