//! The largest dim and the largest group, and the errors beyond them.

use crate::error::{Error, Result};

/// The largest dim. A mebibyte of weights is a wrong argument, not an embedding.
pub const MAX_DIM: usize = 1 << 18;
/// The largest group; the smallest is 0.
pub const MAX_GROUP: u32 = u16::MAX as u32;
/// How many groups there can be.
pub(crate) const MAX_GROUPS: usize = MAX_GROUP as usize + 1;

/// Whether `dim` is one that a group can have.
pub(crate) fn is_dim(dim: usize) -> bool {
    (1..=MAX_DIM).contains(&dim)
}

/// A group's number as its 16 bits.
///
/// # Errors
/// `INVALID_ARGUMENT` above [`MAX_GROUP`].
pub(crate) fn group(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| not_a_group(number, " is needed"))
}

/// The error for a number that is no group's. `or` ends the message, after the accepted numbers.
pub(crate) fn not_a_group(number: u32, or: &str) -> Error {
    Error::invalid(format!("group is {number}; a number from 0 to {MAX_GROUP}{or}"))
}
