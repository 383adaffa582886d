//! Serving tables: writing, lookups, merges, damage and formats.

#[path = "../common/mod.rs"]
mod common;
mod content;
mod damage;
mod formats;
mod int8;
mod lookup;
mod merge;
