//! The calls of the journal, made again on top of the rows that were saved, as far as that is
//! sound.
//!
//! A call is sound when every call before it is there. So calls are made in the order of their
//! numbers, up to the first damage. A gradient also needs the row as it was. If the row's last
//! state may be lost, the step is left out, unless an insert or a delete came in between: these do
//! not depend on what was before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::Salvaged;
use super::lost::Lost;
use crate::error::Result;
use crate::journal::{self, Head, Kind, Replay};
use crate::storage::group::GroupConfig;
use crate::storage::replay::{JournalRecord, Tables};
use crate::storage::{Core, key};

struct Calls<'a> {
    tables: Tables<'a>,
    groups: HashSet<u16>,
    lost: &'a Lost,
    /// Keys in what is lost whose rows are known again, by an insert or a delete.
    known: HashSet<(u16, i64)>,
    /// How many floats a key has, by the file's configurations.
    dims: HashMap<u32, usize>,
    /// A call is missing: from here on calls are only counted.
    has_stopped: bool,
    /// An error that is not damage.
    failure: Option<crate::error::Error>,
    applied: u64,
    left_out: u64,
    steps_left_out: u64,
}

/// Makes the calls again that `record` says are not on disk.
///
/// # Errors
/// `IO`, `OUT_OF_MEMORY`: of the new storage.
pub(super) fn apply(
    core: &Core,
    dir: &Path,
    record: Option<&JournalRecord>,
    lost: &Lost,
    salvaged: &mut Salvaged,
) -> Result<()> {
    // A storage that was closed has no calls that rows have not seen.
    if record.is_some_and(|record| !record.is_active()) {
        return Ok(());
    }
    let files = match journal::list_whole(dir) {
        Ok(files) => files,
        Err(what) => {
            if record.is_some() {
                salvaged.damage.push(format!("journal: {what}"));
            }
            return Ok(());
        }
    };
    let mut calls = Calls {
        tables: Tables::new(core),
        groups: core.groups().iter().map(|group| group.id()).collect(),
        lost,
        known: HashSet::new(),
        dims: HashMap::new(),
        has_stopped: false,
        failure: None,
        applied: 0,
        left_out: 0,
        steps_left_out: 0,
    };
    let ttl_ms = core.expiry.ttl_ms();
    core.expiry.set_ttl_ms(record.map_or(ttl_ms, JournalRecord::ttl_ms));
    // Without a record, the rows on disk end where the oldest file begins: a file is deleted once
    // its calls are on disk as rows.
    let through = record.map(JournalRecord::through);
    let mut last = through.or(files.first().map(|(first, _)| first - 1)).unwrap_or(0);
    let mut is_end = true;
    if through.is_some() && files.is_empty() {
        salvaged.damage.push("journal: it has no files".to_owned());
    }
    for (first, path) in &files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !calls.has_stopped && (*first > last + 1 || !is_end) {
            calls.has_stopped = true;
            salvaged.damage.push(format!("journal/{name}: calls before {first} are missing"));
        }
        let read = journal::read_whole(path, *first, through.unwrap_or(0), &mut calls);
        if let Some(error) = calls.failure.take() {
            core.expiry.set_ttl_ms(ttl_ms);
            return Err(error);
        }
        match read {
            Ok(end) => last = last.max(end),
            Err(error) => {
                is_end = false;
                let remark = "; what follows in it was not read";
                salvaged.damage.push(format!("journal/{name}: {}{remark}", error.message()));
            }
        }
    }
    core.expiry.set_ttl_ms(ttl_ms);
    salvaged.calls_applied = calls.applied;
    salvaged.calls_left_out = calls.left_out;
    salvaged.steps_left_out = calls.steps_left_out;
    core.last_number.fetch_max(last, std::sync::atomic::Ordering::AcqRel);
    Ok(())
}

impl Calls<'_> {
    /// Leaves out the steps of rows whose last state may be lost.
    fn sound(&mut self, head: &Head, keys: &[i64], floats: &[f32]) -> (Vec<i64>, Vec<f32>) {
        let dim = floats.len().checked_div(keys.len()).unwrap_or(0);
        let (mut sound_keys, mut sound_floats) = (Vec::new(), Vec::new());
        for (index, key) in keys.iter().enumerate() {
            if self.lost.has(&key::encode(head.group, *key)) && !self.known.contains(&(head.group, *key)) {
                self.steps_left_out += 1;
                continue;
            }
            sound_keys.push(*key);
            sound_floats.extend(floats.get(index * dim..(index + 1) * dim).unwrap_or_default());
        }
        (sound_keys, sound_floats)
    }
}

impl Replay for Calls<'_> {
    fn segment(&mut self) {
        self.dims.clear();
        self.tables.segment();
    }

    fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
        if let Ok(described) = serde_json::from_slice::<GroupConfig>(description) {
            self.dims.insert(config, described.dim);
        }
        if self.has_stopped || !self.groups.contains(&group) {
            return Ok(());
        }
        let outcome = self.tables.config(group, config, description);
        outcome.inspect_err(|error| self.failure = Some(error.clone()))
    }

    fn floats_a_key(&self, head: &Head) -> Result<usize> {
        match self.dims.get(&head.config) {
            Some(dim) => Ok(*dim),
            None => self.tables.floats_a_key(head),
        }
    }

    fn call(&mut self, number: u64, head: &Head, keys: &[i64], floats: &[f32]) -> Result<()> {
        if self.has_stopped || !self.groups.contains(&head.group) {
            self.left_out += 1;
            return Ok(());
        }
        let mut work = || match head.kind {
            Kind::Gradients if !self.lost.is_empty() => {
                let (keys, floats) = self.sound(head, keys, floats);
                self.tables.call(number, head, &keys, &floats)
            }
            _ => {
                if matches!(head.kind, Kind::Insert | Kind::Delete) {
                    self.known.extend(keys.iter().map(|key| (head.group, *key)));
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
        dims: HashMap<u32, usize>,
    }
    impl Replay for Configs {
        fn segment(&mut self) {
            self.dims.clear();
        }

        fn config(&mut self, group: u16, config: u32, description: &[u8]) -> Result<()> {
            if let Ok(described) = serde_json::from_slice::<GroupConfig>(description) {
                self.dims.insert(config, described.dim);
                if described.build().is_ok() {
                    self.found.insert(group, described);
                }
            }
            Ok(())
        }

        fn floats_a_key(&self, head: &Head) -> Result<usize> {
            let unknown = || crate::error::Error::corruption("a call without its configuration");
            self.dims.get(&head.config).copied().ok_or_else(unknown)
        }

        fn call(&mut self, _: u64, _: &Head, _: &[i64], _: &[f32]) -> Result<()> {
            Ok(())
        }
    }
    let mut configs = Configs { found: BTreeMap::new(), dims: HashMap::new() };
    for (first, path) in journal::list_whole(dir).unwrap_or_default() {
        // Damage is reported when the calls are made again.
        let _ = journal::read_whole(&path, first, u64::MAX, &mut configs);
    }
    configs.found
}
