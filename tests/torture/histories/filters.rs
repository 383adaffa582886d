//! Copies of filters: those of a checkpoint, and those that wait in a storage. Which counts a
//! filter gets is what docs/formats.md says of the folder `filters`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::state::Key;

pub type Counts = BTreeMap<Key, u32>;

/// The counts of a filter, and the groups that it is for.
#[derive(Clone, Debug, PartialEq)]
struct Copy {
    number: usize,
    counts: Counts,
    groups: BTreeSet<u16>,
    /// Copies whose filter had taken these counts.
    part_of: BTreeSet<usize>,
}

/// All histories have one file of a filter, so every copy is a copy of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Copies {
    copies: Vec<Copy>,
    /// The copy whose counts the filter has.
    had: Option<usize>,
    /// The groups that copies were taken for.
    taken: BTreeMap<usize, BTreeSet<u16>>,
}

/// What becomes of a filter that is attached.
#[derive(Debug, PartialEq)]
pub enum Attached {
    /// It keeps its counts.
    Keeps,
    Gets(Counts),
    /// Counts wait that would replace its own.
    Refused,
}

impl Copies {
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    pub fn len(&self) -> usize {
        self.copies.len()
    }

    /// What a checkpoint has: the filter that is in use, and what waits.
    pub fn saved(counts: &Counts, attached: &BTreeSet<u16>, waiting: &Copies) -> Copies {
        let mut saved = Copies::default();
        if !attached.is_empty() {
            let (counts, groups) = (counts.clone(), attached.clone());
            saved.copies.push(Copy { number: 0, counts, groups, part_of: BTreeSet::new() });
        }
        let first = saved.len();
        let renumbered = |old: usize| {
            waiting.copies.iter().position(|copy| copy.number == old).map(|index| first + index)
        };
        for (index, copy) in waiting.copies.iter().enumerate() {
            let mut part_of: BTreeSet<usize> =
                copy.part_of.iter().filter_map(|old| renumbered(*old)).collect();
            if first > 0 && waiting.had.is_some_and(|had| copy.is_in(had)) {
                part_of.insert(0);
            }
            saved.copies.push(Copy { number: first + index, part_of, ..copy.clone() });
        }
        saved
    }

    /// The filter, which groups have, is attached to one more.
    pub fn attach(&mut self, group: u16, groups: &BTreeSet<u16>) -> Attached {
        let one = BTreeSet::from([group]);
        let Some(found) = self.find(&one) else { return Attached::Keeps };
        let Some(had) = self.had else {
            if groups.iter().any(|other| *other != group) {
                return Attached::Refused;
            }
            return Attached::Gets(self.take(found, &one));
        };
        let has = |copy: &Copy| copy.groups.contains(&group) && copy.is_in(had);
        if let Some(index) = self.copies.iter().position(has) {
            self.note_taken(index, &one);
            return Attached::Keeps;
        }
        let was_taken = self.taken.get(&had).is_some_and(|groups| groups.contains(&group));
        if was_taken { Attached::Keeps } else { Attached::Refused }
    }

    /// These were loaded while the filter was attached to groups; the counts that it gets.
    pub fn load(&mut self, attached: &BTreeSet<u16>) -> Option<Counts> {
        self.find(attached).map(|found| self.take(found, attached))
    }

    /// The copy for these groups; if it is a part of another one, that.
    fn find(&self, groups: &BTreeSet<u16>) -> Option<usize> {
        let found = self.copies.iter().position(|copy| !copy.groups.is_disjoint(groups))?;
        let part_of = &self.copies[found].part_of;
        Some(self.copies.iter().position(|copy| part_of.contains(&copy.number)).unwrap_or(found))
    }

    fn take(&mut self, index: usize, groups: &BTreeSet<u16>) -> Counts {
        let Copy { number, counts, .. } = self.copies[index].clone();
        self.had = Some(number);
        self.note_taken(index, groups);
        counts
    }

    fn note_taken(&mut self, index: usize, groups: &BTreeSet<u16>) {
        let number = self.copies[index].number;
        for copy in self.copies.iter_mut().filter(|copy| copy.is_in(number)) {
            copy.groups.retain(|group| !groups.contains(group));
        }
        self.taken.entry(number).or_default().extend(groups);
        self.copies.retain(|copy| !copy.groups.is_empty());
    }
}

impl Copy {
    /// Whether who has that copy has these counts.
    fn is_in(&self, number: usize) -> bool {
        self.number == number || self.part_of.contains(&number)
    }
}

/// As it travels between processes.
#[derive(Serialize, Deserialize)]
struct Flat {
    copies: Vec<FlatCopy>,
    had: Option<usize>,
    taken: Vec<(usize, BTreeSet<u16>)>,
}

#[derive(Serialize, Deserialize)]
struct FlatCopy {
    number: usize,
    counts: Vec<(Key, u32)>,
    groups: BTreeSet<u16>,
    part_of: BTreeSet<usize>,
}

impl Serialize for Copies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flat = |copy: &Copy| {
            let Copy { number, counts, groups, part_of } = copy.clone();
            FlatCopy { number, counts: counts.into_iter().collect(), groups, part_of }
        };
        let copies = self.copies.iter().map(flat).collect();
        Flat { copies, had: self.had, taken: self.taken.clone().into_iter().collect() }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Copies, D::Error> {
        let copy = |FlatCopy { number, counts, groups, part_of }: FlatCopy| Copy {
            number,
            counts: counts.into_iter().collect(),
            groups,
            part_of,
        };
        let Flat { copies, had, taken } = Flat::deserialize(deserializer)?;
        Ok(Copies {
            copies: copies.into_iter().map(copy).collect(),
            had,
            taken: taken.into_iter().collect(),
        })
    }
}
