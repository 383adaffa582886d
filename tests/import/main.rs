//! Imports of files of the earlier implementation: those of its releases, and those that tests
//! write.

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod counts;
mod dumps;
mod forms;
mod predecessor;
mod tool;
mod wheels;
