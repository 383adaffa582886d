//! An open storage: makes the acts of a history, and compares each answer with the reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::error::{Error, Result, Status};
use damo::filter::Filter;
use damo::params::Params;
use damo::storage::{Rows, Storage};

use super::dumps;
use super::filters::Attached;
use super::groups::{WIDE, of, specs};
use super::look;
use super::past::{Opening, Past};
use super::script::Act;
use super::state::{FILTER_COUNT, State};
use super::worlds::Found;
use crate::call::Call;
use crate::engine::{Places, embedding};

const CACHE_BYTES: i64 = 64 << 10;
const FILTER_CAPACITY: i64 = 4096;
const FALSE_POSITIVES: f64 = 1e-6;

/// What is wrong, in words.
pub type Outcome<T = ()> = std::result::Result<T, String>;

/// Adds what was being done to an error of damo's.
pub fn at(what: &str) -> impl Fn(Error) -> String + '_ {
    move |error| format!("{what}: {error:?}")
}

pub struct Engine {
    pub places: Places,
    pub opening: Opening,
    pub open: Option<Open>,
    pub filter: Option<Arc<Filter>>,
    /// Iterators under way, and what they should see.
    held: Vec<(Rows, State, Found)>,
}

pub struct Open {
    pub embeddings: BTreeMap<u16, Embedding>,
    pub storage: Storage,
}

impl Open {
    /// Opens a directory with the clock set.
    pub fn new(places: &Places, opening: Opening, is_read_only: bool) -> Result<Open> {
        let options = Params::new()
            .with("durability", opening.durability)?
            .with("cache_bytes", CACHE_BYTES)?
            .with("threads", opening.threads)?;
        let options = if is_read_only { options.with("read_only", true)? } else { options };
        let storage = Storage::open(places.storage(), (opening.ttl_ms / 1000) as i64, &options)?;
        storage.set_clock_for_test(opening.clock)?;
        let mut embeddings = BTreeMap::new();
        for spec in specs() {
            // A storage that is only looked at gets no new groups.
            if spec.group == WIDE && !opening.is_wide
                || is_read_only && !storage.groups().iter().any(|group| group.id() == spec.group)
            {
                continue;
            }
            embeddings.insert(spec.group, embedding(&storage, spec)?);
        }
        Ok(Open { embeddings, storage })
    }
}

impl Engine {
    pub fn open(places: &Places, opening: Opening) -> Outcome<Engine> {
        let open = Some(Open::new(places, opening, false).map_err(at("opening"))?);
        Ok(Engine { places: places.clone(), opening, open, filter: None, held: Vec::new() })
    }

    pub fn inside(&self) -> &Open {
        self.open.as_ref().expect("it is open between acts")
    }

    fn embedding(&self, group: u16) -> &Embedding {
        &self.inside().embeddings[&group]
    }

    pub fn now(&self) -> u64 {
        self.inside().storage.engine().now_ms()
    }

