//! Which rows of a moment belong to a dump, and which keys an increment lists as gone.

use super::bases::Base;
use crate::engine::cut::Cut;
use crate::engine::expiry::DAY_MS;
use crate::rocks::row::Stored;

/// What a dump does with a stored row or tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Choice {
    Row,
    /// The base dump may have its row, and the present state does not.
    Removed,
    Skip,
}

/// Chooses the rows of a dump: those that were updated often and recently enough; for an increment,
/// what changed since the base dump.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Select {
    /// Rows last updated before this have expired, or are not wanted.
    pub(in crate::storage) cutoff: u64,
    pub(in crate::storage) min_count: u64,
    pub(in crate::storage) since: Option<Base>,
}

impl Select {
    /// Every row that has not expired.
    pub(in crate::storage) fn all(cut: Cut) -> Select {
        Select { cutoff: cut.cutoff, min_count: 0, since: None }
    }

    pub(in crate::storage) fn choose(&self, stored: &Stored<'_>) -> Choice {
        let Stored::Row(header, _) = stored else { return self.choose_tombstone(stored) };
        let (time, seqno) = (header.update_time, header.seqno);
        let is_wanted = time >= self.cutoff && header.update_num >= self.min_count;
        let Some(base) = &self.since else {
            return if is_wanted { Choice::Row } else { Choice::Skip };
        };
        // A row that a lookup made after the base dump carries the base's sequence number, and has
        // no updates. Under a longer TTL than the base's, a row that had expired is visible again.
        let is_new = seqno > base.seqno || (seqno == base.seqno && header.update_num == 0);
        let is_back = time < base.later_cutoff;
        match is_wanted {
            true if is_new || is_back => Choice::Row,
            false if is_new || (time >= base.cutoff && time < self.cutoff) => Choice::Removed,
            _ => Choice::Skip,
        }
    }

    fn choose_tombstone(&self, tombstone: &Stored<'_>) -> Choice {
        let is_later = match (&self.since, tombstone) {
            (Some(base), Stored::Deleted { seqno, .. }) => *seqno > base.seqno,
            // The tombstone of an expired row has only the day on which merging dropped the row.
            (Some(base), Stored::Expired { day }) => *day >= base.time / DAY_MS,
            _ => false,
        };
        if is_later { Choice::Removed } else { Choice::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::row::RowHeader;
    use crate::seqno::Seqno;

    fn row(update_time: u64, update_num: u64, seqno: u64) -> Stored<'static> {
        Stored::Row(RowHeader { update_time, update_num, seqno: Seqno::new(seqno) }, &[])
    }

    #[test]
    fn a_full_dump_has_what_is_young_and_frequent() {
        let select = Select { cutoff: 50, min_count: 2, since: None };
        assert_eq!(select.choose(&row(50, 2, 9)), Choice::Row);
        assert_eq!(select.choose(&row(49, 2, 9)), Choice::Skip);
        assert_eq!(select.choose(&row(50, 1, 9)), Choice::Skip);
        assert_eq!(
            select.choose(&Stored::Deleted { time: 99, seqno: Seqno::new(99) }),
            Choice::Skip
        );
    }

    #[test]
    fn an_increment_has_what_changed_and_what_went() {
        let base = Base {
            seqno: Seqno::new(10),
            time: 3 * DAY_MS,
            later_time: 0,
            cutoff: 40,
            later_cutoff: 40,
            group: None,
            min_count: 2,
        };
        let select = Select { cutoff: 50, min_count: 2, since: Some(base) };
        for (stored, choice) in [
            (row(60, 2, 11), Choice::Row),
            (row(60, 2, 10), Choice::Skip),
            // Made by a lookup: too few updates to be in the dump, but the base may have the key.
            (row(60, 0, 10), Choice::Removed),
            (row(60, 1, 11), Choice::Removed),
            (row(60, 1, 9), Choice::Skip),
            // Expired since the base dump, and before it.
            (row(45, 5, 9), Choice::Removed),
            (row(39, 5, 9), Choice::Skip),
            (Stored::Deleted { time: 60, seqno: Seqno::new(11) }, Choice::Removed),
            (Stored::Deleted { time: 60, seqno: Seqno::new(10) }, Choice::Skip),
            (Stored::Expired { day: 3 }, Choice::Removed),
            (Stored::Expired { day: 2 }, Choice::Skip),
        ] {
            assert_eq!(select.choose(&stored), choice, "{stored:?}");
        }
        // A longer TTL than the base's brings a row back.
        let longer = Select { cutoff: 30, ..select };
        assert_eq!(longer.choose(&row(35, 5, 9)), Choice::Row);
    }
}
