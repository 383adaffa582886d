//! The registry of groups: what each was opened with, its global step, its resident rows, and who may write it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use serde::{Deserialize, Deserializer, Serialize};

use super::clears::{Clearing, Clears};
use crate::cache::GroupCache;
use crate::error::{Error, Result, Status};
use crate::initializer::Initializer;
use crate::journal::CallKind;
use crate::limits::is_dim;
use crate::locks::{Mutex, MutexGuard};
use crate::optimizer::Optimizer;
use crate::params::Params;

/// An optimizer, scheduler or initializer as it is remembered: enough to build it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Its name, without aliases.
    pub name: String,
    /// The parameters that it is built with.
    pub params: Params,
}

/// What a group was opened with. The dim and the optimizer's name fix the layout of its rows and never change;
/// everything else may, and the last opening's values are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The number of weights of a row.
    #[serde(deserialize_with = "possible_dim")]
    pub dim: usize,
    /// How its rows are stepped.
    pub optimizer: Recipe,
    /// How the learning rate changes; None when it stays.
    pub scheduler: Option<Recipe>,
    /// The first weights of its rows.
    pub initializer: Recipe,
}

/// A dim that a group can have: what is computed from it does not overflow.
fn possible_dim<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<usize, D::Error> {
    let dim = usize::deserialize(deserializer)?;
    if !is_dim(dim) {
        return Err(serde::de::Error::custom(format!("its dim is {dim}")));
    }
    Ok(dim)
}

impl GroupConfig {
    /// The optimizer, without its schedule, and the initializer.
    ///
    /// # Errors
    /// Names or parameters that are not known.
    pub(crate) fn build(&self) -> Result<(Arc<Optimizer>, Arc<Initializer>)> {
        let optimizer = Optimizer::new(&self.optimizer.name, &self.optimizer.params, None)?;
        let initializer = Initializer::new(&self.initializer.name, &self.initializer.params)?;
        Ok((Arc::new(optimizer), Arc::new(initializer)))
    }

    /// Floats a key in the journal's record of a call, but for what has none.
    ///
    /// # Errors
    /// An optimizer that is not known.
    pub(crate) fn floats_in_journal(&self, kind: CallKind) -> Result<usize> {
        match kind {
            CallKind::InsertRecords => Ok(self.build()?.0.row_len(self.dim) + COUNT_FLOATS),
            _ => Ok(self.dim),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Parameters that JSON cannot hold.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::invalid(format!("the group cannot be described: {error}")))
    }
}

/// One feature type of an open storage, shared by every embedding that opened it.
///
/// Locks are taken in the order write, load, a shard's.
pub struct Group {
    id: u16,
    /// Its name, once it has one.
    name: Mutex<Option<String>>,
    config: Mutex<GroupConfig>,
    step: AtomicI64,
    pub(super) clears: Clears,
    /// Its resident rows, once it has been opened.
    cache: Mutex<Option<Arc<GroupCache>>>,
    /// OpenGroups that it is open for.
    tables: AtomicUsize,
    write: Mutex<()>,
    load: Mutex<()>,
    poisoned: AtomicBool,
}

/// An update count, among the floats of the journal's records and of the parts of a call: its low
/// half and its high half, each as the float of the same bits.
pub(super) const COUNT_FLOATS: usize = 2;

/// A group that is open for a table.
pub(crate) struct Opened(Arc<Group>);

impl Opened {
    pub(crate) fn new(group: Arc<Group>) -> Opened {
        group.tables.fetch_add(1, Ordering::Relaxed);
        Opened(group)
    }
}

impl std::ops::Deref for Opened {
    type Target = Group;

