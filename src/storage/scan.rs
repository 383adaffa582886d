//! Scan: every row of one moment in order of group and key, by a thread of its own, in pages.
//!
//! What dumps, iteration, counts and verification read. A thread, since RocksDB's snapshot lives as long as what borrows it,
//! and so that reading and what is done with the rows go on at the same time. Memory is a few pages.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::cut::Cut;
use super::row::{self, RowHeader, Stored};
use super::select::{Choice, Select};
use super::{Call, Core, Storage, key};
use crate::error::{Error, Result, Status};
use crate::optimizer::Optimizer;

/// Rows and floats of a page, at most.
const PAGE_ROWS: usize = 8192;
const PAGE_FLOATS: usize = 512 << 10;
/// Pages that wait to be taken.
const WAITING_PAGES: usize = 4;

/// Some rows of one group, by ascending key.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) group: u16,
    pub(super) keys: Vec<i64>,
    /// For each key whether it is gone, in an increment; it has a header and floats only if it is not.
    pub(super) removed: Vec<bool>,
    pub(super) headers: Vec<RowHeader>,
    /// The weights of each row, or everything, one after the other.
    pub(super) floats: Vec<f32>,
}

/// A scan that is under way.
pub(super) struct Scan {
    cut: Cut,
    groups: Vec<(u16, usize)>,
    pages: Option<Receiver<Result<Page>>>,
    /// Pages that can be filled again.
    empty: Option<Sender<Page>>,
    thread: Option<JoinHandle<()>>,
    /// What went wrong: rows are missing from there on, and that must not pass for the end.
    failed: Option<Error>,
    /// Keeps the database open until the thread has ended.
    storage: Storage,
}

/// What is read.
pub(super) struct Terms {
    pub(super) group: Option<u16>,
    /// Only the weights, not the optimizer's state.
    pub(super) weights_only: bool,
}

impl Storage {
    /// Begins a scan of the state of now. `select` is called once the moment is known, before anything later is written.
    ///
    /// # Errors
    /// `IO`, when the thread cannot be made; everything else comes with the first page.
    pub(super) fn scan(
        &self,
        terms: Terms,
        select: impl FnOnce(&Core, &super::rocks::Rocks, Cut) -> Result<Select> + Send + 'static,
    ) -> Result<Scan> {
        drop(self.begin_call()?);
        let core = Arc::clone(&self.handle.core);
        let (sender, pages) = sync_channel(WAITING_PAGES);
        let (empty, empties) = channel();
        let (begin, begun) = sync_channel(1);
        let work = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                read(&core, &terms, select, &begin, &Pages { full: &sender, empty: &empties })
            }));
            drop(begin);
            // Before the last word: who gets it may close the database, and must then be the last to hold it.
            drop(core);
            let outcome = outcome.unwrap_or_else(|_| {
                Err(Error::new(Status::Panic, "a bug in damo: the thread that reads rows panicked"))
            });
            if let Err(error) = outcome {
                let _ = sender.send(Err(error));
            }
        };
        let thread = thread::Builder::new()
            .name("damo-scan".to_owned())
            .spawn(work)
            .map_err(|error| Error::io(format!("the reading thread cannot be made here: {error}")))?;
        let mut scan = Scan {
            cut: Cut::default(),
            groups: Vec::new(),
            pages: Some(pages),
            empty: Some(empty),
            thread: Some(thread),
            failed: None,
            storage: self.clone(),
        };
        match begun.recv() {
            Ok((cut, groups)) => {
                (scan.cut, scan.groups) = (cut, groups);
                Ok(scan)
            }
            Err(_) => {
                let silent = || Error::new(Status::Panic, "a bug in damo: the reading thread said nothing");
                scan.next().and_then(|_| Err(silent()))
            }
        }
    }
}

/// Where full pages go, and empty ones come from.
struct Pages<'a> {
    full: &'a SyncSender<Result<Page>>,
    empty: &'a Receiver<Page>,
}

impl Pages<'_> {
    fn next(&self) -> Page {
        let mut page = self.empty.try_recv().unwrap_or_default();
        page.keys.clear();
        page.removed.clear();
        page.headers.clear();
        page.floats.clear();
        page
    }
}

impl Scan {
    /// The moment.
    pub(super) fn cut(&self) -> Cut {
        self.cut
    }

    /// The groups that there were, or the one that is read, each with its dim.
    pub(super) fn groups(&self) -> &[(u16, usize)] {
        &self.groups
    }

    /// Takes a page back, for its memory.
    pub(super) fn give_back(&self, page: Page) {
        let _ = self.empty.as_ref().map(|empty| empty.send(page));
    }

