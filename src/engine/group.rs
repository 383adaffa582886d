//! A group of an open storage: its configuration, its global step, its resident rows, and the right
//! to write it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize};

use super::clears::{Clearing, Clears};
use super::turns::{Lanes, Next, Turns};
use crate::cache::{GroupCache, MAX_PINS, MAX_SHARDS};
use crate::error::{Error, Result, Status};
use crate::initializer::Initializer;
use crate::journal::CallKind;
use crate::limits::is_dim;
use crate::locks::{Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use crate::optimizer::Optimizer;
use crate::params::Params;
use crate::seqno::Seqno;
use crate::stripes::{Apart, CallLock};

/// What is stored of an optimizer, scheduler or initializer: enough to build it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Its name, without aliases.
    pub name: String,
    /// The parameters that it is built with.
    pub params: Params,
}

/// A group's configuration: what it was opened with. The dim and the optimizer's name fix the
/// layout of its rows and never change. Everything else may: the latest values are stored.
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

    /// The floats a key of a call's entry in the journal, for kinds of calls that have floats.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an optimizer that is not known.
    pub(crate) fn floats_in_journal(&self, kind: CallKind) -> Result<usize> {
        match kind {
            CallKind::InsertRecords => Ok(self.build()?.0.row_len(self.dim) + COUNT_FLOATS),
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
/// A call takes the locks in this order: `change`, `load`, a shard's; or, if it changes few rows,
/// `change`, those of its rows, `order`; or, if it changes many beside others, `change`, `order`,
/// and in its turn each shard's.
pub struct Group {
    id: u16,
    /// The name, once it has one.
    name: Mutex<Option<String>>,
    config: Mutex<GroupConfig>,
    step: AtomicI64,
    pub(super) clears: Clears,
    /// The resident rows, once the group has been opened.
    cache: Mutex<Option<Arc<GroupCache>>>,
    /// How many open groups there are of it.
    open: AtomicUsize,
    /// The right to change rows: for reading, beside others that hold the rows that they change;
    /// for writing, alone.
    change: OnceLock<Box<CallLock>>,
    /// The right to take the next global step, beside others, and numbers at the shards.
    order: Apart<OnceLock<Box<Order>>>,
    /// Calls that change many rows beside others.
    beside: AtomicUsize,
    /// The right to bring rows into memory.
    load: Mutex<()>,
    poisoned: AtomicBool,
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

/// The right to change a group's rows, held by one call at a time. If that call panics, the group
/// is poisoned: a change may be half made, so later writes are refused.
pub(crate) struct WriteGuard<'a> {
    group: &'a Group,
    _lock: Vec<RwLockWriteGuard<'a, ()>>,
}

/// The right to change rows that this call holds, beside others that do the same.
pub(crate) struct ChangeGuard<'a> {
    group: &'a Group,
    _lock: RwLockReadGuard<'a, ()>,
}

/// See [`ChangeGuard::poison_on_panic`].
pub(crate) struct PoisonOnPanic<'a>(&'a Group);

/// The right to change many rows in turns with others.
pub(crate) struct BesideGuard<'a> {
    change: ChangeGuard<'a>,
}

/// The order of calls that change rows beside others.
struct Order {
    next: Mutex<Next>,
    lanes: Lanes,
}

impl Default for Order {
    fn default() -> Order {
        Order { next: Mutex::new([0; MAX_SHARDS]), lanes: Lanes::default() }
    }
}

