//! damo stores sparse embedding tables for recommendation, search and ads models on one machine:
//! rows in RocksDB, the optimizer applied where the row lives, behind a C ABI.
//!
//! The product is the C library (`include/damo.h` is its manual). This crate is also usable from
//! Rust. The modules below are the layers, top to bottom; each knows only those below it:
//!
//! - [`ffi`]: the C boundary
//! - [`embedding`]: one group: lookup, peek, apply_gradients, insert, delete
//! - [`storage`]: the directory: opening, groups, flush, checkpoints, dumps
//! - journal: the write-ahead log of calls, for a process that may be killed
//! - cache: the rows that are in memory
//! - [`table`]: the files of a dump and serving from them; needs no storage
//! - [`filter`]: a counting Bloom filter in a file of its own
//! - publish: gives a finished file its name
//! - [`file_size_limit`]: turns a write beyond the process's limit into an error instead of a
//!   signal
//! - locks: the locks of all layers above
//! - [`optimizer`], [`scheduler`], [`initializer`], [`params`], [`memory`], prefetch, [`error`]:
//!   plain code without I/O

#![deny(missing_docs, unsafe_code)]
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
pub mod limits;
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
mod threads;
