//! Random calls against a plain reference in memory: every answer and every row agree, while most
//! rows are on disk only, over re-openings (`random`) and kills at any moment (`kills`,
//! `step_kills`), and over kills with calls that are sent again (`retry_kills`).
//!
//! A history is a function of its seed, which is printed. DAMO_MODEL_SEED runs another history,
//! DAMO_MODEL_CALLS a longer one of `random`, DAMO_KILLS more kills of each durability,
//! DAMO_STEP_KILLS more of `step_kills`, DAMO_RETRY_CALLS more calls of `retry_kills`.

mod begun;
#[path = "../common/mod.rs"]
mod common;
mod history;
mod kills;
mod pins;
mod random;
mod reference;
mod retry_kills;
mod step_kills;
#[path = "../common/steps.rs"]
mod steps;

const DEFAULT_SEED: u64 = 20_261_121;

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn seed() -> u64 {
    let seed = setting("DAMO_MODEL_SEED", DEFAULT_SEED);
    println!("DAMO_MODEL_SEED={seed}");
    seed
}