/// The right to take the group's next global step.
pub(crate) struct OrderGuard<'a> {
    group: &'a Group,
    lanes: &'a Lanes,
    next: MutexGuard<'a, Next>,
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
            step: AtomicI64::new(step),
            clears: Clears::new(cleared),
            cache: Mutex::new(None),
            open: AtomicUsize::new(0),
            change: OnceLock::new(),
            order: Apart::default(),
            beside: AtomicUsize::new(0),
            load: Mutex::new(()),
            poisoned: AtomicBool::new(false),
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
        self.step.load(Ordering::Acquire)
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

    /// Made for the first change: a storage may have many groups that nobody changes.
    fn change(&self) -> &CallLock {
        self.change.get_or_init(Box::default)
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// `POISONED` after a panic in an earlier write.
    pub(crate) fn begin_write(&self) -> Result<WriteGuard<'_>> {
        let lock = self.change().write();
        self.check_not_poisoned()?;
        Ok(WriteGuard { group: self, _lock: lock })
    }

    /// Waits for the right to change many rows in turns with others. None when there are so many
    /// of them that the call must be alone: each pins its rows.
    ///
    /// # Errors
    /// As [`Group::begin_write`].
    pub(crate) fn begin_beside(&self) -> Result<Option<BesideGuard<'_>>> {
        let change = self.begin_change()?;
        let guard = BesideGuard { change };
        let others = self.beside.fetch_add(1, Ordering::Relaxed);
        Ok((others < MAX_PINS).then_some(guard))
    }

    /// Sets the global step, for a call that gets its sequence number with `order` locked.
    pub(crate) fn set_step_in_order(&self, step: i64) {
        self.step.store(step, Ordering::Release);
    }

    /// Takes a global step back that a call took which is not in the journal. Those that came after
    /// it are not, either, and do the same. Later ones begin only when all have done it.
    pub(crate) fn take_step_back(&self, step: i64) {
        self.step.fetch_min(step - 1, Ordering::AcqRel);
    }

    /// Poisons the group when what this returns is dropped in a panic.
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        PoisonOnPanic(self)
    }

    fn order(&self) -> &Order {
        self.order.0.get_or_init(Box::default)
    }

    /// Waits for the right to change rows beside others.
    ///
    /// # Errors
    /// As [`Group::begin_write`].
    pub(crate) fn begin_change(&self) -> Result<ChangeGuard<'_>> {
        let lock = self.change().read();
        self.check_not_poisoned()?;
        Ok(ChangeGuard { group: self, _lock: lock })
    }

    #[inline]
    pub(super) fn check_not_poisoned(&self) -> Result<()> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::new(
            Status::Poisoned,
            format!(
                "group {} refuses writes since an earlier call panicked (a bug in damo); free \
                 every handle of this storage and open it again: it then has every call that \
                 returned before",
                self.id
            ),
        ))
    }

    /// Begins a clear as the call with this sequence number. The caller also holds the lock `load`.
    pub(super) fn begin_clear(&self, _: &WriteGuard<'_>, seqno: Seqno) -> Clearing<'_> {
        self.clears.begin(seqno)
    }

    /// Resets the group after its rows were replaced by those of `other` (None: by no rows).
    pub(super) fn begin_anew(&self, other: Option<&Group>) {
        self.clears.begin_anew(other.map_or(Seqno::NONE, Group::cleared));
        self.step.store(other.map_or(0, Group::step), Ordering::Release);
        if let Some(name) = other.and_then(Group::name) {
            *self.name.lock() = Some(name);
        }
        self.poisoned.store(false, Ordering::Release);
    }

    fn poison_after_panic(&self) {
        if std::thread::panicking() {
            self.poisoned.store(true, Ordering::Release);
        }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The sequence number of the latest clear. No row has a smaller one.
    pub(crate) fn cleared(&self) -> Seqno {
        self.clears.latest()
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

impl ChangeGuard<'_> {
    /// Poisons the group when it is dropped in a panic. Make it after the rows that are held, so
    /// that nobody gets one of them before.
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        PoisonOnPanic(self.group)
    }

    /// Waits for the right to take the next global step, and a sequence number with it.
    pub(crate) fn order(&self) -> OrderGuard<'_> {
        let Order { next, lanes } = self.group.order();
        OrderGuard { group: self.group, lanes, next: next.lock() }
    }
}

impl<'a> BesideGuard<'a> {
    /// See [`ChangeGuard::poison_on_panic`].
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        self.change.poison_on_panic()
    }

    /// As [`ChangeGuard::order`].
    pub(crate) fn order(&self) -> OrderGuard<'_> {
        self.change.order()
    }
}

impl Drop for BesideGuard<'_> {
    fn drop(&mut self) {
        self.change.group.beside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> OrderGuard<'a> {
    /// Sets the group's global step.
    pub(crate) fn set_step(&self, step: i64) {
        self.group.step.store(step, Ordering::Release);
    }

    /// Whether no call is changing rows in turns. None begins to as long as this is held.
    pub(crate) fn is_nobodys_turn(&self) -> bool {
        self.lanes.are_free()
    }

    /// Draws numbers at the shards that are set in `shards`.
    pub(crate) fn draw(&mut self, shards: u64) -> Turns<'a> {
        self.lanes.draw(&mut self.next, shards)
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        self.group.poison_after_panic();
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poison_after_panic();
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
    Ok(())
}
