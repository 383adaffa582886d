//! Load from checkpoint: everything that is stored is replaced by what a checkpoint has.
//!
//! The checkpoint is read through before anything is touched. Then all calls wait while its files take the place of the
//! storage's (`restore`) and what is in memory is forgotten. Handles stay as they are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::{List, failed};
use super::directory::Directory;
use super::filters::Prepared;
use super::group::{self, Group};
use super::open::{check_format, is_ours, open_here};
use super::replay::{FOLDER as JOURNAL, JournalRecord, start_journal};
use super::rocks::{Inventory, Opening, Rocks, check_without};
use super::{Core, Storage, names, restore, scan};
use crate::error::{Error, Result, Status};
use crate::journal;
use crate::memory::check_headroom;

impl Storage {
    /// Replaces everything that is stored by the content of the checkpoint at `path`, or of a storage that was closed. Embeddings
    /// that are open go on with the groups of the checkpoint; a group that it does not have is empty.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CORRUPTION` when it is damaged or not whole; `NOT_SUPPORTED` for another format; `BUSY` while it is open,
    /// and while a dump or an iterator is under way here; `ALREADY_EXISTS` when a group that is open here has another dim,
    /// optimizer or name there; `IO`. What was stored is as it was then, unless the message says that opening it again is needed.
    pub fn load_from_checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let named = |error: Error| error.within(&format!("path '{}'", path.display()));
        drop(self.begin_call()?);
        // A call on the process, but not on the storage, whose calls it waits for.
        let _call = super::Call::begin()?;
        let core = self.core();
        core.check_writable()?;
        match path.metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(named(Error::invalid("is a file; a checkpoint is a directory"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(named(Error::new(Status::NotFound, "does not exist")));
            }
            Err(error) => return Err(failed(path, &error)),
        }
        check_headroom(1 + core.options.threads).map_err(named)?;
        let _one_at_a_time = core.checkpoints.lock();
        core.check_not_lost()?;
        // Nobody may change it meanwhile.
        let checkpoint = Directory::take(path)?;
        let theirs = core.check_checkpoint(checkpoint.path()).map_err(named)?;
        let filters = core.prepare_filters(checkpoint.path()).map_err(named)?;
        let inventory = Inventory::read(checkpoint.path()).map_err(named)?;
        let last = core.last_number().max(inventory.map_or(0, |inventory| inventory.last));
        let time = core.expiry.latest_ms();
        restore::stage(checkpoint.path(), &core.dir, last, time).map_err(named)?;
        let loaded = core.replace_contents(&theirs, filters);
        restore::abandon(&core.dir);
        loaded.map_err(named)
    }
}

impl Core {
    /// Reads a checkpoint through; its groups.
    fn check_checkpoint(&self, dir: &Path) -> Result<BTreeMap<u16, Arc<Group>>> {
        List::check(dir)?;
        if restore::is_committed(dir)? {
            return Err(Error::new(
                Status::NotSupported,
                "a checkpoint was being loaded into it when its process was killed; open it as a storage, and close it, first",
            ));
        }
        let current = dir.join("CURRENT");
        if !current.try_exists().map_err(|error| failed(&current, &error))? {
            return Err(Error::corruption(
                "it is not a checkpoint of damo, or not a whole one: it has no CURRENT",
            ));
        }
        let inventory = Inventory::read(dir)?;
        match &inventory {
            Some(inventory) => inventory.check(dir)?,
            None => {
                check_without(dir, false)?;
                is_ours(dir, "a checkpoint of damo")?;
                check_without(dir, true)?;
            }
        }
        let rocks = Rocks::open_read_only(dir, &self.options)?;
        check_format(&rocks, inventory.is_some(), dir)?;
        let record = JournalRecord::read(&rocks)?;
        let journal_dir = dir.join(JOURNAL);
        if record.is_active() && !journal::is_empty(&journal_dir)? {
            return Err(Error::new(
                Status::NotSupported,
                "it is a storage that was not closed; open it as one, and close it, first",
            ));
        }
        let groups = group::load_all(&rocks)?;
        self.check_groups(&groups)?;
        rocks.verify_checksums()?;
        scan::check_rows(&rocks, &groups)?;
        Ok(groups)
    }

