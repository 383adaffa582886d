//! Recovery from errors that pass: after some of them RocksDB refuses all work until it resumes, or
//! is opened anew.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::{Engine, database};
use crate::error::{Error, Result, Status};
use crate::files::folder;
use crate::rocks::{Inventory, Opening};
use crate::rocks::{incoming, room};

/// How long those who read from the database may take to drop it.
const PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// Whether RocksDB has failed, and has not recovered since.
    pub(crate) fn has_failed(&self) -> bool {
        let rocks = self.rocks.read();
        !self.is_lost.load(Ordering::Acquire)
            && rocks.as_ref().is_none_or(|rocks| rocks.has_failed())
    }

    /// Lets the writer bring RocksDB to work again, if it has failed. Call it before a call takes
    /// the database.
    ///
    /// # Errors
    /// As [`Engine::recover`].
    pub(crate) fn ensure_works(&self) -> Result<()> {
        if self.has_failed() { self.writer.write_all() } else { Ok(()) }
    }

    /// Brings RocksDB to work again, if it has failed and the cause has passed. The caller must not
    /// hold a handle of the database.
    ///
    /// # Errors
    /// What still keeps RocksDB from working; `BUSY` while a dump or an iterator reads from it.
    pub(super) fn recover(&self) -> Result<()> {
        if !self.has_failed() {
            return Ok(());
        }
        let resumed = self.rocks().and_then(|rocks| rocks.resume());
        match resumed {
            Ok(()) => {}
            // Opening it anew would hide the damage until it is met again.
            Err(error) if error.status() == Status::Corruption => return Err(error),
            // After some errors RocksDB does not resume, even when the cause has passed.
            Err(error) => self.reopen().map_err(|again| again.within(error.message()))?,
        }
        self.rocks()?.write_inventory()?;
        self.incoming.forget_kept();
        Ok(())
    }

    /// Closes the database and opens it again. Memory stays as it is: its rows are what the disk
    /// has, or newer.
    fn reopen(&self) -> Result<()> {
        self.check_not_lost()?;
        // The checks come first: an open database that can only read is better than a closed one.
        room::check(&self.dir)?;
        folder::sync_dir(&self.dir).map_err(|error| folder::failed(&self.dir, &error))?;
        let mut place = self.rocks.write();
        let started = Instant::now();
        let mut taken = place.take();
        while let Some(rocks) = taken {
            match Arc::try_unwrap(rocks) {
                Ok(rocks) => {
                    self.count_merged(&rocks);
                    drop(rocks);
                    break;
                }
                Err(rocks) if started.elapsed() > PATIENCE => {
                    *place = Some(rocks);
                    return Err(Error::busy(
                        "a dump or an iterator of this storage reads from the database; when it \
                         is over, work goes on",
                    ));
                }
                Err(rocks) => taken = Some(rocks),
            }
            thread::sleep(Duration::from_millis(1));
        }
        // A directory that is gone is not replaced by a new database.
        match Inventory::read(&self.dir)? {
            Some(inventory) => inventory.check(&self.dir)?,
            None => return Err(database::missing_inventory(&self.dir)),
        }
        let kept = incoming::list(&self.dir)?;
        let rocks =
            database::open(&self.dir, Opening::Existing, &self.options, &self.expiry, &kept)?;
        rocks.note_last(self.last_seqno());
        let metadata = rocks.metadata_bytes()?;
        *place = Some(Arc::new(rocks));
        self.budget.lend(metadata);
        Ok(())
    }
}
