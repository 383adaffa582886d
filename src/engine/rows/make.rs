//! Makes a new row: the initial weights and the optimizer's first state.

use super::OpenGroup;
use super::norm::limit_norm;
use crate::cache::{ABSENT, Resident, Row};
use crate::engine::moment::Moment;

impl OpenGroup {
    /// Turns an absent or expired row into a fresh one.
    pub(super) fn make_row(&self, resident: &Resident, row: &mut Row<'_>, moment: Moment<'_>) {
        resident.before_change(row);
        let (key, seqno) = (row.key(), row.seqno().max(moment.seqno()).max(self.group.cleared()));
        moment.expiry.count_expired(u64::from(!row.has(ABSENT)));
        row.set_updates(0);
        row.stamp(moment.now, seqno);
        self.fill_first(key, row.floats_mut());
        row.set_absent(false);
        resident.mark_dirty(row);
    }

    /// Writes the initial weights of a row, `dim` floats.
    pub(crate) fn fill_first_weights(&self, key: i64, weights: &mut [f32]) {
        self.initializer.fill(self.group.id(), key, weights);
        if let Some(max_norm) = self.max_norm {
            limit_norm(weights, max_norm);
        }
    }

    /// Writes a row's initial weights and state.
    pub(super) fn fill_first(&self, key: i64, row: &mut [f32]) {
        let (weights, state) = row.split_at_mut(self.dim);
        self.fill_first_weights(key, weights);
        self.optimizer.begin(state);
    }
}
