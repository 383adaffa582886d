//! Counting filters: counts and files, admission, and their copies in checkpoints.

mod admission;
mod beside_deletes;
mod closed;
#[path = "../common/mod.rs"]
mod common;
mod counted;
mod counting;
mod counts;
mod crash;
mod places;
mod rates;
mod waiting;
mod waiting_edges;
mod waiting_owners;