    fn deref(&self) -> &Group {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.tables.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right to change a group's rows, held by one call at a time. Should that call panic, the group is poisoned:
/// its state may be half-made, so later writes are refused.
pub(crate) struct WriteGuard<'a> {
    group: &'a Group,
    _lock: MutexGuard<'a, ()>,
}

impl Group {
    /// A group with its step, and the number of its latest clear.
    pub(crate) fn new(
        id: u16,
        name: Option<String>,
        config: GroupConfig,
        (step, cleared): (i64, u64),
    ) -> Group {
        Group {
            id,
            name: Mutex::new(name),
            config: Mutex::new(config),
            step: AtomicI64::new(step),
            clears: Clears::new(cleared),
            cache: Mutex::new(None),
            tables: AtomicUsize::new(0),
            write: Mutex::new(()),
            load: Mutex::new(()),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Its number, by which keys on disk begin.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// What it is called, if it has a name.
    pub fn name(&self) -> Option<String> {
        self.name.lock().clone()
    }

    /// What it was last opened with.
    pub fn config(&self) -> GroupConfig {
        self.config.lock().clone()
    }

    /// The global step: apply_gradients calls so far, or what it was last set to.
    pub fn step(&self) -> i64 {
        self.step.load(Ordering::Acquire)
    }

    /// The resident rows, if the group has been opened.
    pub(crate) fn cache(&self) -> Option<Arc<GroupCache>> {
        self.cache.lock().clone()
    }

    /// Whether there is a table of it.
    pub(crate) fn is_open(&self) -> bool {
        self.tables.load(Ordering::Relaxed) > 0
    }

    /// Makes room for resident rows, unless an opening before this one has.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn open_cache(
        &self,
        make: impl FnOnce() -> Result<GroupCache>,
    ) -> Result<Arc<GroupCache>> {
        let mut cache = self.cache.lock();
        if let Some(cache) = &*cache {
            return Ok(Arc::clone(cache));
        }
        let new = Arc::new(make()?);
        *cache = Some(Arc::clone(&new));
        Ok(new)
    }

    /// What the group was opened with last, and its name, for whoever changes both.
    pub(super) fn lock_description(
        &self,
    ) -> (MutexGuard<'_, GroupConfig>, MutexGuard<'_, Option<String>>) {
        (self.config.lock(), self.name.lock())
    }

    /// Waits for the right to bring rows into memory.
    pub(super) fn begin_load(&self) -> MutexGuard<'_, ()> {
        self.load.lock()
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// `POISONED` after a panic in an earlier write.
    pub(crate) fn begin_write(&self) -> Result<WriteGuard<'_>> {
        let lock = self.write.lock();
        self.check_not_poisoned()?;
        Ok(WriteGuard { group: self, _lock: lock })
    }

    pub(super) fn check_not_poisoned(&self) -> Result<()> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(
            Status::Poisoned,
            format!(
                "group {} refuses writes since an earlier call panicked (a bug in damo); free every handle of this \
                 storage and open it again: it then has every call that returned before",
                self.id
            ),
        ))
    }

    /// Begins a clear, as the call with this number. The caller holds the lock for loading, too.
    pub(super) fn begin_clear(&self, _: &WriteGuard<'_>, number: u64) -> Clearing<'_> {
        self.clears.begin(number)
    }

    /// The rows that were there are gone, and those of another group (None: none) have taken their place.
    pub(super) fn begin_anew(&self, other: Option<&Group>) {
        self.clears.begin_anew(other.map_or(0, Group::cleared));
        self.step.store(other.map_or(0, Group::step), Ordering::Release);
        if let Some(name) = other.and_then(Group::name) {
            *self.name.lock() = Some(name);
        }
        self.poisoned.store(false, Ordering::Release);
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The number of the latest clear. Every row has this number or a larger one.
    pub(crate) fn cleared(&self) -> u64 {
        self.clears.latest()
    }

    /// Calls `read`, and again if a clear came in between, so that the outcome is wholly of before
    /// or wholly of after each clear.
    ///
    /// # Errors
    /// Those of `read`.
    pub(crate) fn between_clears<T>(&self, mut read: impl FnMut() -> Result<T>) -> Result<T> {
        loop {
            let began = self.clears.moment();
            if began % 2 == 1 {
                // A clear holds this lock to its end.
                drop(self.begin_load());
                continue;
            }
            let outcome = read();
            // If read has seen a shard as a clear left it, that shard's lock makes the clear's
            // first increment visible here.
            if self.clears.moment() == began {
                return outcome;
            }
        }
    }

    /// Weights of a row, and floats with the optimizer's state.
    ///
    /// # Errors
    /// `CORRUPTION` when the group's optimizer is not known.
    pub(crate) fn shape(&self) -> Result<(usize, usize)> {
        let config = self.config();
        let optimizer = Optimizer::new(&config.optimizer.name, &config.optimizer.params, None);
        let optimizer = optimizer.map_err(|error| {
            Error::corruption(format!("group {}: {}", self.id(), error.message()))
        })?;
        Ok((config.dim, optimizer.row_len(config.dim)))
    }
}

impl WriteGuard<'_> {
    /// Sets the group's global step.
    pub(crate) fn set_step(&self, step: i64) {
        self.group.step.store(step, Ordering::Release);
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.group.poisoned.store(true, Ordering::Release);
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Group({}, step {})", self.id, self.step())
    }
}

pub(super) fn check_same_rows(id: u16, known: &GroupConfig, wanted: &GroupConfig) -> Result<()> {
    let differs = |what: &str, known: &dyn fmt::Display, wanted: &dyn fmt::Display| {
        Err(Error::already_exists(format!(
            "group {id} has {what} {known} and was asked for with {what} {wanted}; \
                 use {what} {known}, another group or another storage"
        )))
    };
    if known.dim != wanted.dim {
        return differs("dim", &known.dim, &wanted.dim);
    }
    if known.optimizer.name != wanted.optimizer.name {
        return differs("optimizer", &known.optimizer.name, &wanted.optimizer.name);
    }
    Ok(())
}
