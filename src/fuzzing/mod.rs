//! What the fuzz targets in `fuzz/` need of damo's insides. The module exists only under `--cfg
//! fuzzing`, which cargo-fuzz sets; a normal build has nothing of it.
//!
//! Each function takes bytes as a damaged file may hold them. It returns, whatever the bytes are,
//! and panics where damo breaks a promise.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod journal;

pub use crate::storage::fuzzing::{checkpoint_list, documents, filter_list, row};
pub use journal::{read_journal, write_journal};
