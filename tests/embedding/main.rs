//! The calls on one group: what they do to rows, what they refuse, and that threads, kills and
//! damage lose nothing.

mod apply_gradients;
mod begun_lookups;
mod callers;
mod clear;
mod clear_costs;
mod clear_damage;
mod clear_on_full_disk;
mod clear_over_kills;
mod clear_races;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod few_keys;
mod group_names;
mod groups;
mod hogwild;
mod insert_records;
mod lookup;
mod max_norm;
mod non_finite;
mod pins;
mod pins_beside;
mod sum_gradients;
mod threads;
mod warm_starts;

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::storage::Storage;

use common::{failure, initializer, optimizer};

/// The message with which an embedding with these options is refused.
fn refusal(storage: &Storage, options: &Params) -> String {
    let (sgd, ones) = (optimizer("sgd", &[]), initializer("ones", &[]));
    let opened = Embedding::new(storage.clone(), sgd, ones, 1, 0, options);
    failure(opened, Status::InvalidArgument).message().to_owned()
}
