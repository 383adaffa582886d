//! Begin_lookup: reads rows as they are, and notes which version of each was read. So the lookup
//! that finishes it (`finish_lookup`) reads again only what has changed.

use super::dedup::Dedup;
use super::kept::FEW;
use super::load::Absent;
use super::part::Part;
use super::run::Run;
use super::spread::MAX_KEYS;
use super::{KeyBatch, OpenGroup};
use crate::cache::{Place, Shard, Version, hash};
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::error::Result;
use crate::memory::refill;

/// What a begun lookup knows of its rows.
pub(crate) struct BegunLookup {
    pub(super) dedup: Box<Dedup>,
    /// `Group::content` when they were read.
    pub(super) content: u64,
}

impl OpenGroup {
    /// Writes the weights of the keys into `weights`, as [`OpenGroup::peek`] does, and makes no
    /// row. None for a batch so small or large that finishing looks up all its keys.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`, `IO`, `CORRUPTION`. `weights` may be partly written.
    pub(crate) fn begin_lookup(
        &self,
        engine: &Engine,
        batch: KeyBatch<'_>,
        weights: &mut [f32],
    ) -> Result<Option<BegunLookup>> {
        if batch.keys.len() <= FEW || batch.keys.len() > MAX_KEYS {
            self.peek(engine, batch, weights, None)?;
            return Ok(None);
        }
        let call = engine.pool.begin_work(batch.keys.len());
        let (moment, content) = (engine.moment(), self.group.content());
        let mut dedup = self.kept.take_idle();
        dedup.begin(&engine.pool, batch, self.cache.shard_count())?;
        let mut sources = std::mem::take(&mut dedup.sources);
        sources.begin(batch.keys.len())?;
        dedup.each(&engine.pool, |part| {
            sources.note(part);
            self.note_part(part, moment)
        })?;
        let misses: u64 = dedup.parts.iter().map(|part| part.misses).sum();
        if misses > 0 {
            self.load_missing(engine, &call, &mut dedup.parts, Absent::Skip)?;
            dedup.each(&engine.pool, |part| {
                self.note_loaded(part, moment);
                Ok(())
            })?;
        }
        sources.spread(&engine.pool, &dedup.parts, self.dim, weights, None)?;
        dedup.sources = sources;
        self.count_keys(engine, batch.count(), misses);
        Ok(Some(BegunLookup { dedup, content }))
    }

    /// Copies the rows of a part that are resident, and notes their versions.
    fn note_part(&self, part: &mut Part, moment: Moment<'_>) -> Result<()> {
        part.begin_reading(self.dim)?;
        refill(&mut part.versions, Version::NONE, part.keys.len())?;
        refill(&mut part.is_changed, false, part.keys.len())?;
        let lines = self.weight_lines();
        part.places.resize(part.keys.len(), Place::NOT_RESIDENT);
        for number in 0..part.runs.len() {
            let Run { shard, keys: of_run, .. } = part.runs[number].clone();
            let shard = self.cache.read(shard);
            let (keys, places) = (&part.keys[of_run.clone()], &mut part.places[of_run.clone()]);
            shard.begin_finding(keys, places, lines);
            for index in of_run.clone() {
                let (keys, places) = (&part.keys[of_run.clone()], &mut part.places[of_run.clone()]);
                let place = shard.find_next(keys, places, index - of_run.start, lines);
                let is_row =
                    place.is_some_and(|place| self.note(&shard, part, index, place, moment));
                part.has_row.push(is_row);
                if !is_row {
                    // The buffer may have floats of an earlier call.
                    part.floats[index * self.dim..(index + 1) * self.dim].fill(0.0);
                    part.missing.push(index as u32);
                }
            }
        }
        if !part.missing.is_empty() {
            part.count_misses(None);
        }
        Ok(())
    }

    /// Copies rows again that have been loaded since [`OpenGroup::note_part`], with their versions.
    fn note_loaded(&self, part: &mut Part, moment: Moment<'_>) {
        let missing = std::mem::take(&mut part.missing);
        for &index in &missing {
            let key = part.keys[index as usize];
            let shard = self.cache.read_for(hash(key));
            let Some(place) = shard.find(hash(key), key) else { continue };
            part.places[index as usize] = place;
            part.has_row[index as usize] = self.note(&shard, part, index as usize, place, moment);
        }
        part.missing = missing;
    }

    /// Notes the version of a key's row at a place, and then copies the row. Returns whether there
    /// is one; its weights are zeros otherwise.
    #[inline(always)]
    fn note(
        &self,
        shard: &Shard,
        part: &mut Part,
        index: usize,
        place: Place,
        moment: Moment<'_>,
    ) -> bool {
        let weights = &mut part.floats[index * self.dim..(index + 1) * self.dim];
        part.versions[index] = shard.slot(place).version().unless_new(moment.now);
        let is_row = shard.read(place, part.keys[index], moment.cutoff, weights);
        if !is_row {
            weights.fill(0.0);
        }
        is_row
    }
}
