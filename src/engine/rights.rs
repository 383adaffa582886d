//! The right to change a group's rows: alone, or beside others; and the group's global step.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

use super::turns::{Lanes, Tickets, Turns};
use crate::cache::{MAX_PINS, MAX_SHARDS};
use crate::error::{Error, Result, Status};
use crate::kill_points::{Point, pass};
use crate::locks::{Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use crate::stripes::{Apart, CallLock};

/// Who may change the rows of a group.
pub(crate) struct Rights {
    /// The group's number, for messages.
    group: u16,
    step: AtomicI64,
    /// The right to change rows. For reading: beside other calls, which hold their rows or take
    /// turns. For writing: alone.
    change: OnceLock<Box<CallLock>>,
    /// The right to come next in the group's order: to get a sequence number, to draw tickets at
    /// the shards and, for a step, to take the next global step.
    order: Apart<OnceLock<Box<Order>>>,
    /// Calls that have the right to change rows in turns.
    in_turns: AtomicUsize,
    /// Inserts and deletes beside other calls that have begun.
    membership_changes_begun: AtomicU64,
    /// How many of these have ended.
    membership_changes_ended: AtomicU64,
    poisoned: AtomicBool,
}

/// The right to change a group's rows, held by one call at a time. If that call panics, the group
/// is poisoned: a change may be half made, so later writes are refused.
pub(crate) struct WriteGuard<'a> {
    rights: &'a Rights,
    _lock: Vec<RwLockWriteGuard<'a, ()>>,
}

/// The right to change rows beside others. The call holds its rows, or takes turns.
pub(crate) struct ChangeGuard<'a> {
    rights: &'a Rights,
    _lock: RwLockReadGuard<'a, ()>,
}

/// Keeps every other call from changing rows.
pub(crate) struct HeldChanges<'a> {
    _lock: Vec<RwLockWriteGuard<'a, ()>>,
}

/// See [`ChangeGuard::poison_on_panic`].
pub(crate) struct PoisonOnPanic<'a>(&'a Rights);

/// The right to change rows in turns with others.
pub(crate) struct TurnsGuard<'a> {
    change: ChangeGuard<'a>,
}

/// The right to change rows in turns with others, or alone.
pub(crate) enum Right<'a> {
    InTurns(TurnsGuard<'a>),
    Alone(WriteGuard<'a>),
}

/// A call that inserts or deletes rows. It begins before it has its place in the group's order, and
/// ends when this is dropped, after it has changed its rows.
pub(crate) struct MembershipChange<'a>(&'a Rights);

/// A point at which no call was inserting or deleting rows. It is valid only while its taker has
/// the right to take turns: calls that have the group alone are not counted.
#[derive(Clone, Copy)]
pub(crate) struct Membership<'a> {
    begun: u64,
    rights: &'a Rights,
}

/// The order of calls that change rows beside others.
struct Order {
    next: Mutex<Tickets>,
    lanes: Lanes,
}

impl Default for Order {
    fn default() -> Order {
        Order { next: Mutex::new([0; MAX_SHARDS]), lanes: Lanes::default() }
    }
}

/// The right to come next in the group's order.
pub(crate) struct OrderGuard<'a> {
    lanes: &'a Lanes,
    next: MutexGuard<'a, Tickets>,
}

impl Rights {
    /// Those of a group with its step.
    pub(super) fn new(group: u16, step: i64) -> Rights {
        Rights {
            group,
            step: AtomicI64::new(step),
            change: OnceLock::new(),
            order: Apart::default(),
            in_turns: AtomicUsize::new(0),
            membership_changes_begun: AtomicU64::new(0),
            membership_changes_ended: AtomicU64::new(0),
            poisoned: AtomicBool::new(false),
        }
    }

    pub(super) fn step(&self) -> i64 {
        self.step.load(Ordering::Acquire)
    }

    /// After the group's rows were replaced by others.
    pub(super) fn begin_anew(&self, step: i64) {
        self.step.store(step, Ordering::Release);
        self.poisoned.store(false, Ordering::Release);
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Made for the first change: a storage may have many groups that nobody changes.
    fn change(&self) -> &CallLock {
        self.change.get_or_init(Box::default)
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
                self.group
            ),
        ))
    }

    /// Waits for the right to write.
    ///
    /// # Errors
    /// `POISONED` after a panic in an earlier write.
    pub(crate) fn begin_write(&self) -> Result<WriteGuard<'_>> {
        let lock = self.change().write();
        self.check_not_poisoned()?;
        Ok(WriteGuard { rights: self, _lock: lock })
    }

    /// Waits until no call changes rows, and keeps calls from changing any. For a call that only
    /// reads.
    pub(crate) fn hold_changes(&self) -> HeldChanges<'_> {
        HeldChanges { _lock: self.change().write() }
    }

    /// Waits for the right to change rows in turns with others. None when [`MAX_PINS`] calls have
    /// it: a row cannot count more pins. The call must then change its rows alone.
    ///
    /// # Errors
    /// As [`Group::begin_write`].
    pub(crate) fn begin_in_turns(&self) -> Result<Option<TurnsGuard<'_>>> {
        let change = self.begin_change()?;
        let guard = TurnsGuard { change };
        let others = self.in_turns.fetch_add(1, Ordering::Relaxed);
        Ok((others < MAX_PINS).then_some(guard))
    }

    /// Waits for the right to change rows alone, or in turns with others: None then if too many
    /// calls have it.
    ///
    /// # Errors
    /// As [`Group::begin_write`].
    pub(crate) fn begin_right(&self, alone: bool) -> Result<Option<Right<'_>>> {
        match alone {
            true => self.begin_write().map(|guard| Some(Right::Alone(guard))),
            false => self.begin_in_turns().map(|guard| guard.map(Right::InTurns)),
        }
    }

    /// Sets the global step, for a call that gets its sequence number with `order` locked.
    pub(crate) fn set_step_in_order(&self, step: i64) {
        self.step.store(step, Ordering::Release);
        pass(Point::StepTaken);
    }

    /// Takes back the global step of a call that failed. All calls that took a later step have
    /// failed, too, and do the same. No call takes a step before all have done it.
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

    fn lock_order(&self) -> OrderGuard<'_> {
        let Order { next, lanes } = self.order();
        let next = next.lock();
        pass(Point::OrderLocked);
        OrderGuard { lanes, next }
    }

    /// Waits for the right to change rows beside others.
    ///
    /// # Errors
    /// As [`Group::begin_write`].
    pub(crate) fn begin_change(&self) -> Result<ChangeGuard<'_>> {
        let lock = self.change().read();
        self.check_not_poisoned()?;
        Ok(ChangeGuard { rights: self, _lock: lock })
    }

    fn poison_after_panic(&self) {
        if std::thread::panicking() {
            self.poisoned.store(true, Ordering::Release);
        }
    }
}

