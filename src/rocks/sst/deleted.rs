//! Deletions of ranges, found by key. Each clear of a group makes one, so there may be many.

use std::collections::BTreeMap;

use super::rows::Version;
use crate::rocks::key::Ordinal;

/// A deletion of all older rows from `start` up to `end`, without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rocks) struct DeletedRange {
    pub(in crate::rocks) start: Ordinal,
    pub(in crate::rocks) end: Ordinal,
    pub(in crate::rocks) seqno: u64,
}

/// Deletions of ranges, which may overlap.
#[derive(Default)]
pub(in crate::rocks) struct DeletedRanges {
    /// Keys in ascending order, each with a sequence number. A piece goes from its key up to the
    /// next one. Rows there that are older than the number are deleted. The number is that of the
    /// latest deletion there, or 0.
    pieces: Vec<(Ordinal, u64)>,
}

impl DeletedRanges {
    pub(in crate::rocks) fn new(ranges: impl Iterator<Item = DeletedRange>) -> DeletedRanges {
        let mut ends: Vec<(Ordinal, u64, bool)> = Vec::new();
        for range in ranges {
            ends.push((range.start, range.seqno, true));
            ends.push((range.end, range.seqno, false));
        }
        ends.sort_unstable();
        let mut pieces: Vec<(Ordinal, u64)> = Vec::new();
        // How many deletions with each sequence number have begun and not ended.
        let mut begun: BTreeMap<u64, isize> = BTreeMap::new();
        for (key, seqno, begins) in ends {
            let count = begun.entry(seqno).or_default();
            *count += if begins { 1 } else { -1 };
            if *count == 0 {
                begun.remove(&seqno);
            }
            pieces.pop_if(|(before, _)| *before == key);
            let latest = begun.last_key_value().map_or(0, |(seqno, _)| *seqno);
            if pieces.last().is_none_or(|(_, before)| *before != latest) {
                pieces.push((key, latest));
            }
        }
        pieces.shrink_to_fit();
        DeletedRanges { pieces }
    }

    /// Whether there are no deletions.
    #[cfg(test)]
    pub(in crate::rocks) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether a later deletion of a range has deleted this row.
    pub(in crate::rocks) fn has(&self, entry: Version) -> bool {
        let after = self.pieces.partition_point(|(start, _)| *start <= entry.key);
        after > 0 && self.pieces[after - 1].1 > entry.seqno()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn has_one(ranges: &[DeletedRange], entry: Version) -> bool {
        ranges.iter().any(|range| {
            range.start <= entry.key && entry.key < range.end && range.seqno > entry.seqno()
        })
    }

    #[test]
    fn random_deletions_delete_what_one_of_them_deletes() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut deleted_rows = 0;
        for count in (0..40).chain([300]) {
            let mut ranges = Vec::new();
            for _ in 0..count {
                let start = random.random_range(0..60);
                let end = start + random.random_range(1..=(60 - start).min(12));
                ranges.push(DeletedRange { start, end, seqno: random.random_range(0..20) });
            }
            let deleted = DeletedRanges::new(ranges.iter().copied());
            assert!(deleted.pieces.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
            for key in 0..62 {
                for seqno in 0..21 {
                    let entry = Version::value(key, seqno);
                    assert_eq!(deleted.has(entry), has_one(&ranges, entry), "{ranges:?} {entry:?}");
                    deleted_rows += usize::from(deleted.has(entry));
                }
            }
        }
        assert!(deleted_rows > 5000, "{deleted_rows}");
    }

    #[test]
    fn a_group_with_many_deletions_is_one_piece() {
        let range = |start: Ordinal, seqno| DeletedRange { start, end: start + 10, seqno };
        let deleted = DeletedRanges::new((0..1000).map(|seqno| range(20, 1 + seqno)));
        assert_eq!(deleted.pieces, [(20, 1000), (30, 0)]);
        let deleted = DeletedRanges::new((0..1000).map(|group| range(group * 10, 5)));
        assert_eq!(deleted.pieces, [(0, 5), (10_000, 0)]);
        assert!(DeletedRanges::new([].into_iter()).is_empty());
    }
}
