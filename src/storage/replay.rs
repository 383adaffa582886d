//! Opening after a crash: the calls that the journal has and the rows on disk have not are made again, exactly once.
//!
//! A row on disk carries the number of the last call that changed it; a call is made on the rows that have a smaller
//! one. Each segment says which optimizers and initializers its calls were made with, so nobody needs to open the groups
//! first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::group::{Group, GroupConfig};
use super::rocks::{Batch, Rocks, boot};
use super::table::{Duplicates, Source, Table};
use super::{Core, Durability};
use crate::error::{Error, Result};
use crate::journal::{self, Head, Journal, Kind, Replay};

/// The folder of the journal's files.
pub(super) const FOLDER: &str = "journal";

/// Numbers that are set aside at a time where no journal counts.
const RESERVED_AT_ONCE: u64 = 1 << 20;

/// The document that says how far the journal has become rows.
const RECORD: &str = "journal";

/// What the document says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct JournalRecord {
    /// The calls up to this number are on disk.
    through: u64,
    /// There must be a journal: the storage was not closed.
    active: bool,
    /// Which start of the system the journal is from, where that can be told.
    boot: String,
    /// Numbers up to this one may have been given.
    #[serde(default)]
    reserved: u64,
    /// The time to live of the process whose calls may have to be made again.
    #[serde(default)]
    ttl_ms: u64,
    /// The latest time that was used, milliseconds since 1970.
    #[serde(default)]
    time: u64,
}

impl JournalRecord {
    /// There must be a journal.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Whether there is no journal, and calls were made that are not on disk for certain: of each
    /// of them some rows may be.
    pub(super) fn may_have_parts_of_calls(&self) -> bool {
        !self.active && self.reserved > self.through
    }

    /// The calls up to this number are on disk.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// The time to live of the process that made the calls.
    pub(super) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    /// The latest time that was used.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    /// What a document says; None where there is none, or it is damaged.
    pub(super) fn from_document(json: Option<&Vec<u8>>) -> Option<JournalRecord> {
        serde_json::from_slice(json?).ok()
    }

    /// No row has a larger number.
    pub(super) fn last_possible(&self) -> u64 {
        let last = self.through.max(self.reserved);
        if self.active { last.saturating_add(MAX_LOST_CALLS) } else { last }
    }

    pub(super) fn read(rocks: &Rocks) -> Result<JournalRecord> {
        match rocks.read_meta(RECORD)? {
            None => Ok(JournalRecord::default()),
            Some(json) => serde_json::from_slice(&json).map_err(|error| {
                Error::corruption(format!("the record of the journal is damaged: {error}"))
            }),
        }
    }
}

impl Core {
    pub(super) fn write_journal_record_through(&self, through: u64, active: bool) -> Result<()> {
        // Until it is written, so that it never goes backwards.
        let guard = self.reserved_numbers.lock();
        let (reserved, ttl_ms) = (through.max(*guard), self.expiry.ttl_ms());
        let time = self.expiry.latest_ms();
        let record = JournalRecord { through, active, boot: boot(), reserved, ttl_ms, time };
        self.write_record(&record)
    }