    /// Refuses groups that embeddings are open for and that are different there.
    fn check_groups(&self, theirs: &BTreeMap<u16, Arc<Group>>) -> Result<()> {
        for ours in self.groups().iter().filter(|group| group.is_open()) {
            if let Some(same) = theirs.get(&ours.id()) {
                group::check_same_rows(ours.id(), &same.config(), &ours.config())?;
            }
            names::check_same(ours, theirs)?;
        }
        Ok(())
    }

    fn replace_contents(
        &self,
        theirs: &BTreeMap<u16, Arc<Group>>,
        filters: Vec<Prepared>,
    ) -> Result<()> {
        // From here on no call is under way.
        let _contents = self.contents.write();
        // Groups may have been opened meanwhile.
        self.check_groups(theirs)?;
        let _rounds = self.rounds.lock();
        let last = self.last_number();
        // Calls went on while the files were copied.
        restore::note_use(&self.dir, last, self.expiry.latest_ms())?;
        self.close_rocks()?;
        match restore::commit(&self.dir) {
            Ok(()) => {}
            Err((error, false)) => {
                // Nothing has changed. If it cannot be opened now, that is tried again (recover.rs).
                let _ = self.open_rocks();
                return Err(error);
            }
            Err((error, true)) => return Err(self.lose(error)),
        }
        let replaced = self.open_rocks().and_then(|rocks| self.forget_memory(&rocks, last));
        let replaced = replaced.and_then(|()| self.publish_counts(filters));
        replaced.map_err(|error| self.lose(error))
    }

    fn close_rocks(&self) -> Result<()> {
        let mut place = self.rocks.write();
        match place.take().map(Arc::try_unwrap) {
            Some(Err(rocks)) => {
                *place = Some(rocks);
                Err(Error::new(
                    Status::Busy,
                    "a dump or an iterator of this storage is under way; wait for it, or free it, first",
                ))
            }
            Some(Ok(rocks)) => {
                drop(rocks);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn open_rocks(&self) -> Result<Arc<Rocks>> {
        let rocks =
            Arc::new(open_here(&self.dir, Opening::Existing, &self.options, &self.expiry, &[])?);
        *self.rocks.write() = Some(Arc::clone(&rocks));
        Ok(rocks)
    }

    /// What is in memory does not agree with the disk any more: nothing must be written, nor acknowledged.
    fn lose(&self, error: Error) -> Error {
        self.is_lost.store(true, Ordering::Release);
        *self.rocks.write() = None;
        error.within(self.lost().message())
    }

    /// Makes memory agree with a database that is another one than before. Numbers only rise.
    fn forget_memory(&self, rocks: &Rocks, last: u64) -> Result<()> {
        let record = JournalRecord::read(rocks)?;
        self.expiry.restore_time(record.time());
        start_journal(self, last.max(record.last_possible()))?;
        let theirs = group::load_all(rocks)?;
        let mut groups = self.groups.lock();
        let ours = std::mem::take(&mut *groups);
        *groups = theirs;
        for (id, group) in ours {
            let Some(cache) = group.cache() else { continue };
            if !group.is_open() {
                cache.clear(true);
                self.budget.remove_group();
                continue;
            }
            cache.clear(!rocks.has_rows(id)?);
            group.begin_anew(groups.get(&id).map(|theirs| &**theirs));
            groups.insert(id, group);
        }
        drop(groups);
        for group in self.groups().iter().filter(|group| group.is_open()) {
            self.register(group.id(), group.name().as_deref(), &group.config())?;
        }
        self.forget_exports(rocks)?;
        self.budget.lend(rocks.metadata_bytes()?);
        self.writer.memory_fell(self);
        self.cut_number.store(self.last_number(), Ordering::Release);
        Ok(())
    }
}
