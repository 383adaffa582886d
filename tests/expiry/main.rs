//! Expiry: rows and their TTL, the storage's clock, and kills.

mod clock;
#[path = "../common/mod.rs"]
mod common;
mod kills;
mod rows;
