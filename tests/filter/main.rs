//! Counting filters: their counts and files, the rows that they admit, and their counts in
//! checkpoints.

mod admission;
mod closed;
#[path = "../common/mod.rs"]
mod common;
mod counting;
mod counts;
mod crash;
mod places;
mod rates;
mod waiting;
mod waiting_edges;
mod waiting_owners;
