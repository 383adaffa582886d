//! damo stores sparse embedding tables for recommendation, search and ads models on one machine: rows in RocksDB,
//! the optimizer applied where the row lives, behind a C ABI.
//!
//! The product is the C library (`include/damo.h` is its manual). This crate is also usable from Rust: the
//! modules below are the layers, top to bottom, and each knows only what is below it:
//!
//! - [`ffi`]: the C boundary
//! - [`embedding`]: one group: lookup, peek, apply_gradients, insert, delete
//! - [`storage`]: the directory: rows, groups, flush, statistics; the only place that names RocksDB
//! - journal, cache: the calls of a process that may be killed; the rows that are in memory
//! - [`table`]: the files of a dump and serving from them; needs no storage
//! - [`filter`]: a counting Bloom filter in a file of its own
//! - publish: how a finished file gets its name
//! - [`file_size_limit`]: a write beyond the process's limit is an error, and no signal
//! - locks: those that all of the above use
//! - [`optimizer`], [`scheduler`], [`initializer`], [`params`], [`memory`], prefetch, [`error`]: plain code
//!   without I/O

#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cache;
pub mod embedding;
pub mod engine;
pub mod error;
pub mod ffi;
pub mod file_size_limit;
mod files;
pub mod filter;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod initializer;
mod journal;
pub mod key_hash;
mod locks;
pub mod memory;
pub mod optimizer;
pub mod params;
mod prefetch;
mod process;
mod random_id;
mod reserved;
mod rocks;
pub mod scheduler;
pub mod storage;
pub mod table;
