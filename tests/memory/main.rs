//! The bounds of memory and of threads, and calls that get no memory. Each test runs itself again:
//! limits and measurements are a whole process's.

mod address_space;
mod bound;
mod calls;
#[path = "../common/mod.rs"]
mod common;
mod merge_threads;
mod readers;
