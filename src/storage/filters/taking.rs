//! Which counts a filter takes from a list of copies.
//!
//! A filter that takes the counts of a copy notes its source in its own file: the list's id and the
//! copy's number. So the filter with the counts can be told, wherever its file is moved or copied
//! to, from another that later has the same path.

use std::path::Path;

use super::list::{CopyList, FilterCopy, Taken};
use crate::error::{Error, Result};
use crate::filter::Source;
use crate::random_id::random_id;

/// What becomes of a filter that is about to be attached to a group.
#[derive(Debug, PartialEq)]
pub(super) enum Claim {
    /// No counts wait for the group, or the filter took the group's counts earlier.
    Nothing,
    /// The filter has the counts of this copy already.
    Has(usize),
    /// The filter takes the counts of this copy.
    Takes(usize),
    /// The filter has counts of another copy, which these would replace.
    Refused,
}

impl CopyList {
    /// The copy that a filter at `path` with these groups gets its counts from: one with a group in
    /// common, by preference one of the same path.
    pub(super) fn find(&self, path: &str, groups: &[u16]) -> Option<usize> {
        let has_group = |copy: &FilterCopy| copy.groups.iter().any(|group| groups.contains(group));
        let found = self.best(path, has_group)?;
        // A copy that includes these counts is preferred: it leaves no other to wait for this
        // filter.
        Some(
            self.best(path, |copy| self.copies[found].part_of.contains(&copy.file))
                .unwrap_or(found),
        )
    }

    /// A copy that `is_one` accepts, by preference one of the file at `path`.
    fn best(&self, path: &str, is_one: impl Fn(&FilterCopy) -> bool) -> Option<usize> {
        let same_path = self.copies.iter().position(|copy| copy.path == path && is_one(copy));
        same_path.or_else(|| self.copies.iter().position(is_one))
    }

    /// Decides what becomes of a filter at `path` whose counts are from `source`.
    pub(super) fn claim(&self, path: &str, source: Source, group: u16) -> Claim {
        let Some(found) = self.find(path, &[group]) else { return Claim::Nothing };
        let Some(had) = self.copy_of(source) else { return Claim::Takes(found) };
        let has = |copy: &FilterCopy| copy.groups.contains(&group) && copy.is_in(&had);
        if let Some(index) = self.copies.iter().position(has) {
            return Claim::Has(index);
        }
        let was_taken = |taken: &Taken| taken.file == had && taken.groups.contains(&group);
        if self.taken.iter().any(was_taken) { Claim::Nothing } else { Claim::Refused }
    }

    /// Notes that a filter of `groups` has the counts of this copy. The copy, and copies that are
    /// part of it, no longer wait for these groups.
    pub(super) fn note_taken(&mut self, index: usize, groups: &[u16]) {
        let file = self.copies[index].file.clone();
        for copy in self.copies.iter_mut().filter(|copy| copy.is_in(&file)) {
            copy.groups.retain(|group| !groups.contains(group));
        }
        match self.taken.iter_mut().find(|taken| taken.file == file) {
            Some(taken) => taken.groups.extend(groups),
            None => self.taken.push(Taken { file, groups: groups.to_vec() }),
        }
    }

    /// Forgets copies that wait for no group any more.
    pub(super) fn forget_given(&mut self) {
        self.copies.retain(|copy| !copy.groups.is_empty());
    }

    /// The source that a filter with the counts of this copy notes.
    ///
    /// # Errors
    /// `CORRUPTION` when the list's id or the copy's name is not valid.
    pub(super) fn source(&mut self, index: usize, folder: &Path) -> Result<Source> {
        let id = self.id.get_or_insert_with(|| random_id()[..2 * ID_LEN].to_owned());
        let file = &self.copies[index].file;
        let mut source = [0; 16];
        let is_id = id.is_ascii() && id.len() == 2 * ID_LEN;
        let parsed = is_id.then(|| u128::from_str_radix(id, 16).ok()).flatten();
        let number = file.split('.').next().and_then(|digits| digits.parse::<u32>().ok());
        match (parsed, number) {
            (Some(id), Some(number)) => {
                source[..ID_LEN].copy_from_slice(&id.to_be_bytes()[16 - ID_LEN..]);
                source[ID_LEN..].copy_from_slice(&number.to_be_bytes());
                Ok(source)
            }
            _ => Err(Error::corruption(format!(
                "the list of filters in '{}' is damaged: its id is '{id}', and it names '{file}'",
                folder.display()
            ))),
        }
    }

