//! Record: everything that is stored of one row.

use super::OpenGroup;
use super::guards::Loaned;
use super::load::Absent;
use super::sink::Sink;
use crate::cache::hash;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::memory::room_for;

/// One row with everything that is stored of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The number of its group.
    pub group: u16,
    /// Its key.
    pub key: i64,
    /// Milliseconds since 1970 of the last write.
    pub update_time: u64,
    /// Gradients applied so far.
    pub update_num: u64,
    /// The number of its weights.
    pub dim: usize,
    /// `dim` weights, then the optimizer's state.
    pub data: Vec<f32>,
}

impl OpenGroup {
    /// Reads one row without creating it.
    ///
    /// # Errors
    /// `NOT_FOUND` when the key has no row; `OUT_OF_MEMORY`, `IO`, `CORRUPTION`.
    pub(crate) fn record(&self, engine: &Engine, key: i64) -> Result<Record> {
        let loan = Loaned::new(engine);
        let hash = hash(key);
        // In a small cache that others use, a row may be evicted again as soon as it was loaded.
        for _ in 0..1000 {
            let shard = self.cache.read_for(hash);
            if let Some(place) = shard.find(hash, key) {
                let row = shard.hold(place);
                if !row.is_row(engine.moment().cutoff) {
                    return Err(self.not_found(key));
                }
                let mut data = room_for(self.row_len)?;
                data.extend_from_slice(row.floats());
                return Ok(Record {
                    group: self.group.id(),
                    key,
                    update_time: row.time(),
                    update_num: row.updates(),
                    dim: self.dim,
                    data,
                });
            }
            drop(shard);
            if !self.load(&loan, &[key], Absent::Skip, Sink::Nobody)?[0] {
                return Err(self.not_found(key));
            }
        }
        Err(Error::out_of_memory(format!(
            "key {key} was evicted before it could be read, a thousand times; a larger \
             cache_bytes is needed"
        )))
    }

    fn not_found(&self, key: i64) -> Error {
        Error::not_found(format!("key {key} has no row in group {}", self.group.id()))
    }
}
