//! Imports of what the earlier implementation wrote, from files of its releases and from files that
//! the tests write.

mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod counts;
mod dumps;
mod forms;
mod predecessor;
mod tool;
mod wheels;
