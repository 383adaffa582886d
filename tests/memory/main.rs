//! Memory: its bound, and what happens where there is none. Each test runs itself again, because
//! limits and measurements are a process's.

mod address_space;
mod bound;
mod calls;
#[path = "../common/mod.rs"]
mod common;
