//! What is damaged, how it is used afterwards, and what must come of that.

use std::path::{Path, PathBuf};

use crate::damage::is_idle;
use crate::engine::{Engine, Opening, Places};
use crate::examine::{
    Examination, Refusal, admitted, check_filter, examine, merge, read_table, weights_of,
};
use crate::lanes::Lane;
use crate::model::Model;
use crate::script::Op;
use crate::stage::{Start, copy_dir};
use crate::tally::{LOST, Verdict};
use crate::timeline::{Promise, Timeline, World, find_world};

/// What is damaged.
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

pub const SUBJECTS: [(&str, Subject); 8] = [
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
impl Subject {
    pub fn opening(durability: &'static str) -> Opening {
        Opening { durability, threads: 1 }
    }

    pub fn start(self) -> Start {
        if let Subject::Storage(start) = self { start } else { Start::Closed }
    }

    /// The directory whose files are damaged, in a trial that is set up.
    pub fn dir(self, places: &Places) -> PathBuf {
        match self {
            Subject::Storage(_) | Subject::Opened => places.storage(),
            Subject::Loaded => places.out("checkpoint", CHECKPOINT),
            Subject::Table | Subject::Increment | Subject::Import => places.root.join("out"),
            Subject::Filter => places.root.clone(),
        }
    }

    /// Whether a file is one to be damaged.
    pub fn has(self, file: &Path) -> bool {
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
    pub fn set_up(self, lane: &mut Lane, durability: &'static str) -> (Places, Timeline) {
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
            let base =
                lane.stage.base(self.start(), opening).places().out("checkpoint", CHECKPOINT);
            copy_dir(&base, &places.storage());
        }
        if self == Subject::Import {
            crate::import_file::write(&places.out("import", 9), 9)
                .expect("the scratch directory has room");
        }
        (places, timeline)
    }
}

/// What using a damaged thing gave.
#[derive(serde::Serialize, serde::Deserialize)]
pub enum Used {
    Examined(Box<Examination>),
    Rows(Model),
    /// Keys that a filter admits.
    Admitted(Vec<i64>),
    /// Loading, or importing, was done or refused; then these rows were there, and these keys
    /// admitted.
    Taken(Option<Refusal>, Box<Examination>, Vec<i64>),
}

pub fn use_it(subject: Subject, places: &Places, opening: Opening) -> Result<Used, Refusal> {
    let examined =
        |places: &Places| examine(places, opening).map(|found| Used::Examined(Box::new(found)));
    match subject {
        Subject::Storage(_) | Subject::Opened => examined(places),
        Subject::Table => {
            let read = read_table(&places.out("table", TABLE));
            read.map(Used::Rows).map_err(|error| Refusal::new("table", &error))
        }
        Subject::Filter => {
            admitted(places).map(Used::Admitted).map_err(|error| Refusal::new("filter", &error))
        }
        Subject::Increment => merge(places, TABLE, INCREMENT)
            .map(Used::Rows)
            .map_err(|error| Refusal::new("merge", &error)),
        Subject::Loaded | Subject::Import => {
            let op = if subject == Subject::Loaded {
                Op::LoadWithFilter(CHECKPOINT)
            } else {
                Op::Import(9)
            };
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

pub fn check(
    subject: Subject,
    timeline: &Timeline,
    promise: Promise,
    used: &Used,
) -> Result<(), Verdict> {
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
            check_filter(admitted, &timeline.filter_counts(false, None))
                .map_or(Ok(()), |why| Err(lost(why)))
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
