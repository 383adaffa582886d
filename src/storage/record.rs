//! Record: one row of a group that nobody needs to have opened in this process.

use super::Storage;
use crate::engine::rows::{OpenGroup, Record};
use crate::error::Result;

impl Storage {
    /// Reads one row without creating it; what is needed to read it is known from the group's last opening.
    ///
    /// # Errors
    /// `NOT_FOUND` when the group is not registered or the key has no row; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub fn record(&self, group: u16, key: i64) -> Result<Record> {
        self.call(|engine| {
            OpenGroup::open_as_before(engine, engine.find_group(group)?)?.record(engine, key)
        })
    }
}
