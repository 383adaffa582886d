//! A group of an open storage: its configuration, its global step, and its resident rows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Deserializer, Serialize};

use super::clears::{Clearing, Clears};
use super::clients::Clients;
use super::rights::{Rights, WriteGuard};
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::initializer::Initializer;
use crate::journal::CallKind;
use crate::limits::is_dim;
use crate::locks::{Mutex, MutexGuard};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::seqno::Seqno;

/// What is stored of an optimizer, scheduler or initializer: enough to build it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Its name, without aliases.
    pub name: String,
    /// The parameters that it is built with.
    pub params: Params,
}

/// A group's configuration: what it was opened with. The dim, the optimizer's name and the `state`
/// of `none` fix the layout of its rows and never change. Everything else may: the latest values
/// are stored.
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
    /// The limit of the 2-norm of a row's weights; None when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "possible_max_norm")]
    pub max_norm: Option<f64>,
}

/// Reads a limit that a group can have.
fn possible_max_norm<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<f64>, D::Error> {
    let max_norm = Option::<f64>::deserialize(deserializer)?;
    match max_norm {
        Some(limit) if limit <= 0.0 => {
            Err(serde::de::Error::custom(format!("its max_norm is {limit}")))
        }
        _ => Ok(max_norm),
    }
}

/// Reads a dim that a group can have, so that what is computed from it does not overflow.
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
    /// `INVALID_ARGUMENT` for names or parameters that are not known.
    pub(crate) fn build(&self) -> Result<(Arc<Optimizer>, Arc<Initializer>)> {
        let optimizer = Optimizer::new(&self.optimizer.name, &self.optimizer.params, None)?;
        let initializer = Initializer::new(&self.initializer.name, &self.initializer.params)?;
        Ok((Arc::new(optimizer), Arc::new(initializer)))
    }

    /// Floats of a row: its weights and the optimizer's state.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an optimizer that is not known.
    pub(crate) fn row_len(&self) -> Result<usize> {
        let optimizer = Optimizer::new(&self.optimizer.name, &self.optimizer.params, None)?;
        Ok(optimizer.row_len(self.dim))
    }

    /// The floats a key of a call's entry in the journal, for kinds of calls that have floats.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an optimizer that is not known.
    pub(crate) fn floats_in_journal(&self, kind: CallKind) -> Result<usize> {
        match kind {
            CallKind::InsertRecords => Ok(self.row_len()? + COUNT_FLOATS),
            _ => Ok(self.dim),
        }
    }

    /// The configuration as JSON, as it is stored.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for parameters that JSON cannot hold.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::invalid(format!("the group cannot be described: {error}")))
    }
}

/// One feature type of an open storage, shared by every embedding that opened it.
///
/// A call takes those locks that it needs in this order: `change`, `load`, the latches of its rows
/// (few rows only), `order`, one shard's after the other.
pub struct Group {
    id: u16,
    /// The name, once it has one.
    name: Mutex<Option<String>>,
    config: Mutex<GroupConfig>,
    pub(super) rights: Rights,
    pub(super) clears: Clears,
    pub(crate) clients: Clients,
    /// The resident rows, once the group has been opened.
    cache: Mutex<Option<Arc<GroupCache>>>,
    /// How many open groups there are of it.
    open: AtomicUsize,
    /// The right to bring rows into memory.
    load: Mutex<()>,
}

/// The floats that hold an update count in the journal's entries and in a call's parts: its low
/// half and its high half, each as the float with the same bits.
pub(super) const COUNT_FLOATS: usize = 2;

/// A group, counted as open until this is dropped.
pub(crate) struct Opened(Arc<Group>);

