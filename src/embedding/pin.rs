//! Pin: rows that the caller changes itself, and commits.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Embedding;
use crate::engine::rows::{Conflicts, OpenGroup, RowCopies};
use crate::error::{Error, Result};
use crate::memory::refill;
use crate::storage::Storage;

/// Copies of rows. The caller changes them, and [`Pin::commit`] brings them back. Nothing is locked
/// in between. It can be used again, and then allocates nothing for as many rows. Keeps its
/// storage open.
pub struct Pin {
    /// Dropped before `storage`, whose last handle closes the storage.
    table: Arc<OpenGroup>,
    storage: Storage,
    rows: RowCopies,
    is_pinned: bool,
    /// A buffer: which keys a filter admits.
    admitted: Vec<u8>,
}

impl Embedding {
    /// A pin without rows.
    pub fn new_pin(&self) -> Pin {
        Pin {
            table: Arc::clone(&self.table),
            storage: self.storage.clone(),
            rows: RowCopies::default(),
            is_pinned: false,
            admitted: Vec::new(),
        }
    }

    /// Copies the whole rows of `keys` into `pin`, in place of what it has. A key given twice has
    /// one row.
    ///
    /// A key without a row gets the floats that its row would begin with, and commit makes the row.
    /// The padding key reads as zeros. A filter counts the keys as in a lookup. Commit leaves out
    /// the padding key, and keys that are not admitted and have no row.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` with `read_only`; `INVALID_ARGUMENT` for more than 2^20 keys;
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. The pin has no rows then.
    pub fn pin_rows(&self, keys: &[i64], pin: &mut Pin) -> Result<()> {
        pin.clear();
        if !Arc::ptr_eq(&pin.table, &self.table) {
            pin.table = Arc::clone(&self.table);
            pin.storage = self.storage.clone();
        }
        let _call = self.storage.begin_call()?;
        let engine = self.storage.engine();
        engine.check_writable()?;
        // Before the filter counts them.
        RowCopies::check_len(keys.len())?;
        let group = self.table.group();
        let filter = self.attached.get();
        if let Some(filter) = &filter {
            refill(&mut pin.admitted, 0, keys.len())?;
            let padding = self.options.padding_key;
            filter.count(group.id().into(), (keys, None), padding, &mut pin.admitted)?;
        }
        let Pin { admitted, rows, .. } = pin;
        let admitted = filter.is_some().then_some(&admitted[..]);
        group.between_clears(|| self.table.pin_rows(engine, self.batch(keys), admitted, rows))?;
        engine.counters().own().rows_read.fetch_add(keys.len() as u64, Ordering::Relaxed);
        pin.is_pinned = true;
        Ok(())
    }
}

impl Pin {
    /// Forgets its rows without a commit.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.is_pinned = false;
    }

    /// Its rows, to be changed: `row_len` floats for each distinct key, one behind the other.
    pub fn rows_mut(&mut self) -> &mut [f32] {
        self.rows.rows_mut()
    }

    /// Where in [`Pin::rows_mut`] the row of the key at a position of the batch is: its weights and
    /// the optimizer's state.
    pub fn range_of(&self, position: usize) -> Option<Range<usize>> {
        let (index, len) = (self.rows.index_of(position)?, self.rows.row_len());
        Some(index * len..(index + 1) * len)
    }

    /// Whether commit makes the row of the key at a position of the batch.
    pub fn is_new(&self, position: usize) -> bool {
        self.rows.index_of(position).is_some_and(|index| self.rows.is_new(index))
    }

    /// Changes the rows as the copies were changed, and forgets the copies. Each row counts an
    /// update. The global step stays. All rows change together or not at all.
    ///
    /// A row that nobody has changed since becomes what its copy is. `conflicts` says what becomes
    /// of others.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a pin without rows, and for floats that are NaN or infinite; `BUSY`
    /// for a row that was changed, if conflicts are refused; `POISONED`, `OUT_OF_MEMORY`, `IO`,
    /// `CORRUPTION`. Nothing has changed, and the pin keeps its rows.
    pub fn commit(&mut self, conflicts: Conflicts) -> Result<()> {
        let _call = self.storage.begin_call()?;
        if !self.is_pinned {
            return Err(Error::invalid(
                "the pin has no rows: none were pinned, or they were committed; one with rows is \
                 needed",
            ));
        }
        self.table.commit(self.storage.engine(), &mut self.rows, conflicts)?;
        self.rows.clear();
        self.is_pinned = false;
        Ok(())
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Pin({:?}, is_pinned {})", self.table.group(), self.is_pinned)
    }
}
