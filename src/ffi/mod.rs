//! The C boundary, and the manual that becomes `include/damo.h`.
//!
//! `damo_<noun>_<verb>` is in `<noun>.rs`, or in `<noun>/<verb>.rs` where a noun has many verbs. A
//! noun with a folder has its handle, its constructor and what its verbs share in `mod.rs`. The
//! other files are what all functions need.
//!
//! Panics, NULLs, lengths and errors stop here; the work is done below. A handle is a boxed struct
//! that holds an `Arc`, so handles may be freed in any order.
//!
//! The comments on the functions are written for C readers, in this order:
//! - what the function does: a first line that stands alone
//! - its arguments: shapes, types, units, whether NULL is allowed
//! - what it returns and writes
//! - what it leaves after an error
//! - its errors, one status a line

#![allow(unsafe_code)]
#![allow(non_camel_case_types)]
// The header says what a C caller must uphold. Every function has the same Rust contract, which
// `arguments` states.
#![allow(clippy::missing_safety_doc)]
#![deny(missing_docs)]
#![deny(clippy::indexing_slicing)]

mod abi_version;
mod arguments;
mod descriptors;
mod embedding;
mod executor;
mod exit;
mod failure;
mod filter;
mod float_state;
mod gradients;
mod guard;
mod handle;
mod initializer;
mod iterator;
mod kept_failures;
mod key_hash;
mod key_shard;
mod keys;
mod last_error;
mod lookup;
mod memory_maps;
mod optimizer;
mod own_stack;
mod params;
mod pin;
mod rows;
mod scheduler;
mod status;
mod step;
mod storage;
mod table;
mod test;
mod version;

pub use abi_version::*;
pub use embedding::*;
pub use executor::*;
pub use failure::*;
pub use filter::*;
pub use gradients::*;
pub use initializer::*;
pub use iterator::*;
pub use kept_failures::DAMO_FAILURE_FIRST;
pub use key_hash::*;
pub use key_shard::*;
pub use keys::*;
pub use last_error::*;
pub use lookup::*;
pub use optimizer::*;
pub use params::*;
pub use pin::*;
pub use rows::*;
pub use scheduler::*;
pub use status::*;
pub use step::*;
pub use storage::*;
pub use table::*;
pub use test::*;
pub use version::*;

/// Compiles only for handles that many threads may use at once, as the header promises.
const fn usable_from_many_threads<T: Send + Sync>() {}
const _: () = {
    usable_from_many_threads::<damo_lookup>();
    usable_from_many_threads::<damo_pin>();
    usable_from_many_threads::<damo_initializer>();
    usable_from_many_threads::<damo_scheduler>();
    usable_from_many_threads::<damo_optimizer>();
    usable_from_many_threads::<damo_filter>();
    usable_from_many_threads::<damo_storage>();
    usable_from_many_threads::<damo_embedding>();
    usable_from_many_threads::<damo_step>();
    usable_from_many_threads::<damo_iterator>();
    usable_from_many_threads::<damo_table>();
};
