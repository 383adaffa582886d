//! Expiry: rows and their time to live, the storage's clock, and kills.

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod kills;
mod rows;
