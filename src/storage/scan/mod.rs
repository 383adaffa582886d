//! Scan: a thread of its own reads every row of one moment, in the order of group and key, into
//! pages.
//!
//! Dumps, iteration, counts and verification read scans. It is a thread for two reasons: RocksDB's
//! snapshot lives as long as what borrows it, and reading goes on while the caller works on the
//! rows. A scan takes the memory of a few pages.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

mod check;
mod page;
mod parallel;
mod reader;

pub(super) use check::check_rows;
pub(super) use page::{Page, RowPart};

use super::Storage;
use super::dump::select::Select;
use crate::engine::Engine;
use crate::engine::cut::Cut;
use crate::error::{Error, Result};
use crate::memory::check_headroom;
use crate::process::Call;
use crate::process::is_ending;
use crate::rocks::{KeyRange, Rocks};
use crate::threads;
use reader::Reader;

/// Pages that wait to be taken.
const WAITING_PAGES: usize = 4;

/// A scan that is under way.
pub(super) struct Scan {
    cut: Cut,
    groups: Vec<(u16, usize)>,
    pages: Option<Receiver<Result<Page>>>,
    /// Pages that can be filled again.
    empty: Option<Sender<Page>>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the database open until the thread has ended.
    storage: Storage,
    /// The error that ended the scan before the end of the rows.
    failure: Option<Error>,
}

impl Storage {
    /// Begins a scan of the present state of one group or of all. `select` is called once the
    /// moment is known, before anything later is written to disk.
    ///
    /// # Errors
    /// `IO` when the thread cannot be made; `OUT_OF_MEMORY`; those of the cut and of `select`.
    /// Errors of reading come with the pages.
    pub(super) fn scan(
        &self,
        // Two arguments and not a struct, for memcheck's sake. Six bytes are passed as one integer,
        // in which rustc 1.95 sets `wanted` by adding 2^32 to the bytes of `group`. Two of those
        // have no value where there is no group. Bit 32 of the sum is 1 whatever they are, but
        // memcheck takes all bits above them for uninitialised, and all that depends on them: 169
        // reports a dump.
        group: Option<u16>,
        wanted: RowPart,
        select: impl FnOnce(&Engine, &Rocks, Cut) -> Result<Select> + Send + 'static,
    ) -> Result<Scan> {
        drop(self.begin_call()?);
        check_headroom(1 + self.engine().options.threads)?;
        let engine = Arc::clone(&self.handle.engine);
        let (sender, pages) = sync_channel(WAITING_PAGES);
        let (empty, empties) = channel();
        let (begin, begun) = sync_channel(1);
        let work = move || {
            let read = || read(&engine, group, wanted, select, &begin, &sender, &empties);
            let outcome = threads::catch("the thread that reads rows", read);
            drop(begin);
            // Dropped before the last message: its receiver may close the database, and must then
            // have the last reference.
            drop(engine);
            if let Err(error) = outcome {
                let _ = sender.send(Err(error));
            }
        };
        let thread = threads::start("damo-scan", "the reading thread", work)?;
        let (pages, empty, thread, storage) =
            (Some(pages), Some(empty), Some(thread), self.clone());
        match begun.recv() {
            Ok((cut, groups)) => {
                Ok(Scan { cut, groups, pages, empty, thread, storage, failure: None })
            }
            Err(_) => {
                let (cut, groups) = (Cut::default(), Vec::new());
                let mut scan = Scan { cut, groups, pages, empty, thread, storage, failure: None };
                let silent = || Error::bug("the reading thread said nothing");
                scan.next().and_then(|_| Err(silent()))
            }
        }
    }
}

impl Scan {
    /// The scan's moment.
    pub(super) fn cut(&self) -> Cut {
        self.cut
    }

    /// The groups of the scan's moment, or the one that is read, each with its dim.
    pub(super) fn groups(&self) -> &[(u16, usize)] {
        &self.groups
    }

    /// Takes a page back, so that its memory is used again.
    pub(super) fn give_back(&self, page: Page) {
        let _ = self.empty.as_ref().map(|empty| empty.send(page));
    }

    /// The next page; None at the end.
    ///
    /// # Errors
    /// `IO`, `CORRUPTION` naming the row, `OUT_OF_MEMORY`, `EXITING`.
    pub(super) fn next(&mut self) -> Result<Option<Page>> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        match self.pages.as_ref().map(Receiver::recv) {
            Some(Ok(Ok(page))) => Ok(Some(page)),
            Some(Ok(Err(error))) => {
                let error = self.storage.in_dir(error);
                self.failure = Some(error.clone());
                Err(error)
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        // In a forked child the thread does not exist. At the end of the process it must not touch
        // RocksDB any more; it does not while it waits to send.
        if is_ending() || self.storage.check_process().is_err() {
            std::mem::forget((self.pages.take(), self.empty.take(), self.thread.take()));
            return;
        }
        // Now sending fails, and the thread ends.
        self.pages = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read(
    engine: &Engine,
    group: Option<u16>,
    wanted: RowPart,
    select: impl FnOnce(&Engine, &Rocks, Cut) -> Result<Select>,
    begin: &SyncSender<(Cut, Vec<(u16, usize)>)>,
    full: &SyncSender<Result<Page>>,
    empty: &Receiver<Page>,
) -> Result<()> {
    let call = Call::begin()?;
    let contents = engine.contents.read();
    engine.ensure_works()?;
    let rocks = engine.rocks()?;
    let _rows = engine.expiry.hold_rows();
    let (snapshot, select, cut) =
        engine.with_cut(&rocks, |cut| Ok((rocks.snapshot(), select(engine, &rocks, cut)?, cut)))?;
    let reader = Reader::new(engine, &snapshot, select, wanted)?;
    let read = engine.groups().into_iter().filter(|open| group.is_none_or(|id| id == open.id()));
    let groups: Vec<_> = read.map(|group| (group.id(), group.config().dim)).collect();
    let ids: Vec<u16> = groups.iter().map(|(group, _)| *group).collect();
    let mut ranges = rocks.ranges(&ids, parallel::RANGE_BYTES)?;
    if group.is_none() {
        KeyRange::close_gaps(&mut ranges);
    }
    drop((contents, call));
    if begin.send((cut, groups)).is_err() {
        return Ok(());
    }
    let outcome = parallel::read(&reader, &ranges, engine.options.threads, empty, |page| {
        full.send(Ok(page)).is_ok()
    });
    drop(reader);
    // RocksDB must not be touched once the process ends, not even to release the snapshot.
    match Call::begin() {
        Ok(_call) => drop(snapshot),
        Err(_) => std::mem::forget((snapshot, Arc::clone(&rocks))),
    }
    outcome
}