    /// The next page; None at the end.
    ///
    /// # Errors
    /// `IO`, `CORRUPTION` naming the row, `OUT_OF_MEMORY`, `EXITING`; the same again ever after.
    pub(super) fn next(&mut self) -> Result<Option<Page>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.pages.as_ref().map(Receiver::recv) {
            Some(Ok(page)) => {
                self.failed = page.as_ref().err().cloned();
                page.map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if self.storage.check_process().is_err() {
            // A forked child has no such thread: it would be waited for for ever, and so would locks that it held.
            std::mem::forget((self.pages.take(), self.empty.take(), self.thread.take()));
            return;
        }
        // Then sending fails, and the thread ends.
        self.pages = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read(
    core: &Core,
    terms: &Terms,
    select: impl FnOnce(&Core, &super::rocks::Rocks, Cut) -> Result<Select>,
    begin: &SyncSender<(Cut, Vec<(u16, usize)>)>,
    pages: &Pages<'_>,
) -> Result<()> {
    let mut call = Some(Call::begin()?);
    let contents = core.contents.read();
    let rocks = core.rocks()?;
    let (snapshot, select, cut) =
        core.with_cut(&rocks, |cut| Ok((rocks.snapshot(), select(core, &rocks, cut)?, cut)))?;
    let shapes = shapes(core, terms.weights_only)?;
    let wanted = core.groups().into_iter().filter(|group| terms.group.is_none_or(|id| id == group.id()));
    let groups = wanted.map(|group| (group.id(), group.config().dim)).collect();
    drop(contents);
    if begin.send((cut, groups)).is_err() {
        return Ok(());
    }
    let mut page = pages.next();
    let mut shape: Option<(u16, Shape)> = None;
    snapshot.scan(terms.group, |key, value| {
        let (group, key) = key::decode(key)?;
        let named = |error: Error| error.within(&format!("group {group} key {key}"));
        let stored = row::parse(value).map_err(named)?;
        let Shape { row_len, wanted } = match shape {
            Some((known, shape)) if known == group => shape,
            _ => {
                let new = shapes.get(&group).copied().ok_or_else(|| not_registered(group))?;
                shape = Some((group, new));
                new
            }
        };
        if let Stored::Row(_, body) = stored
            && body.len() != 4 * row_len
        {
            return Err(named(row::wrong_length(body, row_len)));
        }
        let choice = select.choose(&stored);
        if choice == Choice::Skip {
            return Ok(true);
        }
        let is_full = page.keys.len() >= PAGE_ROWS || page.floats.len() + wanted > PAGE_FLOATS;
        if !page.keys.is_empty() && (page.group != group || is_full) {
            // While it waits it is in no call, so that the process can end.
            call = None;
            if pages.full.send(Ok(std::mem::replace(&mut page, pages.next()))).is_err() {
                return Ok(false);
            }
            call = Some(Call::begin()?);
        }
        page.group = group;
        page.keys.push(key);
        page.removed.push(choice == Choice::Removed);
        if let (Choice::Row, Stored::Row(header, body)) = (choice, stored) {
            page.headers.push(header);
            let start = page.floats.len();
            page.floats.resize(start + wanted, 0.0);
            bytemuck::cast_slice_mut(&mut page.floats[start..]).copy_from_slice(&body[..4 * wanted]);
        }
        Ok(true)
    })?;
    drop(call);
    if !page.keys.is_empty() {
        let _ = pages.full.send(Ok(page));
    }
    Ok(())
}

/// Floats of a group's rows, and how many of them are wanted.
#[derive(Clone, Copy)]
struct Shape {
    row_len: usize,
    wanted: usize,
}

/// Reads every row of a database that is not open as a storage, and says whether it is one of its groups'.
///
/// # Errors
/// `CORRUPTION` naming the row; `IO`.
pub(super) fn check_rows(
    rocks: &super::rocks::Rocks,
    groups: &BTreeMap<u16, Arc<super::Group>>,
) -> Result<()> {
    let mut lens = HashMap::new();
    for (id, group) in groups {
        lens.insert(*id, group.shape()?.1);
    }
    rocks.snapshot().scan(None, |key, value| {
        let (group, key) = key::decode(key)?;
        let named = |error: Error| error.within(&format!("group {group} key {key}"));
        match (row::parse(value).map_err(named)?, lens.get(&group)) {
            (_, None) => Err(not_registered(group)),
            (Stored::Row(_, body), Some(row_len)) if body.len() != 4 * row_len => {
                Err(named(row::wrong_length(body, *row_len)))
            }
            _ => Ok(true),
        }
    })
}

fn not_registered(group: u16) -> Error {
    Error::corruption(format!("group {group} has rows and is not registered"))
}

fn shapes(core: &Core, weights_only: bool) -> Result<HashMap<u16, Shape>> {
    let shape = |group: &Arc<super::Group>| {
        let (dim, row_len) = group.shape()?;
        Ok((group.id(), Shape { row_len, wanted: if weights_only { dim } else { row_len } }))
    };
    core.groups().iter().map(shape).collect()
}

impl super::Group {
    /// Weights of a row, and floats with the optimizer's state.
    ///
    /// # Errors
    /// `CORRUPTION` when the group's optimizer is not known.
    pub(super) fn shape(&self) -> Result<(usize, usize)> {
        let config = self.config();
        let optimizer = Optimizer::new(&config.optimizer.name, &config.optimizer.params, None);
        let optimizer = optimizer
            .map_err(|error| Error::corruption(format!("group {}: {}", self.id(), error.message())))?;
        Ok((config.dim, optimizer.row_len(config.dim)))
    }
}
