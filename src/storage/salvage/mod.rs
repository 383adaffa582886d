//! Salvage: brings every row of a damaged directory that can still be read into a new storage.
//!
//! The directory is only read. Rows come from RocksDB's files, block by block (`rows`). Groups and
//! steps come from the documents. The journal's calls are replayed on top, as far as that is sound
//! (`calls`). What could not be read is counted and named.

mod calls;
mod lost;
mod report;
mod rows;
mod sources;
mod work;

pub use report::Salvaged;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::swap;
use super::directory;
use crate::engine::Engine;
use crate::engine::clients::read_document;
use crate::engine::group::Group;
use crate::engine::group::GroupConfig;
use crate::engine::journal_document::JournalDocument;
use crate::engine::registry;
use crate::engine::replay::FOLDER as JOURNAL;
use crate::error::{Error, Result, Status};
use crate::files::folder::parent;
use crate::files::publish::{check_absent, publish_new};
use crate::files::regular::check_no_shortage;
use crate::rocks::documents::{self, CLEARED, CLIENT, GROUP, NAME, STEP, of_group};
use crate::rocks::{Batch, Inventory, Wreck, check_not_predecessor};
use crate::seqno::Seqno;
use calls::Known;
use lost::Lost;
use work::Work;

/// Saves what can be read from `dir`, which stays as it is, into a new storage at `out`. A group
/// whose description is lost gets the one in `like`, the directory of another storage or a
/// checkpoint. It is only read, too. `progress` is called with the rows written so far.
///
/// # Errors
/// `NOT_FOUND` when there is no storage in `dir`; `BUSY` when it is open, or another salvage makes
/// `out`; `ALREADY_EXISTS` for `out`; `INVALID_ARGUMENT` for one in `dir` or `like`;
/// `NOT_SUPPORTED` for a format of another release, and when a load of a checkpoint into `dir` was
/// killed; `IO`, `OUT_OF_MEMORY`. After an error nothing is at `out`.
pub fn salvage(
    dir: &Path,
    out: &Path,
    like: Option<&Path>,
    progress: impl FnMut(u64),
) -> Result<Salvaged> {
    let in_dir = |error: Error| error.within(&format!("'{}'", dir.display()));
    let at_out = |error: Error| error.within(&format!("'{}'", out.display()));
    check_absent(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => {
            at_out(Error::already_exists("exists; a path that does not exist yet is needed"))
        }
        _ => at_out(Error::io(error.to_string())),
    })?;
    let name = out.file_name().ok_or_else(|| at_out(Error::invalid("does not end in a name")))?;
    let _held = directory::hold_unchanged(dir).map_err(in_dir)?;
    for read in [Some(dir), like].into_iter().flatten() {
        check_outside(out, read).map_err(at_out)?;
    }
    if swap::is_committed(dir).map_err(in_dir)? {
        return Err(in_dir(Error::new(
            Status::NotSupported,
            "a checkpoint was being loaded into it; its files are whole in '.damo-restoring', or \
             are that checkpoint's: salvage the one, or load the other into a new storage",
        )));
    }
    check_not_predecessor(dir, "a storage or checkpoint of damo").map_err(in_dir)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".salvaging");
    let work = Work::begin(parent(out).join(hidden)).map_err(at_out)?;
    let like_documents = match like {
        None => BTreeMap::new(),
        Some(like) => {
            let named = |error: Error| error.within(&format!("'{}'", like.display()));
            let _held = directory::hold_unchanged(like).map_err(named)?;
            // Opening a storage notes that this process uses RocksDB, which the next lines do.
            drop(work.open()?);
            let wreck = Wreck::read(like, &work.like_links()).map_err(named)?;
            wreck.damage.iter().try_for_each(|what| check_no_shortage(what)).map_err(named)?;
            wreck.documents
        }
    };
    let salvaged = save(&work, dir, &like_documents, progress).map_err(in_dir)?;
    publish_new(&work.storage(), out).map_err(|error| at_out(Error::io(error.to_string())))?;
    Ok(salvaged)
}

/// Refuses a new storage within a directory that is only read.
fn check_outside(out: &Path, read: &Path) -> Result<()> {
    let canonical =
        |path: &Path| std::fs::canonicalize(path).map_err(|error| Error::io(error.to_string()));
    // A directory that does not exist is refused later.
    let Ok(read_path) = canonical(read) else { return Ok(()) };
    if canonical(parent(out))?.starts_with(read_path) {
        let what = format!(
            "is within '{}', which must not change; choose a path elsewhere",
            read.display()
        );
        return Err(Error::invalid(what));
    }
    Ok(())
}