    /// Brings the time that was used on record, for rounds that bring nothing else there. Merging
    /// goes by that time, and what it has dropped must not be looked for with an earlier one.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn record_time(&self) -> Result<()> {
        if !self.is_open.load(Ordering::Acquire) || !self.expiry.is_record_old() {
            return Ok(());
        }
        let _guard = self.reserved_numbers.lock();
        let mut record = JournalRecord::read(&*self.rocks()?)?;
        record.time = self.expiry.latest_ms();
        self.write_record(&record)
    }

    fn write_record(&self, record: &JournalRecord) -> Result<()> {
        let json = serde_json::to_vec(record).map_err(|error| Error::invalid(error.to_string()))?;
        let mut batch = Batch::default();
        batch.put_meta(RECORD.to_owned(), json);
        let rocks = self.rocks()?;
        rocks.note_last(record.reserved.max(self.last_number()));
        rocks.write(batch)?;
        rocks.set_time(0);
        self.expiry.set_recorded(record.time);
        Ok(())
    }

    /// Says that all calls so far are on disk, and whether more are to be expected.
    pub(super) fn write_journal_record(&self, active: bool) -> Result<()> {
        let through = self.last_number();
        // Everything is on disk, so no number beyond it is.
        *self.reserved_numbers.lock() = through;
        self.write_journal_record_through(through, active)
    }

    /// Ends the present file of the journal. To be called between calls; returns the number of the last one, and the time, before
    /// which all of them were made and after which the next ones will be. None while the storage is being opened.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn end_of_calls(&self) -> Result<Option<(u64, u64)>> {
        let time = self.expiry.now_ms();
        match self.journal() {
            Some(journal) => Ok(Some((journal.rotate()?, time))),
            None if self.is_open.load(Ordering::Acquire) => Ok(Some((self.last_number(), time))),
            None => Ok(None),
        }
    }

    /// Every call before `time`, with numbers up to `number`, is on disk and not needed in the
    /// journal.
    pub(super) fn settle(&self, time: u64, number: u64) {
        // Without a journal no call is ever made again.
        let (time, number) =
            if self.journal().is_some() { (time, number) } else { (u64::MAX, u64::MAX) };
        self.expiry.set_settled(time, number);
    }

    /// Whether rows that go leave tombstones: for calls that may be made again, or for increments.
    pub(super) fn keeps_tombstones(&self) -> bool {
        let may_replay = self.journal().is_some() || !self.is_open.load(Ordering::Acquire);
        may_replay || self.expiry.keeps_tombstones()
    }

    /// The number of the last call.
    pub(super) fn last_number(&self) -> u64 {
        self.journal().map_or(self.last_number.load(Ordering::Acquire), Journal::last)
    }

    /// The number of a call that no journal gets. Rows carry it, and it must not be given again after a crash.
    ///
    /// # Errors
    /// `IO`.
    pub(super) fn next_number(&self) -> Result<u64> {
        let mut reserved = self.reserved_numbers.lock();
        let number = self.last_number.load(Ordering::Acquire) + 1;
        if number > *reserved {
            let mut record = JournalRecord::read(&*self.rocks()?)?;
            record.reserved = number + RESERVED_AT_ONCE;
            record.time = self.expiry.latest_ms();
            self.write_record(&record)?;
            *reserved = record.reserved;
        }
        self.last_number.store(number, Ordering::Release);
        Ok(number)
    }

    fn journal_dir(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }
}

/// Makes the calls that the journal of an earlier process has again, and brings them to disk;
/// returns the number of the last one, or of the inventory, which has `listed`. Of a likeness,
/// `likeness_bytes` is what its last file had when it was made.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`, `CORRUPTION`. What was stored is as it was, and opening can be tried again.
pub(super) fn replay(
    core: &Core,
    record: JournalRecord,
    listed: u64,
    likeness_bytes: Option<u64>,
) -> Result<u64> {
    let dir = core.journal_dir();
    journal::make_dir(&dir)?;
    if !record.active {
        // All that the journal has, if there still is one, is on disk.
        return Ok(record.through.max(record.reserved).max(listed));
    }
    let mut tables = Tables::new(core);
    let listed_files = std::fs::read_dir(&dir).map_err(|error| {
        Error::io(format!("the journal '{}' cannot be read: {error}", dir.display()))
    })?;
    let has_files = listed_files.count() > 0;
    // Then what was not synced may be missing.
    let machine_stopped = record.boot != boot();
    if !has_files && !machine_stopped {
        return Err(Error::damage(format_args!(
            "the storage was not closed, and its journal '{}' has no files",
            dir.display()
        )));
    }
    // What had expired when a call was made is decided as it was then.
    let ttl_ms = core.expiry.ttl_ms();
    core.expiry.set_ttl_ms(record.ttl_ms);
    let last = match likeness_bytes {
        None => journal::read_all(&dir, record.through, machine_stopped, &mut tables),
        Some(bytes) => {
            journal::read_links(&dir, record.through, machine_stopped, bytes, &mut tables)
        }
    };
    core.expiry.set_ttl_ms(ttl_ms);
    let last = last?.max(record.reserved).max(listed);
    if tables.calls > 0 {
        core.writer.write_all()?;
    }
    // Losing power may have taken calls from the end of the journal whose rows were on disk already: their numbers must
    // not be given again, or a later replay would take those rows for having seen other calls.
    Ok(last.saturating_add(MAX_LOST_CALLS))
}

