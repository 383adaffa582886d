//! An open storage with its embeddings: makes operations and reads everything back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use damo::embedding::{Conflicts, Embedding};
use damo::error::{Error, Result};
use damo::filter::Filter;
use damo::kernels::Rows;
use damo::params::Params;
use damo::step::Step;
use damo::storage::{DumpOptions, Storage};
use damo::table::Contents;

use crate::groups::{self, LATE, Spec, USUAL, specs};
use crate::import_file;
use crate::model::{Model, Row};
use crate::script::{KEYS, Op, Part};

/// Keys that the filter is made for, and occurrences that one needs.
const FILTER_CAPACITY: i64 = 200;
pub const FILTER_COUNT: u32 = 3;

/// The group that uses it, at times.
const FILTERED: u16 = 300;

/// How a storage is opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    pub durability: &'static str,
    pub threads: i64,
}

pub const DURABILITIES: [&str; 3] = ["process", "power", "checkpoint"];
/// Groups that the header of a classic dump has room for.
pub const CLASSIC_WIDTH: usize = 512;

/// The durability of this name.
pub fn durability(name: &str) -> &'static str {
    DURABILITIES
        .into_iter()
        .find(|known| *known == name)
        .unwrap_or_else(|| panic!("no durability '{name}'"))
}

const CACHE_BYTES: i64 = 64 << 10;

/// The places of a trial.
#[derive(Clone, Debug)]
pub struct Places {
    pub root: PathBuf,
}

impl Places {
    pub fn storage(&self) -> PathBuf {
        self.root.join("storage")
    }

    pub fn filter(&self) -> PathBuf {
        self.root.join("filter")
    }

    pub fn out(&self, name: &str, number: u64) -> PathBuf {
        self.root.join("out").join(format!("{name}.{number}"))
    }
}

pub struct Engine {
    places: Places,
    opening: Opening,
    /// None once it is closed.
    open: Option<Open>,
    filter: Option<Arc<Filter>>,
}

struct Open {
    embeddings: BTreeMap<u16, Arc<Embedding>>,
    storage: Storage,
}

/// Opens a group as its spec says.
pub fn embedding(storage: &Storage, spec: &Spec) -> Result<Embedding> {
    let (optimizer, initializer) = (Arc::clone(&spec.optimizer), Arc::clone(&spec.initializer));
    Embedding::new(
        storage.clone(),
        optimizer,
        initializer,
        spec.dim,
        spec.group.into(),
        &Params::new(),
    )
}

impl Open {
    fn new(places: &Places, opening: Opening) -> Result<Open> {
        let options = Params::new()
            .with("durability", opening.durability)?
            .with("cache_bytes", CACHE_BYTES)?
            .with("threads", opening.threads)?;
        let storage = Storage::open(places.storage(), 0, &options)?;
        let mut embeddings = BTreeMap::new();
        for spec in &specs()[..USUAL] {
            embeddings.insert(spec.group, Arc::new(embedding(&storage, spec)?));
        }
        Ok(Open { embeddings, storage })
    }
}

impl Engine {
    pub fn open(places: &Places, opening: Opening) -> Result<Engine> {
        let open = Open::new(places, opening)?;
        Ok(Engine { places: places.clone(), opening, open: Some(open), filter: None })
    }

    fn embedding(&self, group: u16) -> Result<&Arc<Embedding>> {
        let open = self.open.as_ref().ok_or_else(|| Error::invalid("closed"))?;
        open.embeddings
            .get(&group)
            .ok_or_else(|| Error::invalid(format!("group {group} is not open")))
    }

    pub fn storage(&self) -> Result<&Storage> {
        self.open.as_ref().map(|open| &open.storage).ok_or_else(|| Error::invalid("closed"))
    }

    /// The filter, which is opened when it is first needed.
    pub fn filter(&mut self) -> Result<&Arc<Filter>> {
        if self.filter.is_none() {
            self.filter = Some(Arc::new(open_filter(&self.places.filter())?));
        }
        self.filter.as_ref().ok_or_else(|| Error::invalid("closed"))
    }

