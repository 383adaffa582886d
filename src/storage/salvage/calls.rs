//! The calls of the journal, made again on top of the rows that were saved, as far as that is
//! sound.
//!
//! A call is sound when every call before it is there. So calls are made in the order of their
//! numbers, up to the first damage. A gradient also needs the row as it was. If the row's last
//! state may be lost, the step is left out, unless an insert, a delete or a clear came in between:
//! these do not depend on what was before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::lost::Lost;
use super::report::Salvaged;
use crate::engine::Engine;
use crate::engine::group::GroupConfig;
use crate::engine::journal_document::JournalDocument;
use crate::engine::replay::OpenGroups;
use crate::error::{Result, Status};
use crate::journal::{self, CallKind, Head, Replay};
use crate::rocks::key;

struct Calls<'a> {
    tables: OpenGroups<'a>,
    groups: HashSet<u16>,
    lost: &'a Lost,
    /// Keys in what is lost whose rows are known again, by an insert or a delete.
    known: HashSet<(u16, i64)>,
    /// Groups that a clear has emptied: the state of all their rows is known again.
    cleared: HashSet<u16>,
    /// How many floats a key has, by the file's configurations.
    described: HashMap<u32, GroupConfig>,
    /// Configurations of this file that are not those of their groups, with what is told of them.
    unfit: HashMap<u32, (u16, String)>,
    /// A call is missing: from here on calls are only counted.
    has_stopped: bool,
    /// An error that is not damage.
    failure: Option<crate::error::Error>,
    applied: u64,
    left_out: u64,
    steps_left_out: u64,
}

/// What is on record of the journal.
pub(super) struct Known {
    pub(super) record: Option<JournalDocument>,
    /// It is the latest, not one that was left when a later one was lost.
    pub(super) is_latest: bool,
}

impl Known {
    /// The latest record, if this is it.
    fn latest(&self) -> Option<&JournalDocument> {
        self.record.as_ref().filter(|_| self.is_latest)
    }
}

/// Makes the calls again that are not on disk: those that the latest record says, or else all that
/// the journal has. Rows have the number of the call that changed them last, so none is made twice.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`: of the new storage, or since too little can be had to read the journal.
pub(super) fn apply(
    engine: &Engine,
    dir: &Path,
    known: &Known,
    lost: &Lost,
    salvaged: &mut Salvaged,
) -> Result<()> {
    let latest = known.latest();
    // A storage that was closed has no calls that rows have not seen.
    if latest.is_some_and(|record| !record.is_active()) {
        return Ok(());
    }
    let files = match journal::list_whole(dir) {
        Ok(files) => files,
        // With durability `checkpoint` there may be none.
        Err(error) if error.kind() == ErrorKind::NotFound && latest.is_none() => Vec::new(),
        Err(error) => return salvaged.tell(format!("journal: {error}")),
    };
    let mut calls = Calls {
        tables: OpenGroups::new(engine),
        groups: engine.groups().iter().map(|group| group.id()).collect(),
        lost,
        known: HashSet::new(),
        cleared: HashSet::new(),
        described: HashMap::new(),
        unfit: HashMap::new(),
        has_stopped: false,
        failure: None,
        applied: 0,
        left_out: 0,
        steps_left_out: 0,
    };
    let ttl_ms = engine.expiry.ttl_ms();
    engine.expiry.set_ttl_ms(known.record.as_ref().map_or(ttl_ms, JournalDocument::ttl_ms));
    let read = calls.read(&files, known, salvaged);
    engine.expiry.set_ttl_ms(ttl_ms);
    let last = read?;
    salvaged.calls_applied = calls.applied;
    salvaged.calls_left_out = calls.left_out;
    salvaged.steps_left_out = calls.steps_left_out;
    engine.last_number.fetch_max(last, std::sync::atomic::Ordering::AcqRel);
    Ok(())
}