    /// The copy of this list that a source names; the copy may be gone.
    pub(super) fn copy_of(&self, source: Source) -> Option<String> {
        let id: String = source[..ID_LEN].iter().map(|byte| format!("{byte:02x}")).collect();
        let mut number = [0; 4];
        number.copy_from_slice(&source[ID_LEN..]);
        (self.id.as_ref() == Some(&id)).then(|| format!("{}.filter", u32::from_be_bytes(number)))
    }
}

/// Bytes of a list's id in a source. The copy's number follows.
const ID_LEN: usize = 12;

impl FilterCopy {
    /// Whether the copy `file` includes this one's counts.
    pub(super) fn is_in(&self, file: &str) -> bool {
        self.file == file || self.part_of.iter().any(|other| other == file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(number: usize, path: &str, groups: &[u16]) -> FilterCopy {
        let file = format!("{number}.filter");
        FilterCopy { file, path: path.to_owned(), groups: groups.to_vec(), part_of: Vec::new() }
    }

    const NONE: Source = [0; 16];

    #[test]
    fn only_copies_of_the_group_are_taken_and_the_same_path_is_preferred() {
        let list =
            CopyList::new(vec![copy(0, "a", &[1]), copy(1, "b", &[2, 3]), copy(2, "c", &[3])]);
        assert_eq!(list.claim("a", NONE, 2), Claim::Takes(1));
        assert_eq!(list.claim("b", NONE, 1), Claim::Takes(0));
        assert_eq!(list.claim("c", NONE, 3), Claim::Takes(2));
        assert_eq!(list.claim("a", NONE, 9), Claim::Nothing);
        assert_eq!(list.find("b", &[1, 2]), Some(1));
        assert_eq!(list.find("other", &[1, 2]), Some(0));
    }

    #[test]
    fn who_has_counts_of_a_list_gets_no_others_of_it() {
        let mut list = CopyList::new(vec![copy(0, "a", &[1, 2]), copy(1, "b", &[1, 3])]);
        let source = list.source(0, Path::new("")).unwrap();
        list.note_taken(0, &[1]);
        assert_eq!(list.claim("a", source, 2), Claim::Has(0));
        assert_eq!(
            list.claim("a", source, 1),
            Claim::Nothing,
            "it has counts of that group already"
        );
        assert_eq!(list.claim("a", source, 3), Claim::Refused);
        assert_eq!(list.claim("a", NONE, 2), Claim::Takes(0), "another filter at the same path");
        list.note_taken(0, &[2]);
        list.forget_given();
        assert_eq!((list.copies.len(), list.claim("a", source, 3)), (1, Claim::Refused));
        // A list that was loaded anew has another id.
        list.id = None;
        list.source(0, Path::new("")).unwrap();
        assert_eq!(list.claim("a", source, 3), Claim::Takes(0));
    }

    #[test]
    fn a_copy_that_has_the_counts_of_another_counts_for_it() {
        let mut list = CopyList::new(vec![copy(0, "a", &[1]), copy(1, "b", &[2])]);
        list.copies[1].part_of.push("0.filter".to_owned());
        assert_eq!([list.find("b", &[2]), list.find("z", &[1])], [Some(0); 2]);
        let source = list.source(0, Path::new("")).unwrap();
        list.note_taken(0, &[1]);
        list.forget_given();
        assert_eq!(list.claim("z", source, 2), Claim::Has(0));
    }
}
