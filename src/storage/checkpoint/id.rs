//! What a checkpoint is known by: a random number that the checkpoint and the storage it was made of have in common, so that what is
//! kept beside (a model's dense part) can tell whether it fits.

use crate::error::{Error, Result};
use crate::random_id::random_id;
use crate::rocks::documents::CHECKPOINT_ID;
use crate::rocks::{Batch, Rocks};
use crate::storage::Storage;

impl Storage {
    /// What the checkpoint is known by that was made or loaded last, or that this storage was; None when there was none.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION`.
    pub fn checkpoint_id(&self) -> Result<Option<String>> {
        self.call(|engine| read(&*engine.rocks()?))
    }
}

/// A checkpoint that is being made; unless it is, the storage is known by what it was before.
pub(in crate::storage) struct NewId<'a> {
    rocks: &'a Rocks,
    before: Option<String>,
    id: String,
    is_made: bool,
}

impl<'a> NewId<'a> {
    /// Nobody else makes a checkpoint or loads one meanwhile.
    ///
    /// # Errors
    /// `IO`; `CORRUPTION`.
    pub(in crate::storage) fn begin(rocks: &'a Rocks) -> Result<NewId<'a>> {
        Ok(NewId { rocks, before: read(rocks)?, id: random_id(), is_made: false })
    }

    /// To be called when nothing but the links is left to do: they have it then.
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
            // Where this fails, the storage is known by something that no checkpoint has.
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
