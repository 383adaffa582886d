//! What a fresh process finds in a storage, and whether work goes on in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use damo::error::{Error, Result};
use damo::table::Contents;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::engine::{CLASSIC_WIDTH, Engine, FILTER_COUNT, Opening, Places, open_filter};
use crate::model::Model;
use crate::script::{KEYS, Op};
use crate::stage::copy_dir;
use crate::timeline::{Timeline, World};

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Examination {
    pub found: Model,
    /// After `follow_up`, closing and opening again.
    pub after: Model,
    /// What is wrong, whatever the operations were.
    pub troubles: Vec<String>,
}

/// An error of damo's, as it travels between processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refusal {
    pub step: String,
    pub status: String,
    pub message: String,
}

impl Refusal {
    pub fn new(step: &str, error: &Error) -> Refusal {
        let status = error.status().name().to_string_lossy().into_owned();
        Refusal { step: step.to_owned(), status, message: error.message().to_owned() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}: {}", self.step, self.status, self.message)
    }
}

/// Calls that are made after a stop: what was there must change as always.
pub fn follow_up() -> [Op; 4] {
    let keys: Vec<i64> = vec![1, 2, 50, 1];
    [
        Call::Apply { group: 0, gradients: vec![0.25; keys.len() * 4], keys: keys.clone() },
        Call::Apply { group: 7, gradients: vec![0.5; keys.len() * 3], keys },
        Call::Delete { group: 0, keys: vec![3, 50] },
        Call::Insert { group: 300, keys: vec![-7], weights: vec![0.75; 2] },
    ]
    .map(Op::Call)
}

/// What `follow_up` makes of a model.
pub fn followed_up(found: &Model) -> Model {
    let mut model = found.clone();
    follow_up().iter().for_each(|op| model.make(op));
    model.settle();
    model
}

/// Opens, reads in every way, works, closes, opens and reads again.
pub fn examine(places: &Places, opening: Opening) -> std::result::Result<Examination, Refusal> {
    let at = |step: &'static str| move |error: Error| Refusal::new(step, &error);
    let mut troubles = Vec::new();
    let mut engine = Engine::open(places, opening).map_err(at("opening"))?;
    let seen = engine.look().map_err(at("record"))?;
    let found = engine.read().map_err(at("rows"))?;
    compare("rows and record differ", &seen, &found, &mut troubles);
    engine.storage().and_then(|storage| storage.verify()).map_err(at("verify"))?;
    for op in follow_up() {
        engine.make(&op).map_err(at("a call after it"))?;
    }
    let expected = followed_up(&found);
    compare(
        "after calls",
        &engine.look().map_err(at("record after calls"))?,
        &expected,
        &mut troubles,
    );
    engine.make(&Op::Reopen).map_err(at("opening again"))?;
    let after = engine.read().map_err(at("rows after opening again"))?;
    compare("after closing and opening again", &after, &expected, &mut troubles);
    Ok(Examination { found, after, troubles })
}

fn compare(what: &str, found: &Model, expected: &Model, troubles: &mut Vec<String>) {
    if let Err(why) = World::exact(expected).check(found) {
        troubles.push(format!("{what}: {why}"));
    }
}

/// Whether the files beside the storage are what they were when they were made. The operation under
/// way may have left its own: `timeline` has it if its file is there.
pub fn examine_files(places: &Places, opening: Opening, timeline: &Timeline) -> Vec<String> {
    let mut troubles = Vec::new();
    let mut check = |what: String, found: Result<Model>, expected: &Model| match found {
        Ok(found) => compare(&what, &found, expected, &mut troubles),
        Err(error) => troubles.push(format!("{what}: {error:?}")),
    };
    for (number, expected) in &timeline.checkpoints {
        check(format!("checkpoint {number}"), read_checkpoint(places, opening, *number), expected);
    }
    for (number, expected) in &timeline.classics {
        check(
            format!("classic {number}"),
            read_classic(&places.out("classic", *number)),
            &weights_of(expected),
        );
    }
    for (number, expected) in &timeline.tables {
        check(
            format!("table {number}"),
            read_table(&places.out("table", *number)),
            &weights_of(expected),
        );
    }
    for (number, (base, expected)) in &timeline.increments {
        check(format!("increment {number}"), merge(places, *base, *number), &weights_of(expected));
    }
    troubles
}

