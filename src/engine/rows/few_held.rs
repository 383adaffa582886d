//! Holding the rows of few keys: what small calls do that change rows beside others (`few_changes`,
//! `few_commits`).

use crossbeam_epoch::Guard;

use super::few::AT_ONCE;
use super::kept::FEW;
use super::{OpenGroup, lines};
use crate::cache::{Hold, Place, Row, hash};
use crate::engine::Engine;
use crate::engine::rights::ChangeGuard;
use crate::error::Result;

/// The index of a key fits a byte.
const _: () = assert!(FEW <= 256);

/// The rows of a call, by the index of their key.
pub(super) type Rows<'g, const N: usize> = [Option<Row<'g>>; N];

/// Calls of no more keys than these have smaller lists of rows, which have to be cleared.
pub(super) const FEWER: usize = 8;
pub(super) const SOME: usize = 64;
/// How often a call tries, if one of its rows is pinned each time, before it takes turns.
const ATTEMPTS: usize = 3;

/// What became of a call.
pub(super) enum Tried {
    Done,
    /// A call in turns may have to change one of the rows first.
    Pinned,
    /// A row is not resident, or there is none.
    Lacking,
}

/// Makes a call beside others, if possible. False if it has to take turns instead: nothing has
/// changed then.
///
/// # Errors
/// Those of `attempt`.
#[inline(always)]
pub(super) fn try_beside(
    engine: &Engine,
    beside: ChangeGuard<'_>,
    mut attempt: impl FnMut(&ChangeGuard<'_>) -> Result<Tried>,
) -> Result<bool> {
    for _ in 0..ATTEMPTS {
        match attempt(&beside)? {
            Tried::Done => {
                drop(beside);
                engine.rows_changed();
                return Ok(true);
            }
            Tried::Pinned => beside.await_nobodys_turn(),
            Tried::Lacking => break,
        }
    }
    Ok(false)
}

/// Whether rows could be held.
#[derive(PartialEq, Eq)]
pub(super) enum Held {
    All,
    /// Another call holds one of them.
    Busy,
    /// One of them is not resident, or is not wanted.
    Lacking,
}

impl OpenGroup {
    /// Holds the rows of distinct keys. False if one of them is not resident, or is not `wanted`.
    pub(super) fn hold_all<'g, const N: usize>(
        &self,
        keys: &[i64],
        rows: &mut Rows<'g, N>,
        guard: &'g Guard,
        wanted: impl Fn(&Row<'_>) -> bool,
    ) -> bool {
        match self.try_hold_all(keys, rows, guard, &wanted) {
            Held::All => true,
            Held::Busy => self.hold_in_order(keys, rows, guard, wanted),
            Held::Lacking => false,
        }
    }

    /// As [`OpenGroup::hold_all`], but waits for nobody. Unless it holds all rows, the caller gives
    /// back those in `rows`.
    #[inline(always)]
    pub(super) fn try_hold_all<'g>(
        &self,
        keys: &[i64],
        rows: &mut [Option<Row<'g>>],
        guard: &'g Guard,
        wanted: impl Fn(&Row<'_>) -> bool,
    ) -> Held {
        for (some, rows) in keys.chunks(AT_ONCE).zip(rows.chunks_mut(AT_ONCE)) {
            let places = self.candidates(some, lines(self.row_len), guard);
            for ((&key, place), held) in some.iter().zip(places).zip(rows) {
                match self.cache.resident(hash(key)).try_hold(place, key, guard) {
                    Hold::Row(row) if wanted(&row) => *held = Some(row),
                    Hold::Row(_) | Hold::Missed => return Held::Lacking,
                    Hold::Busy => return Held::Busy,
                }
            }
        }
        Held::All
    }

    /// As [`OpenGroup::hold_all`], for rows that were at `places` a while ago.
    pub(super) fn hold_again<'g, const N: usize>(
        &self,
        (keys, places): (&[i64], &[Place]),
        rows: &mut Rows<'g, N>,
        guard: &'g Guard,
    ) -> bool {
        for ((&key, place), row) in keys.iter().zip(places).zip(rows.iter_mut()) {
            let resident = self.cache.resident(hash(key));
            *row = resident.try_hold_at(*place, key, guard);
            if row.is_some() {
                continue;
            }
            match resident.try_hold(*place, key, guard) {
                Hold::Row(held) => *row = Some(held),
                Hold::Missed => return false,
                Hold::Busy => return self.hold_in_order(keys, rows, guard, |_| true),
            }
        }
        true
    }

    /// Holds the rows of all keys anew, by ascending key. Waits for rows that others hold. False as
    /// [`OpenGroup::hold_all`].
    #[cold]
    fn hold_in_order<'g>(
        &self,
        keys: &[i64],
        rows: &mut [Option<Row<'g>>],
        guard: &'g Guard,
        wanted: impl Fn(&Row<'_>) -> bool,
    ) -> bool {
        rows.fill_with(|| None);
        let mut order: [u8; FEW] = std::array::from_fn(|index| index as u8);
        let order = &mut order[..keys.len()];
        order.sort_unstable_by_key(|index| keys[usize::from(*index)]);
        for index in order.iter().map(|index| usize::from(*index)) {
            let key = keys[index];
            let held = self.cache.resident(hash(key)).hold(key, guard);
            let Some(row) = held.filter(|row| wanted(row)) else { return false };
            rows[index] = Some(row);
        }
        true
    }
}
