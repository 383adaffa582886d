//! Which keys may have had rows in what is lost.

use crate::storage::rocks::Live;

/// Ranges of keys, as they are stored: above the first, up to the second.
#[derive(Default)]
pub(super) struct Lost {
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
    /// Of some lost part not even the keys' range is known, so any key may be in it.
    everything: bool,
}

impl Lost {
    /// Adds a block whose neighbours are known.
    pub(super) fn add_block(&mut self, (above, up_to): (Vec<u8>, Vec<u8>)) {
        self.ranges.push((above, up_to));
    }

    /// Adds a file of which nothing can be read; `live` is what the MANIFEST says of it.
    pub(super) fn add_file(&mut self, live: Option<&Live>) {
        match live {
            Some(live) if !live.last.is_empty() => {
                // The first key belongs to it.
                let mut above = live.first.clone();
                while above.last() == Some(&0) {
                    above.pop();
                }
                if let Some(last) = above.last_mut() {
                    *last -= 1;
                    above.extend([u8::MAX; 16]);
                }
                self.ranges.push((above, live.last.clone()));
            }
            _ => self.everything = true,
        }
    }

    pub(super) fn has(&self, key: &[u8]) -> bool {
        let within = |(above, up_to): &(Vec<u8>, Vec<u8>)| key > above.as_slice() && key <= up_to.as_slice();
        self.everything || self.ranges.iter().any(within)
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
            seqno: 1,
            first: vec![1, 0, 0],
            last: vec![3, 7],
            entries: 2,
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
}
