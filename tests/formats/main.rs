//! Fixtures: what earlier releases wrote is read, with the same values, and gone on from.
//!
//! tests/golden/formats/damo-N has storages of the format "damo N": one that was closed, one that
//! was killed, a checkpoint. They are written once, while their format is the present one, and stay
//! for ever after:
//!
//!     DAMO_WRITE_FIXTURES=1 cargo test --release --test formats -- --ignored
//!
//! tests/golden/formats/files has files that are not storages; the same command adds those of a new
//! version.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod generate;
mod history;
mod storages;

use std::path::PathBuf;

/// Calls in a fixture; as many again go on from it.
const CALLS: u64 = 8;

/// What to do when a format has no fixture.
const WRITE: &str = "DAMO_WRITE_FIXTURES=1 cargo test --release --test formats -- --ignored";

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats")
}
