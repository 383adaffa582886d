//! Dumps and other reads of one moment. How long a dump is remembered is in `dump_times.rs`.

#[path = "../common/mod.rs"]
mod common;
mod dumps;
mod increments;
mod one_moment;
mod output_paths;
