//! Looks at a storage in every way there is, and compares what is seen with the reference.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use damo::embedding::{Embedding, Record};
use damo::storage::{Rows, Storage};

use super::engine::{Engine, Open, Outcome, at, is_absence, open_filter};
use super::groups::{FILTERED, all_keys, of};
use super::past::{Opening, Past};
use super::state::{Row, State};
use super::worlds::{Found, World};
use crate::engine::Places;
use crate::stage::copy_dir;

pub fn bits(floats: &[f32]) -> Vec<u32> {
    floats.iter().map(|float| float.to_bits()).collect()
}

impl Found {
    fn take(&mut self, record: Record) {
        let Record { group, key, update_time: time, update_num: updates, data, .. } = record;
        self.rows.insert(
            (group, key),
            Row { data, updates, time, fleeting: false, hidden_ms: u64::MAX },
        );
    }
}

/// Every row of a group, asked for one by one, and its step.
pub fn take_records(group: u16, embedding: &Embedding, found: &mut Found) -> Outcome {
    for key in all_keys() {
        match embedding.record(key) {
            Ok(record) => found.take(record),
            Err(error) if is_absence(&error) => {}
            Err(error) => return Err(at("record")(error)),
        }
    }
    let step = embedding.step().map_err(at("step"))?;
    if step != 0 {
        found.steps.insert(group, step);
    }
    Ok(())
}

/// Takes rows from an iterator, at most so many.
pub fn take_rows(rows: &mut Rows, found: &mut Found, most: usize) -> Outcome {
    for _ in 0..most {
        let Some(record) = rows.next_row().map_err(at("iterate"))? else { break };
        found.take(record);
    }
    Ok(())
}

/// Everything as iteration has it, with the steps of `seen`.
pub fn read(storage: &Storage, seen: &Found) -> Outcome<Found> {
    let mut found = Found { steps: seen.steps.clone(), ..Found::default() };
    let mut rows = storage.rows(None).map_err(at("iterate"))?;
    take_rows(&mut rows, &mut found, usize::MAX)?;
    Ok(found)
}

pub fn compare(what: &str, found: &Found, state: &State, ttl_ms: u64) -> Outcome {
    World::exact(state, false)
        .check(found, state.now, ttl_ms)
        .map(drop)
        .map_err(|why| format!("{what} {why}"))
}

/// What a lookup answered, by the state after it.
pub fn compare_lookup(
    group: u16,
    keys: &[i64],
    weights: &[f32],
    after: &State,
    ttl_ms: u64,
) -> Outcome {
    let spec = of(group);
    for (key, weights) in keys.iter().zip(weights.chunks_exact(spec.dim)) {
        let row = after.row((group, *key), ttl_ms);
        let expected = row.map_or_else(|| after.fresh(spec, *key), |row| (**row).clone());
        if bits(weights) != bits(&expected.data[..spec.dim]) {
            return Err(format!(
                "lookup of group {group} key {key} differs: {weights:?}, not {expected:?}"
            ));
        }
    }
    Ok(())
}

pub fn compare_peek(embedding: &Embedding, keys: &[i64], state: &State, ttl_ms: u64) -> Outcome {
    let (group, dim) = (embedding.group().id(), embedding.dim());
    let (mut weights, mut found) = (vec![0.0; keys.len() * dim], vec![0; keys.len()]);
    embedding.peek(keys, &mut weights, Some(&mut found)).map_err(at("peek"))?;
    for ((key, weights), found) in keys.iter().zip(weights.chunks_exact(dim)).zip(found) {
        let row = state.row((group, *key), ttl_ms);
        let expected = row.map_or_else(|| vec![0.0; dim], |row| row.data[..dim].to_vec());
        if (bits(weights), found) != (bits(&expected), u8::from(row.is_some())) {
            return Err(format!(
                "peek of group {group} key {key} differs: {found}, {weights:?}, not {row:?}"
            ));
        }
    }
    Ok(())
}

