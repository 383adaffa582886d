//! Replay: opening after a crash makes the journal's calls again, each exactly once on each row.
//!
//! A row on disk carries the sequence number of the last call that changed it. A call is made again
//! on the rows with a smaller sequence number. Each segment of the journal has the optimizers and
//! initializers of its calls, so nobody needs to open the groups first.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::Engine;
use super::clients::Latest;
use super::group::{Group, GroupConfig};
use super::journal_document::{JournalDocument, MAX_LOST_CALLS};
use super::options::Durability;
use super::row_rules::RowRules;
use super::rows::{Clip, Duplicates, Gradients, KeyBatch, NonFinite, OpenGroup, Origin};
use crate::error::{Error, Result};
use crate::journal::{self, CallKind, Head, Journal, Replay, Token};
use crate::rocks::boot;
use crate::seqno::Seqno;

/// The folder of the journal's files.
pub(crate) const FOLDER: &str = "journal";

impl Engine {
    fn journal_dir(&self) -> PathBuf {
        self.dir.join(FOLDER)
    }
}

/// Replays the journal of an earlier process and brings the rows to disk. Returns the largest
/// sequence number that an earlier call may have; `listed` is the inventory's. For a likeness,
/// `likeness_bytes` are the bytes of the journal's last file when the likeness was made.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`, `CORRUPTION`. The journal is as it was, and opening can be tried again.
pub(crate) fn replay(
    engine: &Engine,
    record: JournalDocument,
    listed: Seqno,
    likeness_bytes: Option<u64>,
) -> Result<Seqno> {
    let dir = engine.journal_dir();
    journal::make_dir(&dir)?;
    if !record.active {
        // If there still is a journal, all its calls are on disk.
        return Ok(record.through.max(record.reserved).max(listed));
    }
    let mut tables = OpenGroups::new(engine);
    let has_files = journal::has_files(&dir)?;
    // If it stopped, what was not synced may be missing.
    let machine_stopped = record.boot != boot();
    if !has_files && !machine_stopped {
        return Err(Error::damage(format_args!(
            "the storage was not closed, and its journal '{}' has no files",
            dir.display()
        )));
    }
    // Which rows had expired when a call was made is decided by the TTL of that time.
    let ttl_ms = engine.expiry.ttl_ms();
    engine.expiry.set_ttl_ms(record.ttl_ms);
    let last = match likeness_bytes {
        None => journal::read_all(&dir, record.through, machine_stopped, &mut tables),
        Some(bytes) => {
            journal::read_links(&dir, record.through, machine_stopped, bytes, &mut tables)
        }
    };
    engine.expiry.set_ttl_ms(ttl_ms);
    let last = last?.max(record.reserved).max(listed);
    if tables.calls > 0 {
        engine.writer.write_all()?;
    }
    // A loss of power may have taken calls from the end of the journal whose rows were on disk
    // already. Their sequence numbers must not be given again: a later replay would believe that
    // these rows have seen the new calls.
    Ok(last.saturating_add(MAX_LOST_CALLS))
}

/// Ends the journal of an earlier process, whose calls are all on disk, and starts this process's.
///
/// # Errors
/// `IO`.
pub(crate) fn start_journal(engine: &Engine, last: Seqno) -> Result<()> {
    let dir = engine.journal_dir();
    engine.last_seqno.store(last, Ordering::Release);
    engine.cut_seqno.store(last, Ordering::Release);
    *engine.reserved_seqnos.lock() = last;
    engine.write_journal_document_through(last, false)?;
    journal::delete_all(&dir)?;
    if engine.options.durability == Durability::Checkpoint {
        engine.settle(u64::MAX, Seqno::MAX);
        return Ok(());
    }
    // Calls are made from now on.
    let time = engine.expiry.now_unused_ms();
    if let Some(journal) = engine.journal() {
        journal.restart(last)?;
    } else {
        // Nobody else sets it: a storage is opened once.
        let _ = engine.journal.set(Journal::start(&dir, last, engine.syncs())?);
    }
    engine.write_journal_document_through(last, true)?;
    engine.settle(time, last);
    Ok(())
}

