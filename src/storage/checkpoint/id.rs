//! The checkpoint id: random digits that a checkpoint and the storage it was made of have in
//! common. A model's dense part, kept beside a checkpoint, can note it and later tell whether the
//! two fit.

use crate::error::{Error, Result};
use crate::random_id::random_id;
use crate::rocks::documents::CHECKPOINT_ID;
use crate::rocks::{Batch, Rocks};
use crate::storage::Storage;

impl Storage {
    /// The id of the checkpoint last made, loaded, or opened as this storage; None when there was
    /// none.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION`.
    pub fn checkpoint_id(&self) -> Result<Option<String>> {
        self.call(|engine| read(&*engine.rocks()?))
    }
}

/// The id of a checkpoint that is being made. Dropping it without [`NewId::keep`] gives the storage
/// its old id back.
pub(in crate::storage) struct NewId<'a> {
    rocks: &'a Rocks,
    before: Option<String>,
    id: String,
    is_made: bool,
}

impl<'a> NewId<'a> {
    /// Draws an id. The caller keeps others from making or loading a checkpoint meanwhile.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION`.
    pub(in crate::storage) fn begin(rocks: &'a Rocks) -> Result<NewId<'a>> {
        Ok(NewId { rocks, before: read(rocks)?, id: random_id(), is_made: false })
    }

    /// Writes the id into the database. Call it right before the links are made, so that the
    /// checkpoint has it too.
    ///
    /// # Errors
    /// `IO`.
    pub(in crate::storage) fn write(&self) -> Result<()> {
        write(self.rocks, &self.id)
    }

    pub(in crate::storage) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::storage) fn keep(mut self) {
        self.is_made = true;
    }
}

impl Drop for NewId<'_> {
    fn drop(&mut self) {
        if !self.is_made {
            // If this fails, the storage keeps an id that no checkpoint has.
            let _ = write(self.rocks, self.before.as_deref().unwrap_or_default());
        }
    }
}

fn read(rocks: &Rocks) -> Result<Option<String>> {
    let Some(bytes) = rocks.read_meta(CHECKPOINT_ID)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::corruption("the record of what the checkpoint is known by is damaged")
    })?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn write(rocks: &Rocks, id: &str) -> Result<()> {
    let mut batch = Batch::default();
    batch.put_meta(CHECKPOINT_ID.to_owned(), id.as_bytes().to_vec());
    rocks.write(batch)
}