/// Memory, disk and reference agree on every row, count, time and step; so does the filter.
pub fn everything(engine: &Engine, state: &State) -> Outcome {
    let (Open { embeddings, storage }, ttl_ms) = (engine.inside(), engine.opening.ttl_ms);
    let now = engine.now();
    if now != state.now {
        return Err(format!("the time differs: {now}, not {}", state.now));
    }
    let seen = engine.look()?;
    compare("record:", &seen, state, ttl_ms)?;
    compare("iterate:", &read(storage, &seen)?, state, ttl_ms)?;
    let keys: Vec<i64> = all_keys().collect();
    embeddings.values().try_for_each(|embedding| compare_peek(embedding, &keys, state, ttl_ms))?;
    let (count, expected) =
        (storage.row_count(None).map_err(at("row_count"))?, state.live(ttl_ms).count());
    if count != expected as u64 {
        return Err(format!("row_count differs: {count}, not {expected}"));
    }
    let verified = storage.verify().map_err(at("verify"))?.rows;
    if verified != count {
        return Err(format!("verify differs: {verified} rows, not {count}"));
    }
    let waiting = storage.waiting_filters().map_err(at("waiting_filters"))?;
    if waiting != state.waiting.len() {
        return Err(format!("filters that wait differ: {waiting}, not {}", state.waiting.len()));
    }
    filter(engine, state)
}

fn filter(engine: &Engine, state: &State) -> Outcome {
    let opened;
    let filter = match &engine.filter {
        Some(filter) => &**filter,
        None if state.counts.is_empty() => return Ok(()),
        None => {
            opened = open_filter(&engine.places).map_err(at("the filter"))?;
            &opened
        }
    };
    for group in FILTERED {
        for key in all_keys() {
            let is_admitted = filter.check(group.into(), key).map_err(at("the filter"))?;
            if is_admitted != state.is_admitted((group, key)) {
                let count = state.counts.get(&(group, key)).copied().unwrap_or(0);
                return Err(format!(
                    "the filter differs: group {group} key {key} was counted {count} times, \
                     admitted is {is_admitted}"
                ));
            }
        }
    }
    Ok(())
}

/// As one sees it who opens the storage with `read_only` while it is open here.
pub fn read_only(engine: &Engine, past: &Past) -> Outcome {
    // Without a journal, rows that are in memory are not on disk.
    if engine.opening.durability == "checkpoint" {
        return Ok(());
    }
    let opening = Opening { clock: past.now().now, ..engine.opening };
    look_only(&engine.places, opening, |found, ttl_ms| {
        let world = World::exact(past.now(), true);
        world
            .check(found, past.now().now, ttl_ms)
            .map(drop)
            .map_err(|why| format!("read_only: {why}"))
    })
}

/// Opens with `read_only`, and hands what is seen to `check`.
pub fn look_only(
    places: &Places,
    opening: Opening,
    check: impl Fn(&Found, u64) -> Outcome,
) -> Outcome {
    let Open { embeddings, storage } =
        Open::new(places, opening, true).map_err(at("opening with read_only"))?;
    let mut seen = Found::default();
    for (group, embedding) in &embeddings {
        take_records(*group, embedding, &mut seen)?;
    }
    check(&seen, opening.ttl_ms)?;
    check(&read(&storage, &seen)?, opening.ttl_ms)
}

/// Every file below a directory with its bytes.
pub fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).unwrap_or_default());
            }
        }
    }
    found
}

/// A copy of a checkpoint, opened as a storage, has what there was when it was made.
pub fn open_checkpoint(engine: &Engine, number: u64, past: &Past) -> Outcome {
    let copy = Places { root: engine.places.root.join("copy") };
    let _ = fs::remove_dir_all(&copy.root);
    copy_dir(&engine.places.out("checkpoint", number), &copy.storage());
    let mut state = past.checkpoint(number).clone();
    state.now = state.now.max(past.now().now);
    let opening = Opening { clock: state.now, ..engine.opening };
    let opened = Open::new(&copy, opening, false).map_err(at("opening a checkpoint"))?;
    let mut seen = Found::default();
    for (group, embedding) in &opened.embeddings {
        take_records(*group, embedding, &mut seen)?;
    }
    compare("checkpoint, record:", &seen, &state, opening.ttl_ms)?;
    compare("checkpoint, iterate:", &read(&opened.storage, &seen)?, &state, opening.ttl_ms)?;
    drop(opened);
    let _ = fs::remove_dir_all(&copy.root);
    Ok(())
}
