//! Puts another database in the place of the one that is open, and makes memory agree with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::group::{Group, check_same_rows};
use super::journal_document::JournalDocument;
use super::replay::start_journal;
use super::{database, names, registry};
use crate::error::{Error, Result};
use crate::rocks::{Opening, Rocks};
use crate::seqno::Seqno;

impl Engine {
    /// Refuses another database whose groups differ from those that embeddings have open here.
    pub(crate) fn check_groups(&self, theirs: &BTreeMap<u16, Arc<Group>>) -> Result<()> {
        for ours in self.groups().iter().filter(|group| group.is_open()) {
            if let Some(same) = theirs.get(&ours.id()) {
                check_same_rows(ours.id(), &same.config(), &ours.config())?;
            }
            names::check_same(ours, theirs)?;
        }
        Ok(())
    }

    pub(crate) fn close_rocks(&self) -> Result<()> {
        let mut place = self.rocks.write();
        match place.take().map(Arc::try_unwrap) {
            Some(Err(rocks)) => {
                *place = Some(rocks);
                Err(Error::busy(
                    "a dump or an iterator of this storage is under way; wait for it, or free it, \
                     first",
                ))
            }
            Some(Ok(rocks)) => {
                self.count_merged(&rocks);
                drop(rocks);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Adds what merges have written to the storage's counts, before a database is closed.
    pub(super) fn count_merged(&self, rocks: &Rocks) {
        self.counters.own().rows_merged.fetch_add(rocks.rows_merged(), Ordering::Relaxed);
    }

    pub(crate) fn open_rocks(&self) -> Result<Arc<Rocks>> {
        let rocks = Arc::new(database::open(
            &self.dir,
            Opening::Existing,
            &self.options,
            &self.expiry,
            &[],
        )?);
        *self.rocks.write() = Some(Arc::clone(&rocks));
        Ok(rocks)
    }

    /// Marks the storage as lost, because memory does not agree with the disk any more: from here
    /// on nothing may be written or acknowledged.
    pub(crate) fn lose(&self, error: Error) -> Error {
        self.is_lost.store(true, Ordering::Release);
        *self.rocks.write() = None;
        error.within(self.lost().message())
    }

    /// Makes memory agree with another database than before. Sequence numbers only rise: the next
    /// is larger than `last` and than any that the database may have given.
    pub(crate) fn forget_memory(&self, rocks: &Rocks, last: Seqno) -> Result<()> {
        let record = JournalDocument::read(rocks)?;
        self.expiry.restore_time(record.time());
        start_journal(self, last.max(record.last_possible()))?;
        let theirs = registry::load_all(rocks)?;
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
        self.budget.lend(rocks.metadata_bytes()?);
        self.writer.memory_fell(self.budget.used());
        self.cut_seqno.store(self.last_seqno(), Ordering::Release);
        Ok(())
    }
}
