//! Corruption: files of storages that were closed or killed, of checkpoints, tables, increments,
//! filters and imports are damaged. What opens has exactly the rows that it had; anything else is
//! refused, by an error that names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;

use crate::damage::{Damage, files, is_idle, kind};
use crate::engine;
use crate::engine::{DURABILITIES, Engine, Opening, Places};
use crate::examine::{Examination, Refusal, admitted, check_filter, examine, merge, read_table, weights_of};
use crate::headers::header_bytes;
use crate::judge::{answer, encode};
use crate::lanes::Lane;
use crate::model::Model;
use crate::script::{Op, random};
use crate::stage::{Start, copy_dir};
use crate::system::in_child;
use crate::tally::{LOST, UNNAMED, Verdict};
use crate::timeline::{Promise, Timeline, World, find_world};

/// What is damaged, and how it is used afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject {
    Storage(Start),
    /// A checkpoint that is opened as a storage.
    Opened,
    /// A checkpoint that is loaded.
    Loaded,
    Table,
    Increment,
    Import,
    /// A filter that was closed.
    Filter,
}

const SUBJECTS: [(&str, Subject); 8] = [
    ("closed", Subject::Storage(Start::Closed)),
    ("killed", Subject::Storage(Start::Killed)),
    ("opened", Subject::Opened),
    ("loaded", Subject::Loaded),
    ("table", Subject::Table),
    ("increment", Subject::Increment),
    ("import", Subject::Import),
    ("filter", Subject::Filter),
];
/// Numbers of what bases have beside their storage.
const CHECKPOINT: u64 = 2;
const TABLE: u64 = 1;
const INCREMENT: u64 = 2;
/// Ten times what opening takes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Subject {
    fn opening(durability: &'static str) -> Opening {
        Opening { durability, threads: 1 }
    }

    fn start(self) -> Start {
        if let Subject::Storage(start) = self { start } else { Start::Closed }
    }

    /// The directory whose files are damaged, in a trial that is set up.
    fn dir(self, places: &Places) -> PathBuf {
        match self {
            Subject::Storage(_) | Subject::Opened => places.storage(),
            Subject::Loaded => places.out("checkpoint", CHECKPOINT),
            Subject::Table | Subject::Increment | Subject::Import => places.root.join("out"),
            Subject::Filter => places.root.clone(),
        }
    }

    /// Whether a file is one to be damaged.
    fn has(self, file: &Path) -> bool {
        let name = file.to_string_lossy();
        match self {
            Subject::Table => name == "table.1",
            Subject::Increment => name == "increment.2",
            Subject::Import => name == "import.9",
            Subject::Filter => name == "filter",
            _ => !is_idle(file),
        }
    }

    /// A fresh copy of what is to be damaged.
    fn set_up(self, lane: &mut Lane, durability: &'static str) -> (Places, Timeline) {
        let parts: &[&str] = match self {
            Subject::Storage(_) => &["storage"],
            Subject::Opened => &[],
            Subject::Table | Subject::Increment => &["out"],
            Subject::Loaded | Subject::Import => &["storage", "out", "filter"],
            Subject::Filter => &["filter"],
        };
        let opening = Subject::opening(durability);
        let (places, timeline) = lane.stage.set_up_parts(self.start(), opening, parts);
        if self == Subject::Opened {
            let base = lane.stage.base(self.start(), opening).places().out("checkpoint", CHECKPOINT);
            copy_dir(&base, &places.storage());
        }
        if self == Subject::Import {
            crate::import_file::write(&places.out("import", 9), 9).expect("the scratch directory has room");
        }
        (places, timeline)
    }
}

/// Every bit of every header, every file cut, emptied, doubled, deleted and exchanged.
pub fn exhaustive(lane: &mut Lane) {
    let mut number = 0;
    for (name, subject) in SUBJECTS {
        for durability in DURABILITIES {
            let (places, _) = subject.set_up(lane, durability);
            let dir = subject.dir(&places);
            let all: Vec<PathBuf> = files(&dir).into_iter().filter(|file| subject.has(file)).collect();
            let mut cases = Vec::new();
            for file in &all {
                let bytes = fs::read(dir.join(file)).expect("the file was listed");
                for damage in every_damage(file, &bytes, &all) {
                    cases.push((file.clone(), damage));
                }
            }
            for (file, damage) in cases {
                number += 1;
                let case = format!("{name}:{durability}:{}:{}", file.display(), damage.spec());
                if !lane.is_mine(number) || !lane.is_wanted(&case) {
                    continue;
                }
                if lane.is_over() {
                    return;
                }
                let verdict = one(lane, subject, durability, &file, &damage);
                lane.record(&verdict, &format!("--repeat '{case}'"));
            }
        }
    }
}

