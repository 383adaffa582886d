//! Copies of filters: those of a checkpoint, and those that wait in a storage.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::state::Key;

pub type Counts = BTreeMap<Key, u32>;

/// The counts of a filter, and the groups that it is for.
#[derive(Clone, Debug, PartialEq)]
struct Copy {
    counts: Counts,
    groups: BTreeSet<u16>,
    /// The filter's file has the counts already.
    is_taken: bool,
}

/// All histories have one file of a filter, so every copy is a copy of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies(Vec<Copy>);

impl Copies {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What a checkpoint has: the filter that is in use, and what waits.
    pub fn saved(counts: &Counts, attached: &BTreeSet<u16>, waiting: &Copies) -> Copies {
        let live = Copy { counts: counts.clone(), groups: attached.clone(), is_taken: false };
        let live = (!attached.is_empty()).then_some(live);
        Copies(live.into_iter().chain(waiting.0.iter().cloned()).collect())
    }

    /// The filter is attached to a group; the counts that it gets.
    pub fn attach(&mut self, group: u16) -> Option<Counts> {
        let first = self.0.first_mut()?;
        let counts = (!first.is_taken).then(|| first.counts.clone());
        if counts.is_some() || first.groups.contains(&group) {
            first.take(&BTreeSet::from([group]));
        }
        self.0.retain(|copy| !copy.groups.is_empty());
        counts
    }

    /// These were loaded while the filter was attached to groups; the counts that it gets.
    pub fn load(&mut self, attached: &BTreeSet<u16>) -> Option<Counts> {
        if attached.is_empty() {
            return None;
        }
        let first = self.0.first_mut()?;
        let counts = first.counts.clone();
        first.take(attached);
        self.0.retain(|copy| !copy.groups.is_empty());
        Some(counts)
    }
}

impl Copy {
    fn take(&mut self, groups: &BTreeSet<u16>) {
        self.is_taken = true;
        self.groups.retain(|group| !groups.contains(group));
    }
}

/// As it travels between processes.
#[derive(Serialize, Deserialize)]
struct Flat {
    counts: Vec<(Key, u32)>,
    groups: BTreeSet<u16>,
    is_taken: bool,
}

impl Serialize for Copies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flat = |copy: &Copy| {
            let Copy { counts, groups, is_taken } = copy.clone();
            Flat { counts: counts.into_iter().collect(), groups, is_taken }
        };
        self.0.iter().map(flat).collect::<Vec<Flat>>().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Copies, D::Error> {
        let copy = |Flat { counts, groups, is_taken }: Flat| Copy {
            counts: counts.into_iter().collect(),
            groups,
            is_taken,
        };
        Ok(Copies(Vec::deserialize(deserializer)?.into_iter().map(copy).collect()))
    }
}