fn save(
    work: &Work,
    dir: &Path,
    like_documents: &BTreeMap<String, Vec<u8>>,
    progress: impl FnMut(u64),
) -> Result<Salvaged> {
    let mut salvaged = Salvaged::default();
    let mut lost = Lost::default();
    let known = {
        let storage = work.open()?;
        let engine = storage.engine();
        let mut wreck = Wreck::read(dir, &work.links())?;
        std::mem::take(&mut wreck.damage).into_iter().try_for_each(|what| salvaged.tell(what))?;
        super::open::check_known_format(wreck.documents.get(documents::FORMAT))?;
        let groups = write_groups(engine, dir, &wreck.documents, like_documents, &mut salvaged)?;
        let document = JournalDocument::from_document(wreck.documents.get(documents::JOURNAL));
        // The time does not go back, so that expired rows stay expired. After a load the documents
        // are the checkpoint's, and only the inventory has this storage's time. Damage to the
        // inventory was reported above.
        let listed = Inventory::read(dir).ok().flatten().map_or(0, |inventory| inventory.time);
        engine.expiry.restore_time(document.as_ref().map_or(0, JournalDocument::time).max(listed));
        if wreck.documents.contains_key(documents::JOURNAL) && document.is_none() {
            salvaged.tell("the record of the journal is damaged".to_owned())?;
        }
        let mut rows =
            rows::RowSaver { engine, dir, wreck: &wreck, groups: &groups, salvaged: &mut salvaged };
        let last = rows.save(&mut lost, progress)?;
        let last = last.max(document.as_ref().map_or(Seqno::NONE, JournalDocument::last_possible));
        // The next call on the new storage must have a larger sequence number than the latest
        // clear.
        let last = groups.values().map(|group| group.cleared()).fold(last, Seqno::max);
        engine.last_seqno.store(last, Ordering::Release);
        storage.flush()?;
        Known { document, is_latest: wreck.documents_are_latest }
    };
    let storage = work.open()?;
    calls::apply(storage.engine(), &dir.join(JOURNAL), &known, &lost, &mut salvaged)?;
    storage.flush()?;
    salvaged.groups = storage.groups().len() as u64;
    salvaged.rows = storage.row_count(None)?;
    storage.verify()?;
    Ok(salvaged)
}

/// Registers the groups, with their names and steps, that documents or the journal describe.
fn write_groups(
    engine: &Engine,
    dir: &Path,
    documents: &BTreeMap<String, Vec<u8>>,
    like_documents: &BTreeMap<String, Vec<u8>>,
    salvaged: &mut Salvaged,
) -> Result<BTreeMap<u16, Arc<Group>>> {
    // If several describe a group, the directory's own documents win, then its journal.
    let mut configs = BTreeMap::new();
    describe(like_documents, &mut configs, salvaged)?;
    let journals = calls::configs(&dir.join(JOURNAL));
    let is_from_journal: BTreeSet<u16> = journals.keys().copied().collect();
    configs.extend(journals);
    describe(documents, &mut configs, salvaged)?;
    let mut batch = Batch::default();
    for (number, config) in &configs {
        batch.put_meta(of_group(GROUP, *number), config.to_json()?);
        for key in [NAME, STEP, CLEARED].map(|prefix| of_group(prefix, *number)) {
            // From the other storage only names are taken, not steps or the clears' numbers.
            let other = like_documents.get(&key).filter(|_| key.starts_with(NAME));
            if let Some(value) = documents.get(&key).or(other) {
                batch.put_meta(key, value.clone());
            }
        }
        if !documents.contains_key(&of_group(GROUP, *number)) {
            let used =
                if is_from_journal.contains(number) { "the journal" } else { "the other storage" };
            salvaged.tell(format!(
                "the description of group {number} is lost; the one in {used} is used"
            ))?;
        }
    }
    for (key, value) in documents {
        let Some(rest) = key.strip_prefix(CLIENT) else { continue };
        match read_document(rest, value) {
            Some((group, ..)) if configs.contains_key(&group) => {
                batch.put_meta(key.clone(), value.clone());
            }
            Some(_) => {}
            None => salvaged.tell(format!("the record of client {rest} is damaged"))?,
        }
    }
    let rocks = engine.rocks()?;
    rocks.write(batch)?;
    registry::load_all(&rocks)
}

/// Adds the groups that documents describe. They replace those that `configs` already has.
fn describe(
    documents: &BTreeMap<String, Vec<u8>>,
    configs: &mut BTreeMap<u16, GroupConfig>,
    salvaged: &mut Salvaged,
) -> Result<()> {
    for (key, value) in documents {
        let Some(number) = key.strip_prefix(GROUP) else { continue };
        let config = serde_json::from_slice::<GroupConfig>(value).ok();
        let Some(config) = config.filter(|config| config.build().is_ok()) else {
            salvaged.tell(format!("the description of group {number} is damaged"))?;
            continue;
        };
        if let Ok(number) = number.parse() {
            configs.insert(number, config);
        }
    }
    Ok(())
}
