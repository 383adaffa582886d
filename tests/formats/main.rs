//! Fixtures: this release reads what earlier ones wrote, with the same values, and goes on from it.
//!
//! tests/golden/formats/damo-N has storages of the format "damo N": a closed one, a killed one, and
//! a checkpoint. They are written once, while their format is current, and stay for ever:
//!
//!     DAMO_WRITE_FIXTURES=1 cargo test --release --test formats -- --ignored
//!
//! tests/golden/formats/files has files that are not storages; the same command adds those of a new
//! version. tests/golden/formats/lz4 is a closed storage of an early build, which compressed rows.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod generate;
mod history;
mod storages;

use std::path::PathBuf;

/// The number of calls in a fixture; as many go on from it.
const CALLS: u64 = 8;

/// The remedy when a format has no fixture.
const WRITE: &str = "DAMO_WRITE_FIXTURES=1 cargo test --release --test formats -- --ignored";

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats")
}
