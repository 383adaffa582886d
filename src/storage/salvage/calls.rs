//! Replays the journal's calls on top of the saved rows, as far as that is sound.
//!
//! A call is sound if no call before it is missing. So calls are replayed in the order of their
//! sequence numbers, up to the first damage. A gradient also needs its row's last state. If that
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
use crate::journal::{self, CallKind, Head, Replay, Token};
use crate::rocks::key;
use crate::seqno::Seqno;

struct Calls<'a> {
    open_groups: OpenGroups<'a>,
    groups: HashSet<u16>,
    lost: &'a Lost,
    /// Keys whose lost rows are known again, by an insert or a delete.
    known: HashSet<(u16, i64)>,
    /// Groups that a clear has emptied: the state of all their rows is known again.
    cleared: HashSet<u16>,
    /// The configurations in this file of the journal. They tell how many floats a key has.
    described: HashMap<u32, GroupConfig>,
    /// The configurations in this file that do not fit their groups: the group, and why not.
    unfit: HashMap<u32, (u16, String)>,
    /// A call is missing: later calls are only counted.
    has_stopped: bool,
    /// An error that is not damage.
    failure: Option<crate::error::Error>,
    /// The call that was seen last.
    latest: Seqno,
    applied: u64,
    left_out: u64,
    steps_left_out: u64,
}

/// What is known of the journal.
pub(super) struct Known {
    pub(super) document: Option<JournalDocument>,
    /// The document is the latest, not an older one that was left when the latest was lost.
    pub(super) is_latest: bool,
}

impl Known {
    /// The document, if it is the latest.
    fn latest(&self) -> Option<&JournalDocument> {
        self.document.as_ref().filter(|_| self.is_latest)
    }
}

/// Replays the calls that are not on disk as rows: those after the number in the latest document,
/// or else all calls in the journal. A row has the sequence number of its last change, so no call
/// is applied to it twice.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`: of the new storage, or for want of descriptors or memory to read the
/// journal.
pub(super) fn apply(
    engine: &Engine,
    dir: &Path,
    known: &Known,
    lost: &Lost,
    salvaged: &mut Salvaged,
) -> Result<()> {
    let latest = known.latest();
    // In a storage that was closed, all calls are on disk as rows.
    if latest.is_some_and(|document| !document.is_active()) {
        return Ok(());
    }
    let files = match journal::list_whole(dir) {
        Ok(files) => files,
        // With durability `checkpoint` there may be no journal.
        Err(error) if error.kind() == ErrorKind::NotFound && latest.is_none() => Vec::new(),
        Err(error) => return salvaged.tell(format!("journal: {error}")),
    };
    let mut calls = Calls {
        open_groups: OpenGroups::new(engine),
        groups: engine.groups().iter().map(|group| group.id()).collect(),
        lost,
        known: HashSet::new(),
        cleared: HashSet::new(),
        described: HashMap::new(),
        unfit: HashMap::new(),
        has_stopped: false,
        failure: None,
        latest: Seqno::NONE,
        applied: 0,
        left_out: 0,
        steps_left_out: 0,
    };
    let ttl_ms = engine.expiry.ttl_ms();
    engine.expiry.set_ttl_ms(known.document.as_ref().map_or(ttl_ms, JournalDocument::ttl_ms));
    let read = calls.read(&files, known, salvaged);
    engine.expiry.set_ttl_ms(ttl_ms);
    let last = read?;
    salvaged.calls_applied = calls.applied;
    salvaged.calls_left_out = calls.left_out;
    salvaged.steps_left_out = calls.steps_left_out;
    engine.last_seqno.fetch_max(last, std::sync::atomic::Ordering::AcqRel);
    Ok(())
}

