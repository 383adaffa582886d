//! A storage's directory: opening, kills and damage, checkpoints and loading them.

mod checkpoint;
mod checkpoint_damage;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod damage;
mod flips;
mod lifecycle_kills;
mod lifecycle_races;
mod load;
mod load_in_the_way;
mod merges;
mod open;
mod reads;
mod write_back;
