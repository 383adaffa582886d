//! The keys that may have had rows in lost files and blocks.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::rocks::Live;

/// Ranges of stored keys: above the first key of a pair, up to and with the second.
#[derive(Default)]
pub(super) struct Lost {
    /// The ranges do not overlap.
    ranges: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Not even the range of keys of some lost part is known, so any key may be in it.
    everything: bool,
}

impl Lost {
    /// Adds a block: the last key before it, and its largest possible key.
    pub(super) fn add_block(&mut self, (above, up_to): (Vec<u8>, Vec<u8>)) {
        self.add(above, up_to);
    }

    fn add(&mut self, mut above: Vec<u8>, mut up_to: Vec<u8>) {
        if above >= up_to {
            return;
        }
        // Joins the ranges that the new one meets. If it meets any, it meets the last one that
        // begins up to its end.
        while let Some((other_above, other_up_to)) = self.ranges.range(..=up_to.clone()).next_back()
            && *other_up_to >= above
        {
            let (other_above, other_up_to) = (other_above.clone(), other_up_to.clone());
            self.ranges.remove(&other_above);
            above = above.min(other_above);
            up_to = up_to.max(other_up_to);
        }
        self.ranges.insert(above, up_to);
    }

    /// Adds a file of which nothing can be read. `live` is the MANIFEST's entry for it.
    pub(super) fn add_file(&mut self, live: Option<&Live>) {
        match live {
            Some(live) if !live.last.is_empty() => {
                // The file has its first key, so the range begins below that key.
                let mut above = live.first.clone();
                while above.last() == Some(&0) {
                    above.pop();
                }
                if let Some(last) = above.last_mut() {
                    *last -= 1;
                    above.extend([u8::MAX; 16]);
                }
                self.add(above, live.last.clone());
            }
            _ => self.everything = true,
        }
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        let below = (Bound::Unbounded, Bound::Excluded(key));
        let last = self.ranges.range::<[u8], _>(below).next_back();
        self.everything || last.is_some_and(|(_, up_to)| key <= up_to.as_slice())
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.everything && self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_first_and_last_key_and_what_is_between() {
        let mut lost = Lost::default();
        assert!(lost.is_empty() && !lost.has(b"b"));
        let live = Live {
            name: String::new(),
            size: 9,
            seqno: 1,
            smallest_seqno: 1,
            first: vec![1, 0, 0],
            last: vec![3, 7],
            entries: Some(2),
            is_rows: true,
        };
        lost.add_file(Some(&live));
        for key in [&[1, 0, 0][..], &[1, 0, 1], &[2], &[3, 7]] {
            assert!(lost.has(key), "{key:?}");
        }
        for key in [&[0, 255, 255][..], &[3, 8], &[3, 7, 0]] {
            assert!(!lost.has(key), "{key:?}");
        }
        lost.add_file(None);
        assert!(lost.has(&[9]));
    }

    #[test]
    fn a_block_ends_where_the_next_begins() {
        let mut lost = Lost::default();
        lost.add_block((vec![1], vec![2]));
        assert!(!lost.has(&[1]) && lost.has(&[1, 0]) && lost.has(&[2]) && !lost.has(&[2, 0]));
    }

    #[test]
    fn ranges_that_meet_are_joined() {
        // Each in turn first, so that they meet from above, from below, and from both sides.
        let ranges = [(1, 3), (2, 5), (5, 6), (8, 9), (4, 4), (12, 20), (13, 14)];
        for first in 0..ranges.len() {
            let mut lost = Lost::default();
            for index in 0..ranges.len() {
                let (above, up_to) = ranges[(first + index) % ranges.len()];
                lost.add_block((vec![above], vec![up_to]));
            }
            assert_eq!(lost.ranges.len(), 3, "{:?}", lost.ranges);
            let found: Vec<u8> = (0..22).filter(|key| lost.has(&[*key])).collect();
            let expected: Vec<u8> = (0..22)
                .filter(|key| ranges.iter().any(|(above, up_to)| key > above && key <= up_to))
                .collect();
            assert_eq!(found, expected);
        }
    }
}
