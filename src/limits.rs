//! The largest dim, group and number of threads; which lengths fit together; errors for the rest.

use std::fmt;

use crate::error::{Error, Result};

/// The largest dim. A mebibyte of weights is a wrong argument, not an embedding.
pub const MAX_DIM: usize = 1 << 18;
/// The largest group; the smallest is 0.
pub const MAX_GROUP: u32 = u16::MAX as u32;
/// The most threads of a storage or an executor.
pub(crate) const MAX_THREADS: usize = 1024;
/// The most threads that one merge, one write-back round or one scan has. More hardly help a disk.
pub(crate) const MAX_WORK_THREADS: usize = 8;
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

/// Refuses a buffer that does not hold `each` floats a key. `per_key` says in messages what those
/// are.
///
/// # Errors
/// `INVALID_ARGUMENT` naming both lengths.
pub(crate) fn check_floats(
    argument: &str,
    given: usize,
    keys: usize,
    each: usize,
    per_key: fmt::Arguments<'_>,
) -> Result<()> {
    let expected = keys.checked_mul(each);
    if expected == Some(given) {
        return Ok(());
    }
    let floats = expected.map_or("too many".to_owned(), |floats| floats.to_string());
    Err(Error::invalid(format!(
        "{argument}_len is {given} and keys_len is {keys}; {keys} keys x {per_key} = {floats} \
         floats are needed"
    )))
}

/// Refuses a buffer `found` that does not hold one byte a key.
///
/// # Errors
/// `INVALID_ARGUMENT` naming both lengths.
pub(crate) fn check_found(given: usize, keys: usize) -> Result<()> {
    if given == keys {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "found has {given} bytes and keys_len is {keys}; one byte a key is needed"
    )))
}
