//! Apply gradients: one optimizer step for each gradient, or for each key's sum or mean of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::change::{Change, Stamp};
use super::load::Absent;
use super::part::{Duplicates, Merge, Part, SKIP, WrongFloat};
use super::{OpenGroup, Origin, lines};
use crate::cache::Shard;
use crate::engine::Engine;
use crate::engine::group::WriteGuard;
use crate::error::{Error, Result};
use crate::journal::CallKind;
use crate::memory::room_for;
use crate::optimizer::are_gradients;

/// Steps whose rows are asked for ahead of their use.
const AHEAD: usize = 8;

impl OpenGroup {
    /// Steps rows with `gradients`, `dim` floats a key; keys without a row get one first. The group's global step
    /// rises by one. All rows and the step change together or not at all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for floats that are not gradients; `POISONED`, `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. Nothing
    /// has changed then.
    pub fn apply_gradients(
        &self,
        engine: &Engine,
        keys: &[i64],
        gradients: &[f32],
        padding: Option<i64>,
        duplicates: Duplicates,
    ) -> Result<()> {
        self.apply(engine, keys, gradients, padding, duplicates, Origin::Call)
    }

    pub(crate) fn apply(
        &self,
        engine: &Engine,
        keys: &[i64],
        gradients: &[f32],
        padding: Option<i64>,
        duplicates: Duplicates,
        source: Origin,
    ) -> Result<()> {
        let parts = self.parts(engine, keys, gradients, padding, Merge::Gradients(duplicates))?;
        let guard = self.group.begin_write()?;
        self.apply_parts(engine, guard, parts, source)
    }

    /// As [`OpenGroup::apply_gradients`], without the gradients of keys that are neither `admitted` (one byte a key, 0 for
    /// those that are not) nor have a row.
    ///
    /// # Errors
    /// As [`OpenGroup::apply_gradients`].
    pub(crate) fn apply_admitted_gradients(
        &self,
        engine: &Engine,
        keys: &[i64],
        gradients: &[f32],
        padding: Option<i64>,
        duplicates: Duplicates,
        admitted: &[u8],
    ) -> Result<()> {
        let mut held_back = room_for(keys.len())?;
        let unadmitted = keys.iter().zip(admitted).filter(|(_, admitted)| **admitted == 0);
        held_back.extend(unadmitted.map(|(key, _)| *key).filter(|key| Some(*key) != padding));
        held_back.sort_unstable();
        held_back.dedup();
        // From here on nobody deletes a row that is about to be found, which would then be made again.
        let guard = self.group.begin_write()?;
        let found = self.load(engine, &held_back, Absent::Skip, false).map(|loaded| loaded.found);
        engine.give_back_excess();
        let mut has_row = found?.into_iter();
        held_back.retain(|_| has_row.next() != Some(true));
        let (mut kept_keys, mut kept) = (room_for(keys.len())?, room_for(gradients.len())?);
        for (key, gradient) in keys.iter().zip(gradients.chunks_exact(self.dim)) {
            if held_back.binary_search(key).is_err() {
                kept_keys.push(*key);
                kept.extend_from_slice(gradient);
            } else if !are_gradients(gradient) {
                // Dropping it would hide what is wrong with the model.
                return Err(WrongFloat::Float.into());
            }
        }
        let parts = self.parts(engine, &kept_keys, &kept, padding, Merge::Gradients(duplicates))?;
        self.apply_parts(engine, guard, parts, Origin::Call)
    }

    fn apply_parts(
        &self,
        engine: &Engine,
        guard: WriteGuard<'_>,
        mut parts: Vec<Part>,
        source: Origin,
    ) -> Result<()> {
        let change = match source {
            Origin::Replay { rate, step, .. } => {
                Change { kind: CallKind::Gradients, source, rate, step }
            }
            Origin::Call => {
                let step = self.group.step();
                let next = step.checked_add(1).ok_or_else(|| {
                    let group = self.group.id();
                    Error::invalid(format!(
                        "the global step of group {group} is {step} and cannot rise"
                    ))
                })?;
                Change {
                    kind: CallKind::Gradients,
                    source,
                    rate: self.optimizer.rate(step)?,
                    step: next,
                }
            }
        };
        let (created, updated) = (AtomicU64::new(0), AtomicU64::new(0));
        self.change(engine, &guard, &mut parts, change, |shard, part, stamp| {
            let (part_created, part_updated) = self.step_part(shard, part, stamp, change.rate);
            created.fetch_add(part_created, Ordering::Relaxed);
            updated.fetch_add(part_updated, Ordering::Relaxed);
        })?;
        drop(guard);
        self.keep_buffers(parts);
        engine.counters.rows_created.fetch_add(created.into_inner(), Ordering::Relaxed);
        engine.counters.rows_updated.fetch_add(updated.into_inner(), Ordering::Relaxed);
        Ok(())
    }

    /// Steps the rows of one shard; returns how many were made and how many steps were taken.
    fn step_part(&self, shard: &mut Shard, part: &Part, stamp: Stamp<'_>, rate: f64) -> (u64, u64) {
        let steps = part.floats.len() / self.dim;
        let slot_of = |step: usize| {
            let index = if part.steps.is_empty() { step } else { part.steps[step] as usize };
            part.slots[index]
        };
        let row_lines = lines(self.row_len);
        (0..steps.min(AHEAD)).map(slot_of).filter(|slot| *slot != SKIP).for_each(|slot| {
            shard.prefetch_slot(slot, row_lines);
        });
        let (mut created, mut updated) = (0, 0);
        for (step, gradient) in part.floats.chunks_exact(self.dim).enumerate() {
            if step + AHEAD < steps {
                let later = slot_of(step + AHEAD);
                if later != SKIP {
                    shard.prefetch_slot(later, row_lines);
                }
            }
            let place = slot_of(step);
            if place == SKIP {
                continue;
            }
            shard.before_change(place);
            created += u64::from(self.ensure_row(shard, place, stamp));
            let (slot, row) = shard.both_mut(place);
            let updates = slot.count_update();
            slot.stamp(stamp.time, stamp.number);
            self.optimizer.step(row, gradient, rate, updates);
            shard.mark_dirty(place);
            updated += 1;
        }
        (created, updated)
    }
}