fn every_damage(file: &Path, bytes: &[u8], all: &[PathBuf]) -> Vec<Damage> {
    let mut every = vec![Damage::Deleted, Damage::Emptied, Damage::Doubled, Damage::Zeros(0, bytes.len())];
    for at in header_bytes(file, bytes) {
        every.extend((0..8).map(|bit| Damage::Bit { at, bit }));
    }
    let step = (bytes.len() / 64).max(1);
    every.extend((1..bytes.len()).step_by(step).map(Damage::Cut));
    every.extend((0..bytes.len()).step_by(step).map(|at| Damage::Zeros(at, step.max(64))));
    every.extend((1..8).filter(|less| *less < bytes.len()).map(|less| Damage::Cut(bytes.len() - less)));
    let others = all.iter().filter(|other| *other != file && kind(other) == kind(file));
    every.extend(others.flat_map(|other| [Damage::Swapped(other.clone()), Damage::Replaced(other.clone())]));
    every
}

/// One trial of a random campaign.
pub fn trial(lane: &mut Lane, number: u64) -> Option<Verdict> {
    let mut random = random(lane.options.seed ^ 0x6461_6d61_6765, number);
    let durability = DURABILITIES[random.random_range(0..3)];
    // Storages more often than what is beside them.
    let (name, subject) = SUBJECTS[[0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7][random.random_range(0..14)]];
    if !lane.is_wanted(&format!("{name}:{durability}")) {
        return None;
    }
    let (places, _) = subject.set_up(lane, durability);
    let dir = subject.dir(&places);
    let mut all: Vec<PathBuf> = files(&dir).into_iter().filter(|file| subject.has(file)).collect();
    // Tables are many, the others few: each kind as often.
    let mut kinds: Vec<&str> = all.iter().map(|file| kind(file)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let chosen = kinds[random.random_range(0..kinds.len())];
    let of_kind: Vec<&PathBuf> = all.iter().filter(|file| kind(file) == chosen).collect();
    let file = of_kind[random.random_range(0..of_kind.len())].clone();
    all.retain(|other| *other != file);
    let len = fs::metadata(dir.join(&file)).map_or(0, |found| found.len() as usize);
    let damage = Damage::any(&mut random, len, &all);
    Some(one(lane, subject, durability, &file, &damage))
}

/// `SUBJECT:DURABILITY:FILE:DAMAGE`, as `exhaustive` names them.
pub fn repeat(lane: &mut Lane, case: &str) -> Verdict {
    let parts: Vec<&str> = case.splitn(4, ':').collect();
    let [subject, durability, file, damage] = parts[..] else {
        panic!("SUBJECT:DURABILITY:FILE:DAMAGE is needed")
    };
    let subject = SUBJECTS.iter().find(|known| known.0 == subject).expect("a subject").1;
    let durability = engine::durability(durability);
    one(lane, subject, durability, Path::new(file), &Damage::parse(damage).expect("a damage"))
}

fn one(lane: &mut Lane, subject: Subject, durability: &'static str, file: &Path, damage: &Damage) -> Verdict {
    let (places, timeline) = subject.set_up(lane, durability);
    let dir = subject.dir(&places);
    let is_last_journal = kind(file) == "journal"
        && files(&dir).iter().rfind(|other| kind(other) == "journal").is_some_and(|last| last == file);
    // A filter that is not there is made anew: that is its contract.
    if (subject, damage) == (Subject::Filter, &Damage::Deleted) || !damage.make(&dir, file) {
        return Verdict::Survived;
    }
    lane.tally.note(&format!("{} files", kind(file)));
    let opening = Subject::opening(durability);
    let promise = match lane.stage.base(subject.start(), opening).promise() {
        // A record that is not whole at the journal's end is what a killed process leaves.
        Promise::Calls if is_last_journal && damage.is_a_shorter_end() => Promise::Prefix,
        promise => promise,
    };
    let end = in_child(TIMEOUT, || encode(&use_it(subject, &places, opening)));
    let judged = answer::<Result<Used, Refusal>>(end).and_then(|used| match used {
        Ok(used) => {
            check(subject, &timeline, promise, &used)?;
            if let Used::Taken(Some(refusal), ..) = used {
                named(&refusal, damage, file)
            } else {
                Ok(Verdict::Survived)
            }
        }
        Err(refusal) => named(&refusal, damage, file),
    });
    match judged {
        Ok(verdict) => verdict,
        Err(Verdict::Broken(kind, what)) => {
            let what = format!("{subject:?} {durability}, {} {damage}: {what}", file.display());
            Verdict::Broken(kind, what)
        }
        Err(other) => other,
    }
}

/// A refusal is right if it names what is damaged.
fn named(refusal: &Refusal, damage: &Damage, file: &Path) -> Result<Verdict, Verdict> {
    if damage.names(file).iter().any(|name| refusal.message.contains(name.as_str())) {
        return Ok(Verdict::Refused);
    }
    Err(Verdict::Broken(UNNAMED, refusal.to_string()))
}

/// What using a damaged thing gave.
#[derive(serde::Serialize, serde::Deserialize)]
enum Used {
    Examined(Box<Examination>),
    Rows(Model),
    /// Keys that a filter admits.
    Admitted(Vec<i64>),
    /// Loading, or importing, was done or refused; then these rows were there, and these keys
    /// admitted.
    Taken(Option<Refusal>, Box<Examination>, Vec<i64>),
}

fn use_it(subject: Subject, places: &Places, opening: Opening) -> Result<Used, Refusal> {
    let examined = |places: &Places| examine(places, opening).map(|found| Used::Examined(Box::new(found)));
    match subject {
        Subject::Storage(_) | Subject::Opened => examined(places),
        Subject::Table => {
            let read = read_table(&places.out("table", TABLE));
            read.map(Used::Rows).map_err(|error| Refusal::new("table", &error))
        }
        Subject::Filter => {
            admitted(places).map(Used::Admitted).map_err(|error| Refusal::new("filter", &error))
        }
        Subject::Increment => {
            merge(places, TABLE, INCREMENT).map(Used::Rows).map_err(|error| Refusal::new("merge", &error))
        }
        Subject::Loaded | Subject::Import => {
            let op = if subject == Subject::Loaded { Op::LoadWithFilter(CHECKPOINT) } else { Op::Import(9) };
            let mut engine =
                Engine::open(places, opening).map_err(|error| Refusal::new("opening", &error))?;
            let done = engine.make(&op);
            drop(engine);
            let examination = Box::new(examine(places, opening)?);
            let admitted = admitted(places).map_err(|error| Refusal::new("filter", &error))?;
            let refusal = done.err().map(|error| Refusal::new(op.name(), &error));
            Ok(Used::Taken(refusal, examination, admitted))
        }
    }
}

fn check(subject: Subject, timeline: &Timeline, promise: Promise, used: &Used) -> Result<(), Verdict> {
    let lost = |why: String| Verdict::Broken(LOST, why);
    let exact = |expected: &Model, found: &Model| World::exact(expected).check(found).map_err(lost);
    let settled = |model: &Model| {
        let mut model = model.clone();
        model.settle();
        model
    };
    match (subject, used) {
        (Subject::Table, Used::Rows(found)) => exact(&weights_of(&timeline.tables[&TABLE]), found),
        (Subject::Increment, Used::Rows(found)) => {
            exact(&weights_of(&timeline.increments[&INCREMENT].1), found)
        }
        (Subject::Storage(_), Used::Examined(examination)) => {
            find_world(&timeline.worlds(promise, None), &examination.found).map_err(lost)?;
            sound(examination)
        }
        (Subject::Opened, Used::Examined(examination)) => {
            exact(&settled(&timeline.checkpoints[&CHECKPOINT]), &examination.found)?;
            sound(examination)
        }
        (Subject::Loaded, Used::Taken(refusal, examination, admitted)) => {
            let mut timeline = timeline.clone();
            if refusal.is_none() {
                timeline.acknowledge(&Op::LoadWithFilter(CHECKPOINT));
            }
            exact(timeline.now(), &examination.found)?;
            check_filter(admitted, &timeline.filter_counts(false, None))
                .map_or(Ok(()), |why| Err(lost(why)))?;
            sound(examination)
        }
        (Subject::Filter, Used::Admitted(admitted)) => {
            check_filter(admitted, &timeline.filter_counts(false, None)).map_or(Ok(()), |why| Err(lost(why)))
        }
        // An import's floats have no checksums: only rows that the file does not concern can be
        // judged.
        (Subject::Import, Used::Taken(_, examination, _)) => sound(examination),
        _ => Err(Verdict::Broken(LOST, "an answer to another question".to_owned())),
    }
}

fn sound(examination: &Examination) -> Result<(), Verdict> {
    if examination.troubles.is_empty() {
        return Ok(());
    }
    Err(Verdict::Broken(LOST, examination.troubles.join("; ")))
}
