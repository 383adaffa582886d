//! Storages that trials start from, built once for each durability and copied for each trial.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::call::Call;
use crate::engine::{Engine, Opening, Places};
use crate::judge::patience;
use crate::model::Model;
use crate::scenes::{Scene, Target};
use crate::script::{KEYS, Op, random};
use crate::system::{End, in_child, kill_self};
use crate::timeline::{Promise, Timeline};

/// How the process ended that made a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// There is none yet.
    Nothing,
    Closed,
    Killed,
}

/// A storage to start from and what it holds.
pub struct Base {
    places: Places,
    pub timeline: Timeline,
    pub start: Start,
    pub opening: Opening,
}

/// The bases of one lane.
pub struct Stage {
    pub scratch: PathBuf,
    bases: HashMap<(Start, &'static str), Base>,
    seed: u64,
}

/// Building takes some times as long as opening.
const BUILDING: u32 = 3;

impl Stage {
    pub fn new(scratch: &Path, seed: u64) -> Stage {
        let _ = fs::remove_dir_all(scratch);
        fs::create_dir_all(scratch).expect("the scratch directory cannot be made");
        Stage { scratch: scratch.to_owned(), bases: HashMap::new(), seed }
    }

    /// Where trials take place.
    pub fn trial(&self) -> Places {
        Places { root: self.scratch.join("trial") }
    }

    pub fn base(&mut self, start: Start, opening: Opening) -> &Base {
        let (scratch, seed) = (&self.scratch, self.seed);
        self.bases.entry((start, opening.durability)).or_insert_with(|| {
            let places = Places { root: scratch.join(format!("{start:?}-{}", opening.durability)) };
            build(places, start, opening, seed)
        })
    }

    /// What a scene must find, up to its target.
    pub fn promise_of(&mut self, scene: &Scene, opening: Opening) -> Promise {
        match scene.target {
            Target::Open => self.base(scene.start, opening).promise(),
            Target::Op(_) => Promise::All,
        }
    }

    /// A fresh copy of a base, and what it holds.
    pub fn set_up(&mut self, start: Start, opening: Opening) -> (Places, Timeline) {
        let trial = self.trial();
        let timeline = self.set_up_at(&trial, start, opening);
        (trial, timeline)
    }

    /// As `set_up`, in another place.
    pub fn set_up_at(&mut self, places: &Places, start: Start, opening: Opening) -> Timeline {
        let base = self.base(start, opening);
        let _ = fs::remove_dir_all(&places.root);
        copy_dir(&base.places.root, &places.root);
        base.timeline.clone()
    }

    /// As `set_up`, with only these of the base's entries.
    pub fn set_up_parts(
        &mut self,
        start: Start,
        opening: Opening,
        parts: &[&str],
    ) -> (Places, Timeline) {
        let trial = self.trial();
        let base = self.base(start, opening);
        let _ = fs::remove_dir_all(&trial.root);
        fs::create_dir_all(&trial.root).expect("the scratch directory has room");
        for part in parts {
            let (from, to) = (base.places.root.join(part), trial.root.join(part));
            if from.is_dir() { copy_dir(&from, &to) } else { copy_file(&from, &to) }
        }
        (trial, base.timeline.clone())
    }
}

impl Base {
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// What opening it must find.
    pub fn promise(&self) -> Promise {
        match self.start {
            Start::Killed => after_kill(self.opening.durability),
            _ => Promise::All,
        }
    }
}

/// What a durability promises to a process that was killed.
pub fn after_kill(durability: &str) -> Promise {
    if durability == "checkpoint" { Promise::Rows } else { Promise::Calls }
}

/// The operations that every base has seen, and those after its last flush.
fn operations(seed: u64) -> (Vec<Op>, Vec<Op>) {
    let mut random = random(seed, u64::MAX);
    let mut calls = |count: usize| (0..count).map(|_| Op::call(&mut random)).collect::<Vec<_>>();
    let mut before = Vec::new();
    for group in [0, 7, 300] {
        let keys: Vec<i64> = KEYS.step_by(2).collect();
        let gradients = vec![0.5; keys.len() * crate::groups::of(group).dim];
        before.push(Op::Call(Call::Apply { group, keys, gradients }));
    }
    before.push(Op::Flush);
    before.extend(calls(6));
    // On disk, beside rows of other groups.
    before.push(Op::Call(Call::Clear { group: 300 }));
    before.extend(calls(6));
    before.extend([Op::DumpTable(1), Op::Flush]);
    before.extend(calls(8));
    before.push(Op::FilterAdd(vec![1, 2, 3, 4, 5, 1, 2, 1, 2, 3]));
    before.extend([Op::Checkpoint(1), Op::Reopen]);
    before.extend(calls(10));
    before.extend([Op::CheckpointWithFilter(2), Op::FilterAdd(vec![2, 6, 6, 6, 1])]);
    before.extend([Op::DumpIncrement(2, 1), Op::DumpClassic(1), Op::Flush]);
    (before, calls(15))
}

fn build(places: Places, start: Start, opening: Opening, seed: u64) -> Base {
    fs::create_dir_all(places.root.join("out")).expect("the scratch directory cannot be made");
    let mut timeline = Timeline::new(Model::default());
    if start == Start::Nothing {
        return Base { places, timeline, start, opening };
    }
    let (before, mut after) = operations(seed);
    if start == Start::Killed {
        // In the journal, between calls on the same group. No increment may follow table 1 then.
        after.insert(after.len() / 2, Op::Call(Call::Clear { group: 7 }));
    }
    let ops: Vec<Op> = before.into_iter().chain(after).collect();
    let end = in_child(BUILDING * patience(), || {
        let mut engine =
            Engine::open(&places, opening).unwrap_or_else(|error| panic!("opening: {error:?}"));
        for op in &ops {
            engine.make(op).unwrap_or_else(|error| panic!("{}: {error:?}", op.name()));
        }
        if start == Start::Killed {
            kill_self();
        }
        engine.make(&Op::Close).map_or_else(|error| panic!("closing: {error:?}"), |()| Vec::new())
    });
    match (&end, start) {
        (End::Signal(libc::SIGKILL), Start::Killed) | (End::Returned(_), Start::Closed) => {}
        _ => panic!("the base storage could not be made: {end:?}"),
    }
    ops.iter().for_each(|op| timeline.acknowledge(op));
    if start == Start::Closed {
        timeline.acknowledge(&Op::Close);
    }
    Base { places, timeline, start, opening }
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let (path, name) =
            entry.map(|entry| (entry.path(), entry.file_name())).expect("a directory can be read");
        if path.is_dir() {
            copy_dir(&path, &to.join(name));
        } else {
            copy_file(&path, &to.join(name));
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    let bytes = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    fs::write(to, bytes).expect("the scratch directory has room");
}
