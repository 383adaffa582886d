//! Where the rows can be divided, so that several threads read them.

use rust_rocksdb::Range;

use super::key::{self, KEY_LEN};
use super::{Rocks, translate};
use crate::error::Result;

/// The keys from `start` up to `end`, without `end`. None: up to the last key of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    pub(crate) start: [u8; KEY_LEN],
    pub(crate) end: Option<[u8; KEY_LEN]>,
}

impl KeyRange {
    /// Every key there is.
    pub(crate) fn all() -> KeyRange {
        KeyRange { start: key::encode(0, i64::MIN), end: None }
    }

    /// Makes ranges adjoin, and begin and end with all keys. Then they also have keys that no group
    /// should have.
    pub(crate) fn close_gaps(ranges: &mut Vec<KeyRange>) {
        if ranges.is_empty() {
            ranges.push(KeyRange::all());
        }
        let starts: Vec<_> =
            ranges.iter().skip(1).map(|range| Some(range.start)).chain([None]).collect();
        ranges.iter_mut().zip(starts).for_each(|(range, next)| range.end = next);
        if let Some(first) = ranges.first_mut() {
            first.start = key::encode(0, i64::MIN);
        }
    }
}

/// A range is divided only from this many times the wanted bytes on.
const SMALL: u64 = 2;

impl Rocks {
    /// Ascending ranges that together have all keys of ascending `groups`. Each has about this many
    /// bytes on disk, or fewer.
    pub(crate) fn ranges(&self, groups: &[u16], bytes: u64) -> Result<Vec<KeyRange>> {
        let mut ranges = Vec::new();
        for &group in groups {
            let start = key::encode(group, i64::MIN);
            let end = group.checked_add(1).map(|next| key::encode(next, i64::MIN));
            let size = self.size_between(start, end.unwrap_or([u8::MAX; KEY_LEN]))?;
            let mut cuts = Vec::new();
            if size >= SMALL * bytes {
                // Keys in their order: 0 to 2^64.
                self.divide(group, (0, 1 << 64), size, bytes, &mut cuts)?;
            }
            let starts = std::iter::once(start).chain(cuts.iter().copied());
            let ends = cuts.iter().copied().map(Some).chain(std::iter::once(end));
            ranges.extend(starts.zip(ends).map(|(start, end)| KeyRange { start, end }));
        }
        Ok(ranges)
    }

    /// Adds to `cuts`, ascending, the keys at which a range should be divided.
    fn divide(
        &self,
        group: u16,
        (low, high): (u128, u128),
        size: u64,
        bytes: u64,
        cuts: &mut Vec<[u8; KEY_LEN]>,
    ) -> Result<()> {
        let middle = low + (high - low) / 2;
        if size < SMALL * bytes || middle == low {
            return Ok(());
        }
        let at = |place: u128| match u64::try_from(place) {
            Ok(place) => key::encode(group, (place ^ (1 << 63)) as i64),
            Err(_) => {
                group.checked_add(1).map_or([u8::MAX; KEY_LEN], |next| key::encode(next, i64::MIN))
            }
        };
        let below = self.size_between(at(low), at(middle))?;
        self.divide(group, (low, middle), below, bytes, cuts)?;
        // If one half has next to nothing, a cut would only make an empty range.
        if below >= bytes / 2 && size.saturating_sub(below) >= bytes / 2 {
            cuts.push(at(middle));
        }
        self.divide(group, (middle, high), size.saturating_sub(below), bytes, cuts)
    }

    fn size_between(&self, start: [u8; KEY_LEN], end: [u8; KEY_LEN]) -> Result<u64> {
        let sizes = self.db.get_approximate_sizes(&[Range::new(&start, &end)]);
        sizes.map(|sizes| sizes.into_iter().sum()).map_err(|error| translate(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_closed() {
        let range = |start: u16, end: Option<u16>| KeyRange {
            start: key::encode(start, i64::MIN),
            end: end.map(|end| key::encode(end, i64::MIN)),
        };
        let mut ranges = vec![range(3, Some(4)), range(7, Some(8))];
        KeyRange::close_gaps(&mut ranges);
        assert_eq!(ranges, [range(0, Some(7)), range(7, None)]);
        let mut none = Vec::new();
        KeyRange::close_gaps(&mut none);
        assert_eq!(none, [KeyRange::all()]);
    }
}