impl WriteGuard<'_> {
    /// Sets the group's global step.
    pub(crate) fn set_step(&self, step: i64) {
        self.rights.step.store(step, Ordering::Release);
    }
}

impl ChangeGuard<'_> {
    /// Poisons the group when it is dropped in a panic. Make it after the rows that are held, so
    /// that nobody gets one of them before.
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        PoisonOnPanic(self.rights)
    }

    /// Waits until no call changes rows in turns, but a moment at most.
    pub(crate) fn await_nobodys_turn(&self) {
        self.rights.order().lanes.await_freedom();
    }

    /// Begins to insert or delete rows.
    pub(crate) fn begin_membership_change(&self) -> MembershipChange<'_> {
        self.rights.membership_changes_begun.fetch_add(1, Ordering::SeqCst);
        MembershipChange(self.rights)
    }

    /// Waits for the right to come next in the group's order.
    pub(crate) fn order(&self) -> OrderGuard<'_> {
        self.rights.lock_order()
    }
}

impl Right<'_> {
    fn rights(&self) -> &Rights {
        match self {
            Right::InTurns(guard) => guard.change.rights,
            Right::Alone(guard) => guard.rights,
        }
    }

    /// See [`ChangeGuard::poison_on_panic`].
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        PoisonOnPanic(self.rights())
    }

    /// As [`ChangeGuard::order`].
    pub(crate) fn order(&self) -> OrderGuard<'_> {
        self.rights().lock_order()
    }

    /// As [`TurnsGuard::membership`]. None, too, for who has the group alone.
    pub(crate) fn membership(&self) -> Option<Membership<'_>> {
        match self {
            Right::InTurns(guard) => guard.membership(),
            Right::Alone(_) => None,
        }
    }
}

impl<'a> TurnsGuard<'a> {
    /// See [`ChangeGuard::poison_on_panic`].
    pub(crate) fn poison_on_panic(&self) -> PoisonOnPanic<'_> {
        self.change.poison_on_panic()
    }

    /// As [`ChangeGuard::begin_membership_change`].
    pub(crate) fn begin_membership_change(&self) -> MembershipChange<'_> {
        self.change.begin_membership_change()
    }

    /// The present point, if no call is inserting or deleting rows.
    pub(crate) fn membership(&self) -> Option<Membership<'_>> {
        let rights = self.change.rights;
        // `ended` comes first. If the two are equal, every call that had begun by the second read
        // had ended by the first.
        let ended = rights.membership_changes_ended.load(Ordering::SeqCst);
        let begun = rights.membership_changes_begun.load(Ordering::SeqCst);
        (begun == ended).then_some(Membership { begun, rights })
    }

    /// As [`ChangeGuard::order`].
    pub(crate) fn order(&self) -> OrderGuard<'_> {
        self.change.order()
    }
}

impl Drop for TurnsGuard<'_> {
    fn drop(&mut self) {
        self.change.rights.in_turns.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<'a> OrderGuard<'a> {
    /// Whether no call is changing rows in turns. None begins to as long as this is held.
    pub(crate) fn is_nobodys_turn(&self) -> bool {
        self.lanes.are_free()
    }

    /// Draws tickets at the shards that are set in `shards`.
    pub(crate) fn draw(&mut self, shards: u64) -> Turns<'a> {
        let turns = self.lanes.draw(&mut self.next, shards);
        pass(Point::TicketsDrawn);
        turns
    }
}

impl Membership<'_> {
    /// Whether no insert or delete has begun since. While `order` is locked, none can get an
    /// earlier sequence number.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.rights.membership_changes_begun.load(Ordering::SeqCst) == self.begun
    }
}

impl Drop for MembershipChange<'_> {
    fn drop(&mut self) {
        self.0.membership_changes_ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        self.rights.poison_after_panic();
    }
}

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        self.0.poison_after_panic();
    }
}