/// More calls than can be in a journal that the system has not written yet.
const MAX_LOST_CALLS: u64 = 1 << 24;

/// Ends the journal of an earlier process, all of which is on disk, and begins this one's.
///
/// # Errors
/// `IO`.
pub(super) fn start_journal(core: &Core, last: u64) -> Result<()> {
    let dir = core.journal_dir();
    core.last_number.store(last, Ordering::Release);
    core.cut_number.store(last, Ordering::Release);
    *core.reserved_numbers.lock() = last;
    core.write_journal_record_through(last, false)?;
    journal::delete_all(&dir)?;
    if core.options.durability == Durability::Checkpoint {
        core.settle(u64::MAX, u64::MAX);
        return Ok(());
    }
    // Calls are made from now on.
    let time = core.expiry.now_unused_ms();
    if let Some(journal) = core.journal() {
        journal.restart(last)?;
    } else {
        // Opening happens once.
        let _ = core.journal.set(Journal::start(&dir, last, core.syncs())?);
    }
    core.write_journal_record_through(last, true)?;
    core.settle(time, last);
    Ok(())
}

/// Refuses calls on rows of another layout than the group's: they are not this storage's.
fn check_same_rows(group: &Group, described: &GroupConfig) -> Result<()> {
    let registered = group.config();
    if (registered.dim, &registered.optimizer.name) == (described.dim, &described.optimizer.name) {
        return Ok(());
    }
    Err(Error::corruption(format!(
        "its calls of group {} are for dim {} and optimizer '{}', and the group has dim {} and optimizer \
         '{}'; the file is another storage's",
        group.id(),
        described.dim,
        described.optimizer.name,
        registered.dim,
        registered.optimizer.name
    )))
}

/// The groups of a segment's calls, opened as they were then.
pub(super) struct Tables<'a> {
    core: &'a Core,
    by_config: HashMap<u32, Table>,
    calls: u64,
}

impl Replay for Tables<'_> {
    fn segment(&mut self) {
        self.by_config.clear();
    }

    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        let damaged = |error: String| {
            Error::corruption(format!("the journal's record of group {group} is damaged: {error}"))
        };
        let description: GroupConfig =
            serde_json::from_slice(description).map_err(|error| damaged(error.to_string()))?;
        let known = self.core.groups.lock().get(&group).cloned();
        let group = known.ok_or_else(|| damaged("the group is not registered".to_owned()))?;
        check_same_rows(&group, &description)?;
        // The rate of each call is in the journal, so the schedule is not needed.
        let (optimizer, initializer) = description.build()?;
        let table = Table::new(self.core, group, description.dim, optimizer, initializer, config)?;
        self.by_config.insert(config, table);
        Ok(())
    }

    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        self.table(head).map(|table| table.floats_in_journal(head.kind))
    }

    fn call(&mut self, number: u64, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        self.core.expiry.restore_time(head.time);
        let table = self.table(head)?;
        if number < table.group().cleared() {
            // A later clear has removed what it changed.
            return Ok(());
        }
        let source = Source::Replay { number, time: head.time, rate: head.rate, step: head.step };
        match head.kind {
            Kind::Gradients => {
                table.apply(self.core, keys, floats, None, Duplicates::Sequential, source)?
            }
            Kind::Insert => table.insert_from(self.core, keys, floats, source)?,
            Kind::InsertRecords => table.insert_records_from(self.core, keys, floats, source)?,
            Kind::Delete => table.delete_from(self.core, keys, source)?,
            Kind::Clear if number > table.group().cleared() => {
                table.clear_from(self.core, source)?
            }
            Kind::Clear | Kind::SetStep | Kind::Config | Kind::End => {}
        }
        table.group().begin_write()?.set_step(head.step);
        self.calls += 1;
        Ok(())
    }
}

impl Tables<'_> {
    pub(super) fn new(core: &Core) -> Tables<'_> {
        Tables { core, by_config: HashMap::new(), calls: 0 }
    }

    fn table(&self, head: &Head) -> Result<&Table> {
        let table = self.by_config.get(&head.config);
        table.filter(|table| table.group().id() == head.group).ok_or_else(|| {
            Error::corruption(format!(
                "the journal has a call of group {} without its configuration",
                head.group
            ))
        })
    }
}
