//! A state on its way from a worker, which finds it, to the driver.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::filters::Copies;
use super::state::{Key, Row, State};

#[derive(Serialize, Deserialize)]
struct Flat {
    rows: Vec<(Key, Row)>,
    ghosts: Vec<(Key, Vec<Row>)>,
    steps: Vec<(u16, i64)>,
    counts: Vec<(Key, u32)>,
    waiting: Copies,
    now: u64,
}

/// Writes a state into a file, of which nothing is left if the process is killed.
pub fn write_state(path: &Path, state: &State) {
    let flat = Flat {
        rows: state.rows.iter().map(|(key, row)| (*key, (**row).clone())).collect(),
        ghosts: state
            .ghosts
            .iter()
            .map(|(key, rows)| (*key, rows.iter().map(|row| (**row).clone()).collect()))
            .collect(),
        steps: state.steps.clone().into_iter().collect(),
        counts: state.counts.clone().into_iter().collect(),
        waiting: state.waiting.clone(),
        now: state.now,
    };
    let json = serde_json::to_vec(&flat).expect("a state has no maps with strange keys");
    std::fs::write(path, json).expect("the scratch directory has room");
}

pub fn read_state(path: &Path) -> State {
    let json = std::fs::read(path).expect("the worker wrote it before it went on");
    let flat: Flat = serde_json::from_slice(&json).expect("the worker wrote it whole");
    State {
        rows: flat.rows.into_iter().map(|(key, row)| (key, Arc::new(row))).collect(),
        ghosts: flat
            .ghosts
            .into_iter()
            .map(|(key, rows)| (key, rows.into_iter().map(Arc::new).collect()))
            .collect(),
        steps: flat.steps.into_iter().collect(),
        counts: flat.counts.into_iter().collect(),
        waiting: flat.waiting,
        now: flat.now,
        ..State::default()
    }
}
