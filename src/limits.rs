//! The largest dim and the largest group, and how others are refused.

use crate::error::{Error, Result};

/// The largest dim: a mebibyte of weights is no embedding but a wrong argument.
pub const MAX_DIM: usize = 1 << 18;
/// Groups are numbered from 0 to this.
pub const MAX_GROUP: u32 = u16::MAX as u32;
/// As many groups can there be.
pub(crate) const MAX_GROUPS: usize = MAX_GROUP as usize + 1;

/// Whether a group can have this dim.
pub(crate) fn is_dim(dim: usize) -> bool {
    (1..=MAX_DIM).contains(&dim)
}

/// The group with a number.
///
/// # Errors
/// `INVALID_ARGUMENT` above [`MAX_GROUP`].
pub(crate) fn group(number: u32) -> Result<u16> {
    u16::try_from(number).map_err(|_| not_a_group(number, " is needed"))
}

/// The refusal of a number that is no group's. `or` goes on after the numbers that are accepted.
pub(crate) fn not_a_group(number: u32, or: &str) -> Error {
    Error::invalid(format!("group is {number}; a number from 0 to {MAX_GROUP}{or}"))
}
