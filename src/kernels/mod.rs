//! Kernels: what callers that shard batches, or make their keys distinct, do with arrays before and
//! after damo's calls.
//!
//! They need no storage and keep nothing. They work on the caller's thread alone, and the same
//! input gives the same output, bit for bit. `kernels/<noun>_<verb>.rs` has what
//! `damo_<noun>_<verb>` does.

mod gradients_sum;
mod key_shard;
mod keys_partition;
mod rows_gather;
mod strided;

pub use gradients_sum::gradients_sum;
pub use key_shard::{MAX_SHARDS, key_shard, key_shards};
pub use keys_partition::{Partitioned, keys_partition};
pub use rows_gather::rows_gather;
pub(crate) use strided::count_of;
pub use strided::{Rows, RowsMut};

use crate::error::{Error, Result};

/// Refuses positions beyond a number of rows. `rows` is what those are called.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the first wrong position's index and value.
pub(crate) fn check_positions(positions: &[u32], count: usize, rows: &str) -> Result<()> {
    // The largest one first: the compiler makes vectors of that loop.
    let largest = positions.iter().copied().fold(0, u32::max);
    if positions.is_empty() || (largest as usize) < count {
        return Ok(());
    }
    let is_wrong = |position: &u32| *position as usize >= count;
    let index = positions.iter().position(is_wrong).unwrap_or_default();
    let accepted = match count {
        0 => "no position is accepted".to_owned(),
        _ => format!("0 to {} are accepted", count - 1),
    };
    Err(Error::invalid(format!(
        "positions[{index}] is {}; {rows} has {count} rows, so {accepted}",
        positions[index]
    )))
}
