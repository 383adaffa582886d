//! Dumps of a history: what they hold, and which increments are allowed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use damo::params::Params;
use damo::storage::DumpOptions;
use damo::table::Contents;

use super::engine::{Engine, Outcome, at, is_absence};
use super::groups::of;
use super::look::bits;
use super::state::{Key, Row, State};

const DAY_MS: u64 = 86_400_000;
/// How long dumps are remembered, so that increments may follow them.
const REMEMBERED_MS: u64 = 30 * DAY_MS;

/// The weights of rows.
type Weights = BTreeMap<Key, Vec<u32>>;

fn dump(engine: &Engine, path: &Path, condition: &Params) -> damo::error::Result<()> {
    let options = DumpOptions::read(condition)?;
    engine.inside().storage.dump(path, options, |_, _| true).map(drop)
}

fn compare_dump(what: &str, found: &Weights, state: &State, ttl_ms: u64) -> Outcome {
    let weights =
        |(key, row): (&Key, &std::sync::Arc<Row>)| (*key, bits(&row.data[..of(key.0).dim]));
    let expected: Weights = state.live(ttl_ms).map(weights).collect();
    if *found == expected {
        return Ok(());
    }
    let keys = found.keys().chain(expected.keys());
    let first = keys.filter(|key| found.get(key) != expected.get(key)).min();
    let (there, wanted) = (first.map(|key| found.get(key)), first.map(|key| expected.get(key)));
    Err(format!("{what} differs: key {first:?}, {there:?}, not {wanted:?}"))
}

pub fn dump_table(engine: &Engine, number: u64, state: &State) -> Outcome {
    let path = engine.places.out("table", number);
    let condition = Params::new().with("format", "table").map_err(at("dump"))?;
    dump(engine, &path, &condition).map_err(at("dump table"))?;
    compare_dump("table", &read_table(&path)?, state, engine.opening.ttl_ms)
}

/// A table merged with an increment to it is equal to a full dump.
pub fn dump_increment(engine: &Engine, base: u64, time: u64, state: &State) -> Outcome {
    let (base, out) = (engine.places.out("table", base), |name| engine.places.root.join(name));
    match dump(engine, &out("increment"), &since(&base)?) {
        Err(error) if is_absence(&error) && state.now > time + REMEMBERED_MS => return Ok(()),
        dumped => dumped.map_err(at("dump since"))?,
    }
    damo::table::merge(&base, &out("increment"), &out("merged")).map_err(at("merge"))?;
    compare_dump("increment", &read_table(&out("merged"))?, state, engine.opening.ttl_ms)
}

/// An increment to the table must be refused: a group was cleared after it.
pub fn refuse_increment(engine: &Engine, base: u64) -> Outcome {
    let condition = since(&engine.places.out("table", base))?;
    match dump(engine, &engine.places.root.join("increment"), &condition) {
        Err(error) if is_absence(&error) => Ok(()),
        outcome => Err(format!("an increment to a table from before a clear: {outcome:?}")),
    }
}

/// The condition for an increment to a table.
fn since(base: &Path) -> Outcome<Params> {
    let number = Contents::open(base).map_err(at("table"))?.number() as i64;
    let condition = Params::new().with("format", "table").and_then(|bag| bag.with("since", number));
    condition.map_err(at("dump"))
}

fn read_table(path: &Path) -> Outcome<Weights> {
    let contents = Contents::open(path).map_err(at("table"))?;
    let mut found = Weights::new();
    for info in contents.groups() {
        let mut weights = vec![0.0; info.dim];
        let mut rows = contents.rows(info.group);
        while let Some(key) = rows.next_into(&mut weights) {
            found.insert((info.group, key), bits(&weights));
        }
    }
    Ok(found)
}

pub fn dump_counted(engine: &Engine, state: &State) -> Outcome {
    let path = engine.places.root.join("counted");
    let condition = Params::new().with("format", "counted").map_err(at("dump"))?;
    dump(engine, &path, &condition).map_err(at("dump counted"))?;
    let bytes = fs::read(&path).map_err(|error| format!("counted: {error}"))?;
    let found = read_counted(&bytes).ok_or("the counted dump ends too early, or too late")?;
    compare_dump("counted", &found, state, engine.opening.ttl_ms)
}

/// The format of docs/formats.md.
fn read_counted(bytes: &[u8]) -> Option<Weights> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let long = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let groups = word(0)? as usize;
    let (mut found, mut offset) = (Weights::new(), 4 + 16 * groups);
    let rows: u64 =
        (0..groups).map(|group| long(4 + 8 * groups + 8 * group)).sum::<Option<u64>>()?;
    for _ in 0..rows {
        let (key, group) = (long(offset)? as i64, word(offset + 8)? as u16);
        let dim = of(group).dim;
        let weights =
            (0..dim).map(|index| word(offset + 12 + 4 * index)).collect::<Option<Vec<u32>>>()?;
        found.insert((group, key), weights);
        offset += 12 + 4 * dim;
    }
    (offset == bytes.len()).then_some(found)
}
