//! The bound of memory, and calls that get none. Each test runs itself again: limits and
//! measurements are a whole process's.

mod address_space;
mod bound;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod merge_threads;
