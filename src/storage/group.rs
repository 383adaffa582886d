//! The registry of groups: what each was opened with, its global step, its resident rows, and who may write it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use serde::{Deserialize, Deserializer, Serialize};

use super::clear::{Clearing, Clears, read_cleared};
use super::names::{self, Wanted, name_key};
use super::rocks::{Batch, Rocks};
use super::table::COUNT_FLOATS;
use super::{Core, read_only};
use crate::cache::GroupCache;
use crate::error::{Error, Result, Status};
use crate::initializer::Initializer;
use crate::journal::Kind;
use crate::locks::{Mutex, MutexGuard};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::table::MAX_DIM;

/// An optimizer, scheduler or initializer as it is remembered: enough to build it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub params: Params,
}

/// What a group was opened with. The dim and the optimizer's name fix the layout of its rows and never change;
/// everything else may, and the last opening's values are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    #[serde(deserialize_with = "possible_dim")]
    pub dim: usize,
    pub optimizer: Named,
    pub scheduler: Option<Named>,
    pub initializer: Named,
}

/// A dim that a group can have: what is computed from it does not overflow.
fn possible_dim<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<usize, D::Error> {
    let dim = usize::deserialize(deserializer)?;
    if !(1..=MAX_DIM).contains(&dim) {
        return Err(serde::de::Error::custom(format!("its dim is {dim}")));
    }
    Ok(dim)
}

impl GroupConfig {
    /// The optimizer, without its schedule, and the initializer.
    ///
    /// # Errors
    /// Names or parameters that are not known.
    pub(super) fn build(&self) -> Result<(Arc<Optimizer>, Arc<Initializer>)> {
        let optimizer = Optimizer::new(&self.optimizer.name, &self.optimizer.params, None)?;
        let initializer = Initializer::new(&self.initializer.name, &self.initializer.params)?;
        Ok((Arc::new(optimizer), Arc::new(initializer)))
    }