    /// Makes an act. The past is that before it.
    pub fn make(&mut self, act: &Act, past: &Past) -> Outcome {
        let (before, ttl_ms) = (past.now(), self.opening.ttl_ms);
        if !past.is_made(act, ttl_ms) {
            return Ok(());
        }
        let name = act.name();
        match act {
            Act::Call(Call::Lookup { group, keys }) => {
                let mut weights = vec![0.0; keys.len() * of(*group).dim];
                self.embedding(*group).lookup(keys, &mut weights).map_err(at(name))?;
                look::compare_lookup(*group, keys, &weights, &past.after(act, ttl_ms), ttl_ms)
            }
            Act::Peek { group, keys } => {
                look::compare_peek(self.embedding(*group), keys, &past.after(act, ttl_ms), ttl_ms)
            }
            Act::Prefetch { group, keys } => {
                self.embedding(*group).prefetch(keys).map_err(at(name))
            }
            Act::InsertRecords { group, keys, rows, counts } => {
                self.embedding(*group).insert_records(keys, rows, counts).map_err(at(name))
            }
            Act::Call(call) => call.make(self.embedding(call.group())).map_err(at(name)),
            Act::Clock(clock) => self.set_clock(*clock, before),
            Act::Flush => self.inside().storage.flush().map_err(at(name)),
            Act::Compact => self.inside().storage.compact().map_err(at(name)),
            Act::Checkpoint(number) => {
                let path = self.places.out("checkpoint", *number);
                self.inside().storage.checkpoint(path).map_err(at(name))
            }
            Act::Load(number) => {
                // While something iterates, loading is BUSY.
                self.drain()?;
                let path = self.places.out("checkpoint", *number);
                self.inside().storage.load_from_checkpoint(path).map_err(at(name))
            }
            Act::OpenCheckpoint(number) => look::open_checkpoint(self, *number, past),
            Act::DumpCounted => dumps::dump_counted(self, before),
            Act::DumpTable(number) => dumps::dump_table(self, *number, before),
            Act::DumpIncrement(base) => match past.tables.get(base) {
                Some(time) => dumps::dump_increment(self, *base, *time, before),
                None if past.outdated.contains(base) => dumps::refuse_increment(self, *base),
                None => Ok(()),
            },
            Act::Hold => self.hold(before),
            Act::Drain => self.drain(),
            Act::Attach(group) => {
                if self.filter.is_none() {
                    self.filter = Some(Arc::new(open_filter(&self.places).map_err(at(name))?));
                }
                let outcome = self.embedding(*group).set_filter(self.filter.clone());
                if before.waiting.clone().attach(*group, &before.attached) != Attached::Refused {
                    return outcome.map_err(at(name));
                }
                match outcome {
                    Err(error) if error.message().contains("has counts of other groups") => Ok(()),
                    other => Err(format!(
                        "set_filter: {other:?}, and counts wait that would replace others"
                    )),
                }
            }
            Act::Detach(group) => {
                self.embedding(*group).set_filter(None).map_err(at(name))?;
                if past.after(act, ttl_ms).attached.is_empty() {
                    self.filter = None;
                }
                Ok(())
            }
            Act::Reopen => self.reopen(),
            Act::Look => look::everything(self, before),
            Act::LookReadOnly => look::read_only(self, past),
        }
    }

    fn set_clock(&mut self, clock: u64, before: &State) -> Outcome {
        self.inside().storage.set_clock_for_test(clock).map_err(at("the clock"))?;
        self.opening.clock = clock;
        // A time counts once it is used.
        let (now, expected) = (self.now(), clock.max(before.now));
        if now == expected {
            Ok(())
        } else {
            Err(format!("the time differs: {now}, not {expected}"))
        }
    }

    fn hold(&mut self, before: &State) -> Outcome {
        let mut rows = self.inside().storage.rows(None).map_err(at("iterate"))?;
        let mut found = Found::default();
        look::take_rows(&mut rows, &mut found, 1)?;
        self.held.push((rows, before.clone(), found));
        Ok(())
    }

    /// Iterates to the end everywhere: what was seen first is what there was then.
    fn drain(&mut self) -> Outcome {
        for (mut rows, state, mut found) in std::mem::take(&mut self.held) {
            look::take_rows(&mut rows, &mut found, usize::MAX)?;
            found.steps.clone_from(&state.steps);
            look::compare("iterate, held open,", &found, &state, self.opening.ttl_ms)?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Outcome {
        self.close()?;
        self.open = Some(Open::new(&self.places, self.opening, false).map_err(at("reopen"))?);
        Ok(())
    }

    pub fn close(&mut self) -> Outcome {
        self.drain()?;
        (self.open, self.filter) = (None, None);
        Ok(())
    }

    /// Everything that calls see, row by row.
    pub fn look(&self) -> Outcome<Found> {
        let mut found = Found::default();
        for (group, embedding) in &self.inside().embeddings {
            look::take_records(*group, embedding, &mut found)?;
        }
        Ok(found)
    }
}

/// The filter of a trial, made if it is not there.
pub fn open_filter(places: &Places) -> Result<Filter> {
    let path = places.filter().to_string_lossy().into_owned();
    let params = Params::new()
        .with("path", path.as_str())?
        .with("capacity", FILTER_CAPACITY)?
        .with("count", i64::from(FILTER_COUNT))?
        .with("fpr", FALSE_POSITIVES)?;
    Filter::open(&params)
}

/// Whether an error says that there is no such row, or dump.
pub fn is_absence(error: &Error) -> bool {
    error.status() == Status::NotFound
}
