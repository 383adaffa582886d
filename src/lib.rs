//! damo stores sparse embedding tables for recommendation, search and ads models on one machine:
//! rows in RocksDB, the optimizer applied where the row lives, behind a C ABI.
//!
//! The product is the C library (`include/damo.h` is its manual). This crate is also usable from
//! Rust. The rooms, from top to bottom; each uses only rooms below it, and docs/architecture.md
//! draws them:
//!
//! - [`ffi`]: the C boundary
//! - [`embedding`]: one group's calls: lookup, peek, apply_gradients, insert, delete
//! - [`storage`]: the handle of a directory: opening, flush, checkpoints, dumps, imports
//! - [`engine`]: rows between a call and the disk
//! - [`table`]: the files of a dump, and serving from them; needs no storage
//! - [`filter`]: a counting Bloom filter in a file of its own
//! - reserved: the paths that damo keeps for itself in a storage's directory
//! - rocks: the only room that knows RocksDB
//! - journal: files of calls, written before rows change (write-ahead)
//! - [`bags`]: pooled (multi-hot) features: rows of keys become one, and gradients go back
//! - [`kernels`]: arrays of callers that shard, or make keys distinct; needs no storage
//! - cache: the resident rows
//! - [`optimizer`], [`scheduler`], [`initializer`], [`params`]: formulas and their parameters
//! - process: calls under way, the end of the process, forks
//! - stripes: what every call writes, several times over
//! - threads: named threads, whose panics become errors
//! - files: files that are whole or not there
//! - [`file_size_limit`]: makes a write beyond the process's limit an error instead of a signal
//! - locks: the locks of all rooms
//! - [`kill_points`]: where tests kill the process
//! - [`limits`], seqno, [`memory`], memory_limit, [`key_hash`], prefetch, random_id, [`error`]: one
//!   small thing each

#![deny(missing_docs, unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod bags;
mod cache;
pub mod embedding;
pub mod engine;
pub mod error;
mod executor;
pub mod ffi;
pub mod file_size_limit;
mod files;
pub mod filter;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod initializer;
mod journal;
pub mod kernels;
pub mod key_hash;
pub mod kill_points;
pub mod limits;
mod locks;
pub mod memory;
mod memory_limit;
pub mod optimizer;
pub mod params;
mod prefetch;
mod process;
mod random_id;
mod reserved;
mod rocks;
pub mod scheduler;
mod seqno;
pub mod step;
pub mod storage;
mod stripes;
pub mod table;
mod threads;
mod workers;