impl Opened {
    pub(crate) fn new(group: Arc<Group>) -> Opened {
        group.open.fetch_add(1, Ordering::Relaxed);
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
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Group {
    /// A group with its step, and the sequence number of its latest clear.
    pub(crate) fn new(
        id: u16,
        name: Option<String>,
        config: GroupConfig,
        (step, cleared): (i64, Seqno),
    ) -> Group {
        Group {
            id,
            name: Mutex::new(name),
            config: Mutex::new(config),
            rights: Rights::new(id, step),
            clears: Clears::new(cleared),
            clients: Clients::default(),
            cache: Mutex::new(None),
            open: AtomicUsize::new(0),
            load: Mutex::new(()),
        }
    }

    /// Its number, by which keys on disk begin.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<String> {
        self.name.lock().clone()
    }

    /// What it was last opened with.
    pub fn config(&self) -> GroupConfig {
        self.config.lock().clone()
    }

    /// The global step: apply_gradients calls so far, counted from the value that it was last set
    /// to.
    pub fn step(&self) -> i64 {
        self.rights.step()
    }

    /// The resident rows, if the group has been opened.
    pub(crate) fn cache(&self) -> Option<Arc<GroupCache>> {
        self.cache.lock().clone()
    }

    /// Whether there is an open group of it.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// The cache of the resident rows, made with `make` if it does not exist yet.
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

    /// Locks the latest configuration and the name, to change both.
    pub(super) fn lock_description(
        &self,
    ) -> (MutexGuard<'_, GroupConfig>, MutexGuard<'_, Option<String>>) {
        (self.config.lock(), self.name.lock())
    }

    /// Waits for the right to bring rows into memory.
    pub(super) fn begin_load(&self) -> MutexGuard<'_, ()> {
        self.load.lock()
    }

    /// Waits for the right to change rows alone.
    ///
    /// # Errors
    /// As [`Rights::begin_write`].
    pub(crate) fn begin_write(&self) -> Result<WriteGuard<'_>> {
        self.rights.begin_write()
    }

    /// # Errors
    /// As [`Rights::check_not_poisoned`].
    #[inline]
    pub(super) fn check_not_poisoned(&self) -> Result<()> {
        self.rights.check_not_poisoned()
    }

    /// Begins a clear as the call with this sequence number. The caller also holds the lock `load`.
    pub(super) fn begin_clear(&self, _: &WriteGuard<'_>, seqno: Seqno) -> Clearing<'_> {
        self.clears.begin(seqno)
    }

    /// Resets the group after its rows were replaced by those of `other` (None: by no rows).
    pub(super) fn begin_anew(&self, other: Option<&Group>) {
        self.clears.begin_anew(other.map_or(Seqno::NONE, Group::cleared));
        self.rights.begin_anew(other.map_or(0, Group::step));
        self.clients.begin_anew(other.map(|other| &other.clients));
        if let Some(name) = other.and_then(Group::name) {
            *self.name.lock() = Some(name);
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.rights.is_poisoned()
    }

    /// The sequence number of the latest clear. No row has a smaller one.
    pub(crate) fn cleared(&self) -> Seqno {
        self.clears.latest()
    }

    /// A number that changes when the group is cleared, and when a checkpoint is loaded.
    pub(super) fn content(&self) -> u64 {
        self.clears.moment()
    }

    /// Calls `read`, and again if a clear came in between. So the outcome is wholly from before or
    /// wholly from after each clear.
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
            // If `read` has seen a shard as a clear left it, that shard's lock has made the clear's
            // first increment visible here.
            if self.clears.moment() == began {
                return outcome;
            }
        }
    }

    /// A row's weights, and all its floats with the optimizer's state.
    ///
    /// # Errors
    /// `CORRUPTION` when the group's optimizer is not known.
    pub(crate) fn shape(&self) -> Result<(usize, usize)> {
        let config = self.config();
        let row_len = config.row_len().map_err(|error| {
            Error::corruption(format!("group {}: {}", self.id(), error.message()))
        })?;
        Ok((config.dim, row_len))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Group({}, step {})", self.id, self.step())
    }
}

/// Refuses to open a group with a layout of rows that is not its own.
///
/// # Errors
/// `ALREADY_EXISTS`, naming what differs.
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
    // The optimizer 'none' has as much state as its parameters say.
    let (known_len, wanted_len) = (known.row_len()?, wanted.row_len()?);
    if known_len != wanted_len {
        return differs("state", &(known_len - known.dim), &(wanted_len - wanted.dim));
    }
    Ok(())
}