impl Calls<'_> {
    /// Reads the files and replays their calls. Returns the sequence number of the last one.
    fn read(
        &mut self,
        files: &[(Seqno, PathBuf)],
        known: &Known,
        salvaged: &mut Salvaged,
    ) -> Result<Seqno> {
        // Calls up to this one are on disk, and maybe later ones.
        let through = known.document.as_ref().map_or(Seqno::NONE, JournalDocument::through);
        // Without the latest document, the calls on disk end where the oldest file begins: a file
        // is deleted once its calls are on disk as rows.
        let before = files.first().map_or(through, |(first, _)| first.previous());
        let mut last = known.latest().map_or(before.max(through), JournalDocument::through);
        if known.latest().is_some() && files.is_empty() {
            salvaged.tell("journal: it has no files".to_owned())?;
        }
        if known.latest().is_none() && known.document.is_some() && before > through {
            let what = "were deleted as rows, or are lost: the record that said so is";
            salvaged.tell(format!("journal: calls {} to {before} {what}", through.next()))?;
        }
        let (mut is_end, mut has_ended) = (true, false);
        for (first, path) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !self.has_stopped && (*first > last.next() || !is_end) {
                self.has_stopped = true;
                salvaged.tell(format!("journal/{name}: calls before {first} are missing"))?;
            }
            // A file that cannot be checked here cannot be read either, which is reported below.
            let is_headerless = journal::is_headerless(path).unwrap_or(false);
            if (has_ended || *first == before.next()) && is_headerless {
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

    /// The keys and floats of a call, without the steps of rows whose last state may be lost.
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
        self.open_groups.segment();
    }

    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        if let Ok(described) = serde_json::from_slice::<GroupConfig>(description) {
            self.described.insert(config, described.clone());
        }
        if self.has_stopped || !self.groups.contains(&group) {
            return Ok(());
        }
        match self.open_groups.config(group, config, description) {
            Ok(()) => Ok(()),
            // The configuration does not fit what is known of its group.
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
            None => self.open_groups.floats_a_key(head),
        }
    }

    fn call(&mut self, seqno: Seqno, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        let is_known = self.groups.contains(&head.group) && !self.unfit.contains_key(&head.config);
        // A training step comes as a call for each of its groups.
        let is_new = std::mem::replace(&mut self.latest, seqno) != seqno;
        if self.has_stopped || !is_known {
            self.left_out += u64::from(is_new);
            return Ok(());
        }
        let mut work = || match head.kind {
            CallKind::Gradients if !self.lost.is_empty() => {
                let (keys, floats) = self.sound(head, keys, floats);
                self.open_groups.call(seqno, head, &keys, &floats)
            }
            _ => {
                match head.kind {
                    CallKind::Insert | CallKind::InsertRecords | CallKind::Delete => {
                        self.known.extend(keys.iter().map(|key| (head.group, *key)));
                    }
                    CallKind::Clear => drop(self.cleared.insert(head.group)),
                    _ => {}
                }
                self.open_groups.call(seqno, head, keys, floats)
            }
        };
        let outcome = work();
        self.applied += u64::from(is_new);
        outcome.inspect_err(|error| self.failure = Some(error.clone()))
    }

    fn once(&mut self, seqno: Seqno, group: u16, token: Token, time: u64) {
        if !self.has_stopped {
            self.open_groups.once(seqno, group, token, time);
        }
    }

    fn forget(&mut self, seqno: Seqno, group: u16, client: u64) {
        if !self.has_stopped {
            self.open_groups.forget(seqno, group, client);
        }
    }
}

/// The descriptions of groups in the journal, the latest of each group.
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

        fn call(&mut self, _: Seqno, _: &Head, _: &[i64], _: &[f32]) -> Result<()> {
            Ok(())
        }
    }
    let mut configs = Configs { found: BTreeMap::new(), described: HashMap::new() };
    for (first, path) in journal::list_whole(dir).unwrap_or_default() {
        // Damage is reported when the calls are replayed.
        let _ = journal::read_whole(&path, first, Seqno::MAX, &mut configs);
    }
    configs.found
}