/// Refuses calls on rows of another layout than the group's: they are another storage's.
fn check_same_rows(group: &Group, described: &GroupConfig) -> Result<()> {
    let registered = group.config();
    let has_same_names = registered.optimizer.name == described.optimizer.name;
    if has_same_names
        && registered.dim == described.dim
        && registered.row_len()? == described.row_len()?
    {
        return Ok(());
    }
    Err(Error::corruption(format!(
        "its calls of group {} are for dim {} and optimizer '{}', and the group has dim {} and \
         optimizer '{}'; the file is another storage's",
        group.id(),
        described.dim,
        described.optimizer.name,
        registered.dim,
        registered.optimizer.name
    )))
}

/// The groups of a segment's calls, opened as they were then.
pub(crate) struct OpenGroups<'a> {
    engine: &'a Engine,
    by_config: HashMap<u32, OpenGroup>,
    calls: u64,
}

impl Replay for OpenGroups<'_> {
    fn segment(&mut self) {
        self.by_config.clear();
    }

    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        let damaged = |error: String| {
            Error::corruption(format!("the journal's record of group {group} is damaged: {error}"))
        };
        let description: GroupConfig =
            serde_json::from_slice(description).map_err(|error| damaged(error.to_string()))?;
        let known = self.engine.groups.lock().get(&group).cloned();
        let group = known.ok_or_else(|| damaged("the group is not registered".to_owned()))?;
        check_same_rows(&group, &description)?;
        // The journal has each call's learning rate, so the schedule is not needed.
        let rules = RowRules::of(&description)?;
        let table = OpenGroup::new(self.engine, group, rules, config)?;
        self.by_config.insert(config, table);
        Ok(())
    }

    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        self.table(head).map(|table| table.floats_in_journal(head.kind))
    }

    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        self.engine.expiry.restore_time(head.time);
        let table = self.table(head)?;
        if seqno < table.group().cleared() {
            // A later clear has removed the rows that it changed.
            return Ok(());
        }
        let source = Origin::Replay { seqno, time: head.time, rate: head.rate, step: head.step };
        match head.kind {
            CallKind::Gradients => {
                let batch = KeyBatch::without_padding(keys);
                // The journal has them as they were clipped.
                let (clip, non_finite) = (Clip::default(), NonFinite::Refuse);
                let duplicates = Duplicates::Sequential;
                let gradients = Gradients { batch, floats, duplicates, clip, non_finite };
                table.apply(self.engine, gradients, source).map(drop)?
            }
            CallKind::Insert => table.insert_from(self.engine, keys, floats, source)?,
            CallKind::InsertRecords => {
                table.insert_records_from(self.engine, keys, floats, source)?
            }
            CallKind::Delete => table.delete_from(self.engine, keys, source)?,
            CallKind::Clear if seqno > table.group().cleared() => {
                table.clear_from(self.engine, source)?
            }
            CallKind::Clear
            | CallKind::SetStep
            | CallKind::Config
            | CallKind::End
            | CallKind::Step
            | CallKind::Once
            | CallKind::Forget => {}
        }
        table.group().begin_write()?.set_step(head.step);
        self.calls += 1;
        Ok(())
    }

    fn once(&mut self, seqno: Seqno, group: u16, token: Token, time: u64) {
        if let Some(group) = self.engine.groups.lock().get(&group) {
            let Token { client, sequence } = token;
            group.clients.replay(client, Latest { sequence, time, seqno });
        }
        self.calls += 1;
    }

    fn forget(&mut self, seqno: Seqno, group: u16, client: u64) {
        if let Some(group) = self.engine.groups.lock().get(&group) {
            group.clients.replay_forget(client, seqno);
        }
        self.calls += 1;
    }
}

impl OpenGroups<'_> {
    pub(crate) fn new(engine: &Engine) -> OpenGroups<'_> {
        OpenGroups { engine, by_config: HashMap::new(), calls: 0 }
    }

    fn table(&self, head: &Head) -> Result<&OpenGroup> {
        let table = self.by_config.get(&head.config);
        table.filter(|table| table.group().id() == head.group).ok_or_else(|| {
            Error::corruption(format!(
                "the journal has a call of group {} without its configuration",
                head.group
            ))
        })
    }
}
