//! Storages that are opened with `read_only`.

#[path = "../common/mod.rs"]
mod common;
mod everything;
mod journals;
mod races;
mod report;
