//! The parameters of a filter, read and checked.

use std::path::PathBuf;

use crate::error::Result;
use crate::params::{FloatRange, Params};

/// The parameters with their defaults filled in.
#[derive(Clone, Debug)]
pub struct FilterOptions {
    /// How many keys may be counted before false positives exceed `fpr`.
    pub capacity: u64,
    /// How often a key must be added to be admitted.
    pub count: u32,
    /// The share of other keys that may pass for admitted.
    pub fpr: f64,
    /// The filter's file.
    pub path: PathBuf,
    /// Whether an existing file is opened, or replaced by an empty one.
    pub reload: bool,
    /// Whether closing writes a checksum of the counters, and opening compares it.
    pub verify: bool,
}

/// A counter has four bits.
const MAX_COUNT: i64 = 15;
const MAX_CAPACITY: i64 = 1 << 40;

const FPR: FloatRange =
    FloatRange { accepts: |x| (1e-6..=0.5).contains(&x), words: "a number from 1e-6 to 0.5" };

impl FilterOptions {
    /// Reads the bag.
    ///
    /// # Errors
    /// An unknown parameter or a value that is not accepted.
    pub fn read(params: &Params) -> Result<FilterOptions> {
        let mut reader = params.reader("filter");
        let capacity = reader.int("capacity", 1 << 28, 1, MAX_CAPACITY)?;
        let count = reader.int("count", MAX_COUNT, 1, MAX_COUNT)?;
        let fpr = reader.float(&["fpr"], 1e-3, FPR)?;
        let path =
            reader.required_text("path", "the path of a file, a string that is not empty")?;
        let reload = reader.bool("reload", true)?;
        let verify = reader.bool("verify", true)?;
        reader.finish()?;
        Ok(FilterOptions {
            capacity: capacity as u64,
            count: count as u32,
            fpr,
            path: path.into(),
            reload,
            verify,
        })
    }
}