    pub fn make(&mut self, op: &Op) -> Result<()> {
        let places = self.places.clone();
        match op {
            Op::Call(call) => call.make(self.embedding(call.group())?),
            Op::Step(parts) => self.step(parts),
            Op::Commit { group, keys, change } => {
                let embedding = self.embedding(*group)?;
                let mut pin = embedding.new_pin();
                embedding.pin_rows(keys, &mut pin)?;
                pin.rows_mut().iter_mut().for_each(|float| *float += change);
                pin.commit(Conflicts::Refuse)
            }
            Op::NewGroup => {
                let spec = &specs()[LATE];
                let open = self.open.as_mut().ok_or_else(|| Error::invalid("closed"))?;
                open.embeddings.insert(spec.group, Arc::new(embedding(&open.storage, spec)?));
                Ok(())
            }
            Op::Flush => self.storage()?.flush(),
            Op::Compact => self.storage()?.compact(),
            Op::Checkpoint(number) => {
                let path = places.out("checkpoint", *number);
                let _ = fs::remove_dir_all(&path);
                self.storage()?.checkpoint(path)
            }
            Op::CheckpointWithFilter(number) => self.with_filter(&Op::Checkpoint(*number)),
            Op::LoadWithFilter(number) => self.with_filter(&Op::Load(*number)),
            Op::Load(number) => {
                self.storage()?.load_from_checkpoint(places.out("checkpoint", *number))
            }
            Op::DumpClassic(number) => self.dump(
                &places.out("classic", *number),
                &Params::new().with("header_groups", CLASSIC_WIDTH as i64)?,
            ),
            Op::DumpTable(number) => {
                self.dump(&places.out("table", *number), &Params::new().with("format", "table")?)
            }
            Op::DumpIncrement(number, base) => {
                let since = Contents::open(&places.out("table", *base))?.number() as i64;
                let condition = Params::new().with("format", "table")?.with("since", since)?;
                self.dump(&places.out("increment", *number), &condition)
            }
            Op::Import(number) => {
                let path = places.out("import", *number);
                if !path.exists() {
                    import_file::write(&path, *number)
                        .map_err(|error| Error::io(error.to_string()))?;
                }
                let report = self.storage()?.import(path, |_, _| true)?;
                match report.refused_records() {
                    0 => Ok(()),
                    _ => Err(Error::invalid(format!(
                        "rows of import.{number} were refused: {}",
                        report.to_json()
                    ))),
                }
            }
            Op::FilterAdd(keys) => self.filter()?.add_batch(0, keys, 1),
            Op::FilterSync => self.filter()?.sync(),
            Op::Close => {
                self.filter = None;
                self.open = None;
                Ok(())
            }
            Op::Reopen => {
                self.filter = None;
                self.open = None;
                self.open = Some(Open::new(&places, self.opening)?);
                Ok(())
            }
        }
    }

    /// Makes a training step.
    fn step(&self, parts: &[Part]) -> Result<()> {
        let mut step = Step::new(self.storage()?.clone());
        let mut gradients = Vec::new();
        for part in parts {
            let dim = groups::of(part.group).dim;
            step.add(self.embedding(part.group)?, &part.keys, None)?;
            gradients.push(Rows::new(&part.gradients, dim, dim)?);
        }
        step.apply_gradients(&gradients)
    }

    /// Makes an operation while a group uses the filter.
    fn with_filter(&mut self, op: &Op) -> Result<()> {
        let filter = Arc::clone(self.filter()?);
        self.embedding(FILTERED)?.set_filter(Some(filter))?;
        let done = self.make(op);
        self.embedding(FILTERED)?.set_filter(None)?;
        done
    }

    fn dump(&self, path: &Path, condition: &Params) -> Result<()> {
        self.storage()?.dump(path, DumpOptions::read(condition)?, |_, _| true).map(drop)
    }

    /// Everything that is stored, read from disk as of one moment.
    pub fn read(&self) -> Result<Model> {
        let storage = self.storage()?;
        let mut found = Model::default();
        let mut rows = storage.rows(None)?;
        while let Some(record) = rows.next_row()? {
            let row = Row { updates: record.update_num, data: record.data, fleeting: false };
            found.rows.insert((record.group, record.key), Arc::new(row));
        }
        drop(rows);
        for group in storage.groups() {
            let spec = groups::of(group.id());
            found.set_step(spec.group, embedding(storage, spec)?.step()?);
        }
        Ok(found)
    }

    /// Everything that calls see, row by row, without a round of the writer.
    pub fn look(&self) -> Result<Model> {
        let storage = self.storage()?;
        let mut found = Model::default();
        for group in storage.groups() {
            let spec = groups::of(group.id());
            let embedding = embedding(storage, spec)?;
            for key in KEYS {
                match embedding.record(key) {
                    Ok(record) => {
                        let row =
                            Row { updates: record.update_num, data: record.data, fleeting: false };
                        found.rows.insert((spec.group, key), Arc::new(row));
                    }
                    Err(error) if error.status() == damo::error::Status::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            found.set_step(spec.group, embedding.step()?);
        }
        Ok(found)
    }
}

/// The filter of a trial, made if it is not there.
pub fn open_filter(path: &Path) -> Result<Filter> {
    let path = path.to_string_lossy().into_owned();
    let params = Params::new()
        .with("path", path.as_str())?
        .with("capacity", FILTER_CAPACITY)?
        .with("count", i64::from(FILTER_COUNT))?;
    Filter::open(&params)
}