    /// Floats a key in the journal's record of a call, but for what has none.
    ///
    /// # Errors
    /// An optimizer that is not known.
    pub(super) fn floats_in_journal(&self, kind: Kind) -> Result<usize> {
        match kind {
            Kind::InsertRecords => Ok(self.build()?.0.row_len(self.dim) + COUNT_FLOATS),
            _ => Ok(self.dim),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// Parameters that JSON cannot hold.
    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
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
    /// Tables that it is open for.
    tables: AtomicUsize,
    write: Mutex<()>,
    load: Mutex<()>,
    poisoned: AtomicBool,
}

/// A group that is open for a table.
pub(super) struct Opened(Arc<Group>);

impl Opened {
    pub(super) fn new(group: Arc<Group>) -> Opened {
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
pub struct WriteGuard<'a> {
    group: &'a Group,
    _lock: MutexGuard<'a, ()>,
}

impl Group {
    pub fn id(&self) -> u16 {
        self.id
    }

    /// What it is called, if it has a name.
    pub fn name(&self) -> Option<String> {
        self.name.lock().clone()
    }

    pub fn config(&self) -> GroupConfig {
        self.config.lock().clone()
    }

    /// The global step: apply_gradients calls so far, or what it was last set to.
    pub fn step(&self) -> i64 {
        self.step.load(Ordering::Acquire)
    }

    /// The resident rows, if the group has been opened.
    pub(super) fn cache(&self) -> Option<Arc<GroupCache>> {
        self.cache.lock().clone()
    }

    /// Whether there is a table of it.
    pub(super) fn is_open(&self) -> bool {
        self.tables.load(Ordering::Relaxed) > 0
    }

    /// Makes room for resident rows, unless an opening before this one has.
    pub(super) fn open_cache(&self, row_len: usize, core: &Core) -> Result<Arc<GroupCache>> {
        let mut cache = self.cache.lock();
        if let Some(cache) = &*cache {
            debug_assert_eq!(cache.row_len(), row_len);
            return Ok(Arc::clone(cache));
        }
        let is_complete = !core.rocks()?.has_rows(self.id)?;
        let new = Arc::new(GroupCache::new(row_len, is_complete, &core.budget)?);
        *cache = Some(Arc::clone(&new));
        Ok(new)
    }

    /// Waits for the right to bring rows into memory.
    pub(super) fn begin_load(&self) -> MutexGuard<'_, ()> {
        self.load.lock()
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// `POISONED` after a panic in an earlier write.
    pub fn begin_write(&self) -> Result<WriteGuard<'_>> {
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
}

impl WriteGuard<'_> {
    /// Sets the group's global step.
    pub(super) fn set_step(&self, step: i64) {
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

impl Core {
    /// Opens a group, registering it when it is new.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` when the group has another dim or optimizer, or name; both are named. As
    /// [`names::find`]. With `read_only`, `NOT_FOUND` for a group that is not there, and
    /// `NOT_SUPPORTED` for a name that the group does not have.
    pub(super) fn open_group(&self, wanted: Wanted, config: GroupConfig) -> Result<Arc<Group>> {
        let mut groups = self.groups.lock();
        let id = names::find(&groups, wanted)?;
        let name = wanted.name.map(str::to_owned);
        let Some(group) = groups.get(&id) else {
            if self.is_read_only() {
                return Err(read_only::no_new_group(id, wanted));
            }
            self.register(id, name.as_deref(), &config)?;
            let group = Arc::new(new_group(id, name, config, (0, 0)));
            groups.insert(id, Arc::clone(&group));
            return Ok(group);
        };
        let mut known = group.config.lock();
        let mut known_name = group.name.lock();
        check_same_rows(id, &known, &config)?;
        if self.is_read_only() {
            // The parameters are the caller's alone: what is on record stays.
            read_only::check_name(id, known_name.as_deref(), wanted)?;
            return Ok(Arc::clone(group));
        }
        let name = name.or_else(|| known_name.clone());
        if *known != config || *known_name != name {
            self.register(id, name.as_deref(), &config)?;
            *known = config;
            *known_name = name;
        }
        Ok(Arc::clone(group))
    }

    /// Stores what a group is called and was opened with.
    pub(super) fn register(&self, id: u16, name: Option<&str>, config: &GroupConfig) -> Result<()> {
        let mut batch = Batch::default();
        batch.put_meta(config_key(id), config.to_json()?);
        if let Some(name) = name {
            batch.put_meta(name_key(id), name.as_bytes().to_vec());
        }
        let rocks = self.rocks()?;
        if self.syncs() { rocks.write(batch) } else { rocks.write_without_sync(batch) }
    }
}

/// Reads the registry of a storage that is being opened.
pub(super) fn load_all(rocks: &Rocks) -> Result<BTreeMap<u16, Arc<Group>>> {
    let mut groups = BTreeMap::new();
    for (id, json) in rocks.scan_meta(CONFIG_PREFIX)? {
        let damaged = |why: String| {
            Error::corruption(format!("the record of group '{id}' is damaged: {why}"))
        };
        let config: GroupConfig =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let id: u16 =
            id.parse().map_err(|_| damaged("its number is not from 0 to 65535".to_owned()))?;
        let step = match rocks.read_meta(&step_key(id))? {
            None => 0,
            Some(bytes) => i64::from_le_bytes(
                bytes
                    .try_into()
                    .map_err(|_| damaged("its global step is not 8 bytes".to_owned()))?,
            ),
        };
        let name = rocks.read_meta(&name_key(id))?.map(String::from_utf8).transpose();
        let name = name.map_err(|error| damaged(format!("its name: {error}")))?;
        let cleared = read_cleared(rocks, id)?;
        groups.insert(id, Arc::new(new_group(id, name, config, (step, cleared))));
    }
    Ok(groups)
}

pub(super) const CONFIG_PREFIX: &str = "group:";

pub(super) fn config_key(id: u16) -> String {
    format!("{CONFIG_PREFIX}{id:05}")
}

/// Where a group's global step is kept, beside its configuration.
pub(super) fn step_key(id: u16) -> String {
    format!("step:{id:05}")
}

/// A group with its step, and the number of its latest clear.
fn new_group(
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

pub(super) fn check_same_rows(id: u16, known: &GroupConfig, wanted: &GroupConfig) -> Result<()> {
    let differs = |what: &str, known: &dyn fmt::Display, wanted: &dyn fmt::Display| {
        Err(Error::new(
            Status::AlreadyExists,
            format!(
                "group {id} has {what} {known} and was asked for with {what} {wanted}; \
                 use {what} {known}, another group or another storage"
            ),
        ))
    };
    if known.dim != wanted.dim {
        return differs("dim", &known.dim, &wanted.dim);
    }
    if known.optimizer.name != wanted.optimizer.name {
        return differs("optimizer", &known.optimizer.name, &wanted.optimizer.name);
    }
    Ok(())
}
