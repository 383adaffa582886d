//! Record: reads one row. Its group need not be open in this process.

use super::Storage;
use crate::engine::rows::{OpenGroup, Record};
use crate::error::Result;

impl Storage {
    /// Reads one row without creating it. The group's dim and optimizer are those of its last
    /// opening.
    ///
    /// # Errors
    /// `NOT_FOUND` when the group is not registered or the key has no row; `OUT_OF_MEMORY`, `IO`,
    /// `CORRUPTION`.
    pub fn record(&self, group: u16, key: i64) -> Result<Record> {
        self.call(|engine| {
            OpenGroup::open_as_before(engine, engine.find_group(group)?)?.record(engine, key)
        })
    }
}
