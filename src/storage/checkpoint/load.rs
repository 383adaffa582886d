//! Load from checkpoint: replaces everything that is stored by a checkpoint's content.
//!
//! The checkpoint is read through before anything is touched. Then all calls wait while its files
//! take the place of the storage's (`swap`) and the engine forgets what is in memory. Handles stay
//! valid.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::FileList;
use super::swap::{self, CommitError};
use crate::engine::Engine;
use crate::engine::group::Group;
use crate::engine::journal_document::JournalDocument;
use crate::engine::registry;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result, Status};
use crate::files::folder::failed;
use crate::journal;
use crate::memory::check_headroom;
use crate::rocks::file_names::CURRENT;
use crate::rocks::{Inventory, Rocks, check_without};
use crate::seqno::Seqno;
use crate::storage::directory::Directory;
use crate::storage::filters::Prepared;
use crate::storage::open::{check_format, is_ours};
use crate::storage::{Storage, scan};

impl Storage {
    /// Replaces everything that is stored by the content of the checkpoint at `path`, or of a
    /// closed storage. Open embeddings go on with the checkpoint's groups; a group that it does not
    /// have becomes empty.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CORRUPTION` when it is damaged or not whole; `NOT_SUPPORTED` for another
    /// format; `BUSY` while it is open, and while a dump or an iterator is under way here;
    /// `ALREADY_EXISTS` when a group that is open here has another dim, optimizer or name there;
    /// `IO`. After an error the storage is as it was, unless the message says that it must be
    /// opened again.
    pub fn load_from_checkpoint(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let named = |error: Error| error.within(&format!("path '{}'", path.display()));
        drop(self.begin_call()?);
        // A call on the process only. It is none on the storage: it waits for those to end.
        let _call = crate::process::Call::begin()?;
        let engine = self.engine();
        engine.check_writable()?;
        match path.metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(named(Error::invalid("is a file; a checkpoint is a directory"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(named(Error::not_found("does not exist")));
            }
            Err(error) => return Err(failed(path, &error)),
        }
        check_headroom(1 + engine.options.threads).map_err(named)?;
        let _one_at_a_time = self.handle.checkpoints.lock();
        engine.check_not_lost()?;
        // Keeps others from changing the checkpoint meanwhile.
        let checkpoint = Directory::take(path)?;
        let theirs = engine.check_checkpoint(checkpoint.path()).map_err(named)?;
        let filters = self.filters().prepare(checkpoint.path()).map_err(named)?;
        let inventory = Inventory::read(checkpoint.path()).map_err(named)?;
        let last =
            engine.last_seqno().max(inventory.map_or(Seqno::NONE, |inventory| inventory.last));
        let time = engine.expiry.latest_ms();
        swap::stage(checkpoint.path(), &engine.dir, last, time).map_err(named)?;
        let loaded = self.replace_contents(&theirs, filters);
        swap::abandon(&engine.dir);
        loaded.map_err(named)
    }

    fn replace_contents(
        &self,
        theirs: &BTreeMap<u16, Arc<Group>>,
        filters: Vec<Prepared>,
    ) -> Result<()> {
        let engine = self.engine();
        // From here on no call is under way.
        let _contents = engine.contents.write();
        // Groups may have been opened meanwhile.
        engine.check_groups(theirs)?;
        let _rounds = engine.rounds.lock();
        let last = engine.last_seqno();
        // Calls went on while the files were copied.
        swap::note_use(&engine.dir, last, engine.expiry.latest_ms())?;
        engine.close_rocks()?;
        match swap::commit(&engine.dir) {
            Ok(()) => {}
            Err(CommitError::Before(error)) => {
                // Nothing has changed. If the database cannot be opened now, the engine tries again
                // (recover.rs).
                let _ = engine.open_rocks();
                return Err(error);
            }
            Err(CommitError::Beyond(error)) => return Err(engine.lose(error)),
        }
        let replaced = engine.open_rocks().and_then(|rocks| {
            engine.forget_memory(&rocks, last)?;
            self.handle.bases.forget_all(&rocks, &engine.expiry)
        });
        let replaced = replaced.and_then(|()| self.filters().publish_counts(filters));
        replaced.map_err(|error| engine.lose(error))
    }
}

impl Engine {
    /// Reads a checkpoint through; returns its groups.
    fn check_checkpoint(&self, dir: &Path) -> Result<BTreeMap<u16, Arc<Group>>> {
        FileList::check(dir)?;
        if swap::is_committed(dir)? {
            return Err(Error::new(
                Status::NotSupported,
                "a checkpoint was being loaded into it when its process was killed; open it as a \
                 storage, and close it, first",
            ));
        }
        let current = dir.join(CURRENT);
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
        let rocks = Rocks::open_read_only(dir, &self.options.resources())?;
        check_format(&rocks, inventory.is_some(), dir)?;
        let document = JournalDocument::read(&rocks)?;
        let journal_dir = dir.join(JOURNAL);
        if document.is_active() && !journal::is_empty(&journal_dir)? {
            return Err(Error::new(
                Status::NotSupported,
                "it is a storage that was not closed; open it as one, and close it, first",
            ));
        }
        let groups = registry::load_all(&rocks)?;
        self.check_groups(&groups)?;
        rocks.verify_checksums()?;
        scan::check_rows(&rocks, &groups)?;
        Ok(groups)
    }
}