/// Which keys the filter admits.
pub fn admitted(places: &Places) -> Result<Vec<i64>> {
    let filter = open_filter(&places.filter())?;
    let mut admitted = Vec::new();
    for key in KEYS {
        if filter.check(0, key)? {
            admitted.push(key);
        }
    }
    Ok(admitted)
}

/// Checks that a filter admits each key that was surely added often enough (`least`), and no key
/// that cannot have been (`most`). Returns what is wrong.
pub fn check_filter(admitted: &[i64], [least, most]: &[BTreeMap<i64, u32>; 2]) -> Option<String> {
    for key in KEYS {
        let count = |counts: &BTreeMap<i64, u32>| counts.get(&key).copied().unwrap_or(0);
        let (least, most) = (count(least), count(most));
        let is_admitted = admitted.contains(&key);
        if (least >= FILTER_COUNT && !is_admitted) || (most < FILTER_COUNT && is_admitted) {
            return Some(format!(
                "the filter: key {key} was added {least} to {most} times, admitted is {is_admitted}"
            ));
        }
    }
    None
}

fn read_checkpoint(places: &Places, opening: Opening, number: u64) -> Result<Model> {
    let copy = Places { root: places.root.join("copy") };
    let _ = fs::remove_dir_all(&copy.root);
    copy_dir(&places.out("checkpoint", number), &copy.storage());
    Engine::open(&copy, opening)?.read()
}

/// A model as a dump has it: weights only.
pub fn weights_of(model: &Model) -> Model {
    let mut weights = Model::default();
    for (key, row) in &model.rows {
        let dim = crate::groups::of(key.0).dim;
        let row = crate::model::Row { updates: 0, data: row.data[..dim].to_vec(), fleeting: false };
        weights.rows.insert(*key, row.into());
    }
    weights
}

pub fn read_table(path: &Path) -> Result<Model> {
    let contents = Contents::open(path)?;
    let mut model = Model::default();
    for info in contents.groups() {
        let mut weights = vec![0.0; info.dim];
        let mut rows = contents.rows(info.group);
        while let Some(key) = rows.next_into(&mut weights) {
            let row = crate::model::Row { updates: 0, data: weights.clone(), fleeting: false };
            model.rows.insert((info.group, key), row.into());
        }
    }
    Ok(model)
}

pub fn merge(places: &Places, base: u64, increment: u64) -> Result<Model> {
    let merged = places.root.join("merged");
    let _ = fs::remove_file(&merged);
    damo::table::merge(&places.out("table", base), &places.out("increment", increment), &merged)?;
    read_table(&merged)
}

/// The format of docs/formats.md, with the usual header.
fn read_classic(path: &Path) -> Result<Model> {
    const WIDTH: usize = CLASSIC_WIDTH;
    let bytes = fs::read(path).map_err(|error| Error::io(error.to_string()))?;
    let short = || Error::corruption("the classic dump is too short");
    let word = |at: usize| {
        bytes.get(at..at + 4).map(|word| [word[0], word[1], word[2], word[3]]).ok_or_else(short)
    };
    let long =
        |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).ok_or_else(short);
    let (mut model, mut at) = (Model::default(), 12 * WIDTH);
    for group in 0..WIDTH {
        let (dim, rows) = (
            i32::from_le_bytes(word(4 * group)?),
            u64::from_le_bytes(long(4 * WIDTH + 8 * group)?),
        );
        for _ in 0..rows {
            let key = i64::from_le_bytes(long(at)?);
            let floats =
                (0..dim as usize).map(|index| word(at + 12 + 4 * index).map(f32::from_le_bytes));
            let row = crate::model::Row {
                updates: 0,
                data: floats.collect::<Result<_>>()?,
                fleeting: false,
            };
            model.rows.insert((i32::from_le_bytes(word(at + 8)?) as u16, key), row.into());
            at += 12 + 4 * dim as usize;
        }
    }
    if at == bytes.len() {
        Ok(model)
    } else {
        Err(Error::corruption("the classic dump is too long"))
    }
}