impl Calls<'_> {
    /// Reads the files and makes their calls. Returns the number of the last one.
    fn read(
        &mut self,
        files: &[(u64, PathBuf)],
        known: &Known,
        salvaged: &mut Salvaged,
    ) -> Result<u64> {
        // Calls up to this one are on disk, and maybe later ones.
        let through = known.record.as_ref().map_or(0, JournalDocument::through);
        // Without the latest record, the rows on disk end where the oldest file begins: a file is
        // deleted once its calls are on disk as rows.
        let before = files.first().map_or(through, |(first, _)| first - 1);
        let mut last = known.latest().map_or(before.max(through), JournalDocument::through);
        if known.latest().is_some() && files.is_empty() {
            salvaged.tell("journal: it has no files".to_owned())?;
        }
        if known.latest().is_none() && known.record.is_some() && before > through {
            let what = "were deleted as rows, or are lost: the record that said so is";
            salvaged.tell(format!("journal: calls {} to {before} {what}", through + 1))?;
        }
        let (mut is_end, mut has_ended) = (true, false);
        for (first, path) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !self.has_stopped && (*first > last + 1 || !is_end) {
                self.has_stopped = true;
                salvaged.tell(format!("journal/{name}: calls before {first} are missing"))?;
            }
            // One that cannot be looked at cannot be read either, which is told below.
            let is_headerless = journal::is_headerless(path).unwrap_or(false);
            if (has_ended || *first == before + 1) && is_headerless {
                salvaged.tell(format!("journal/{name}: it is cut off within its header"))?;
            }
            let read = journal::read_whole(path, *first, through, self);
            if let Some(error) = self.failure.take() {
                return Err(error);
            }
            for (group, what) in std::mem::take(&mut self.unfit).into_values() {
                salvaged.tell(format!(
                    "journal/{name}: its calls of group {group} were left out: {what}"
                ))?;
            }
            match read {
                Ok((end, is_followed)) => {
                    last = last.max(end);
                    has_ended = is_followed;
                }
                Err(error) if error.status() == Status::OutOfMemory => return Err(error),
                Err(error) => {
                    (is_end, has_ended) = (false, false);
                    let remark = "; what follows in it was not read";
                    salvaged.tell(format!("journal/{name}: {}{remark}", error.without_remedy()))?;
                }
            }
        }
        if has_ended {
            salvaged.tell(format!("journal: the file that follows call {last} is missing"))?;
        }
        Ok(last)
    }

    /// Leaves out the steps of rows whose last state may be lost.
    fn sound(&mut self, head: &Head, keys: &[i64], floats: &[f32]) -> (Vec<i64>, Vec<f32>) {
        let dim = floats.len().checked_div(keys.len()).unwrap_or(0);
        let (mut sound_keys, mut sound_floats) = (Vec::new(), Vec::new());
        let is_cleared = self.cleared.contains(&head.group);
        for (index, key) in keys.iter().enumerate() {
            let is_known = is_cleared || self.known.contains(&(head.group, *key));
            if !is_known && self.lost.has(&key::encode(head.group, *key)) {
                self.steps_left_out += 1;
                continue;
            }
            sound_keys.push(*key);
            sound_floats.extend(&floats[index * dim..(index + 1) * dim]);
        }
        (sound_keys, sound_floats)
    }
}

impl Replay for Calls<'_> {
    fn segment(&mut self) {
        self.described.clear();
        self.unfit.clear();
        self.tables.segment();
    }

    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        if let Ok(described) = serde_json::from_slice::<GroupConfig>(description) {
            self.described.insert(config, described.clone());
        }
        if self.has_stopped || !self.groups.contains(&group) {
            return Ok(());
        }
        match self.tables.config(group, config, description) {
            Ok(()) => Ok(()),
            // It says something else than what is known of its group.
            Err(error)
                if [Status::Corruption, Status::InvalidArgument].contains(&error.status()) =>
            {
                self.unfit.insert(config, (group, error.without_remedy().to_owned()));
                Ok(())
            }
            Err(error) => Err(error).inspect_err(|error| self.failure = Some(error.clone())),
        }
    }

    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        match self.described.get(&head.config) {
            Some(described) => described.floats_in_journal(head.kind),
            None => self.tables.floats_a_key(head),
        }
    }

    fn call(&mut self, number: u64, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        let is_known = self.groups.contains(&head.group) && !self.unfit.contains_key(&head.config);
        if self.has_stopped || !is_known {
            self.left_out += 1;
            return Ok(());
        }
        let mut work = || match head.kind {
            CallKind::Gradients if !self.lost.is_empty() => {
                let (keys, floats) = self.sound(head, keys, floats);
                self.tables.call(number, head, &keys, &floats)
            }
            _ => {
                match head.kind {
                    CallKind::Insert | CallKind::InsertRecords | CallKind::Delete => {
                        self.known.extend(keys.iter().map(|key| (head.group, *key)));
                    }
                    CallKind::Clear => drop(self.cleared.insert(head.group)),
                    _ => {}
                }
                self.tables.call(number, head, keys, floats)
            }
        };
        let outcome = work();
        self.applied += 1;
        outcome.inspect_err(|error| self.failure = Some(error.clone()))
    }
}

/// The descriptions of groups that the journal has, the latest of each.
pub(super) fn configs(dir: &Path) -> BTreeMap<u16, GroupConfig> {
    struct Configs {
        found: BTreeMap<u16, GroupConfig>,
        described: HashMap<u32, GroupConfig>,
    }
    impl Replay for Configs {
        fn segment(&mut self) {
            self.described.clear();
        }

        fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
            if let Ok(described) = serde_json::from_slice::<GroupConfig>(description) {
                self.described.insert(config, described.clone());
                if described.build().is_ok() {
                    self.found.insert(group, described);
                }
            }
            Ok(())
        }

        fn floats_a_key(&self, head: &Head) -> Result<usize> {
            let unknown = || crate::error::Error::corruption("a call without its configuration");
            self.described.get(&head.config).ok_or_else(unknown)?.floats_in_journal(head.kind)
        }

        fn call(&mut self, _: u64, _: &Head, _: &[i64], _: &[f32]) -> Result<()> {
            Ok(())
        }
    }
    let mut configs = Configs { found: BTreeMap::new(), described: HashMap::new() };
    for (first, path) in journal::list_whole(dir).unwrap_or_default() {
        // Damage is reported when the calls are made again.
        let _ = journal::read_whole(&path, first, u64::MAX, &mut configs);
    }
    configs.found
}
