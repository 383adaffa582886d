//! The group's global step, set by a caller.

use super::change::Change;
use super::{OpenGroup, Origin};
use crate::engine::Engine;
use crate::error::Result;
use crate::journal::CallKind;

impl OpenGroup {
    /// Sets the group's global step, as durably as a call that changes rows.
    ///
    /// # Errors
    /// `POISONED`, `IO`. The step has not changed.
    pub(crate) fn set_step(&self, engine: &Engine, step: i64) -> Result<()> {
        let guard = self.group.begin_write()?;
        let change = Change { kind: CallKind::SetStep, source: Origin::Call, rate: 0.0, step };
        self.change(engine, &guard, &mut [], change, |_, _, _, _| {})
    }
}
