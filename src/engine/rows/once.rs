//! Once: a call of a client that numbers its calls, which is not made if it is stored already; and
//! the global steps that a caller expects.

use std::cell::RefCell;

use super::OpenGroup;
use crate::engine::Engine;
use crate::engine::clients::Latest;
use crate::engine::rights::HeldChanges;
use crate::error::{Error, Result, Status};
use crate::journal::Token;
use crate::memory::room_for;
use crate::seqno::Seqno;

/// The global step that a caller expects a group to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The step.
    pub step: i64,
    /// What the caller's argument is called.
    pub argument: &'static str,
    /// Which of several it is.
    pub part: Option<usize>,
}

impl Expected {
    /// Refuses a group that has another step.
    ///
    /// # Errors
    /// `STEP_MISMATCH`.
    fn check(self, table: &OpenGroup) -> Result<()> {
        let (found, group) = (table.group.step(), table.group.id());
        if found == self.step {
            return Ok(());
        }
        let part = self.part.map_or_else(String::new, |part| format!("[{part}]"));
        let (argument, step) = (self.argument, self.step);
        Err(Error::new(
            Status::StepMismatch,
            format!(
                "{argument}{part} is {step}, and the global step of group {group} is {found}; the \
                 call was not made"
            ),
        ))
    }
}

/// A call of a client.
pub(crate) struct Once {
    token: Token,
    /// The steps that the caller expects, by group as in the call.
    expected: Vec<Option<Expected>>,
    /// By group, the client's call before this one; empty while this call is not noted.
    before: RefCell<Vec<Option<Latest>>>,
}

impl Once {
    /// `expected` has an item for each group of the call, in their order.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn new(client: u64, sequence: u64, expected: Vec<Option<Expected>>) -> Result<Once> {
        let before = RefCell::new(room_for(expected.len())?);
        Ok(Once { token: Token { client, sequence }, expected, before })
    }

    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// Whether the call is stored. If it seems so, this waits for calls under way on its groups:
    /// the one that is stored may still fail.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if only some of the groups have it; `POISONED`, `OUT_OF_MEMORY`.
    pub(crate) fn is_stored(&self, engine: &Engine, groups: &[&OpenGroup]) -> Result<bool> {
        if !groups.iter().any(|table| self.is_stored_in(table, engine.now_ms())) {
            return Ok(false);
        }
        let mut alone = room_for(groups.len())?;
        for table in groups {
            alone.push(table.group.begin_write()?);
        }
        let now = engine.now_ms();
        let mut stored = groups.iter().filter(|table| self.is_stored_in(table, now));
        let mut others = groups.iter().filter(|table| !self.is_stored_in(table, now));
        match (stored.next(), others.next()) {
            (None, _) => Ok(false),
            (Some(_), None) => Ok(true),
            (Some(stored), Some(other)) => Err(self.partly_stored(stored, other, now)),
        }
    }

    fn is_stored_in(&self, table: &OpenGroup, now: u64) -> bool {
        let Token { client, sequence } = self.token;
        table.group.clients.sequence(client, now).is_some_and(|latest| latest >= sequence)
    }

    fn partly_stored(&self, stored: &OpenGroup, other: &OpenGroup, now: u64) -> Error {
        let Token { client, sequence } = self.token;
        let latest = |table: &OpenGroup| match table.group.clients.sequence(client, now) {
            Some(latest) => latest.to_string(),
            None => "none".to_owned(),
        };
        Error::invalid(format!(
            "sequence is {sequence}, and the latest of client {client} is {} in group {} and {} in \
             group {}: a call is stored in all of its groups or in none, so this is another call; \
             a number that rises over all calls of a client is needed, and nothing was changed",
            latest(stored),
            stored.group.id(),
            latest(other),
            other.group.id()
        ))
    }

    /// Whether the call can be made now. The caller has the order of its groups locked. False if it
    /// seems to be stored.
    ///
    /// # Errors
    /// `STEP_MISMATCH` for a group that has another step than was expected.
    pub(super) fn check(&self, tables: &[&OpenGroup], now: u64) -> Result<bool> {
        if tables.iter().any(|table| self.is_stored_in(table, now)) {
            return Ok(false);
        }
        for (table, expected) in tables.iter().zip(&self.expected) {
            expected.map_or(Ok(()), |expected| expected.check(table))?;
        }
        Ok(true)
    }

    /// Notes the call as the client's latest, while the order of its groups is locked.
    pub(super) fn note(&self, tables: &[&OpenGroup], time: u64, seqno: Seqno) {
        let Token { client, sequence } = self.token;
        let latest = Latest { sequence, time, seqno };
        let before = tables.iter().map(|table| table.group.clients.set(client, latest));
        self.before.replace(before.collect());
    }

    /// Undoes [`Once::note`] after the call has failed.
    pub(super) fn take_back(&self, tables: &[&OpenGroup]) {
        for (table, before) in tables.iter().zip(self.before.take()) {
            table.group.clients.take_back(self.token.client, before);
        }
    }
}

/// Groups whose steps stay as they are while this exists.
pub(crate) struct HeldSteps<'a> {
    _changes: Vec<HeldChanges<'a>>,
}

impl<'a> HeldSteps<'a> {
    /// Waits until no call changes the groups, which are in ascending order of their numbers, and
    /// holds them there if they have the steps that the caller expects.
    ///
    /// # Errors
    /// `STEP_MISMATCH`, `OUT_OF_MEMORY`.
    pub(crate) fn new(
        groups: impl ExactSizeIterator<Item = (&'a OpenGroup, Expected)>,
    ) -> Result<HeldSteps<'a>> {
        let mut changes = room_for(groups.len())?;
        for (table, expected) in groups {
            changes.push(table.group.rights.hold_changes());
            expected.check(table)?;
        }
        Ok(HeldSteps { _changes: changes })
    }
}
