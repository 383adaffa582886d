//! Finish_lookup: makes the weights of a begun lookup what a lookup would write now.
//!
//! The same version means the same floats: every change gives a row a sequence number, count and
//! time that it has not had together, or `begin_lookup` notes no version. So rows that were made
//! again, and changes by other threads and handles, are seen as well. Such rows, and keys that had
//! none, are looked up as ever; after a clear or a checkpoint that was loaded, all are.

use std::sync::atomic::Ordering;

use super::OpenGroup;
use super::begin_lookup::BegunLookup;
use super::load::Absent;
use super::part::Part;
use super::run::Run;
use crate::engine::Engine;
use crate::engine::moment::Moment;
use crate::error::Result;

impl BegunLookup {
    /// The keys of the batch.
    pub(crate) fn keys(&self) -> &[i64] {
        self.dedup.keys()
    }
}

impl OpenGroup {
    /// Writes the rows of a begun lookup that have changed into `weights`, which has what was read
    /// then. A key without a row gets one. Writes the ascending positions of these rows to
    /// `positions`, which has room for every key, and returns how many there are. May be called
    /// again, for a later moment; the positions are then those of both calls.
    ///
    /// # Errors
    /// As [`OpenGroup::lookup`].
    pub(crate) fn finish_lookup(
        &self,
        engine: &Engine,
        begun: &mut BegunLookup,
        weights: &mut [f32],
        positions: &mut [i64],
    ) -> Result<usize> {
        let dedup = &mut begun.dedup;
        let call = engine.pool.begin_work(dedup.keys().len());
        let moment = engine.moment();
        let is_same_content = begun.content == self.group.content();
        dedup.each(&engine.pool, |part| self.read_changed(part, moment, is_same_content))?;
        let created: u64 = dedup.parts.iter().map(|part| part.created).sum();
        engine.counters.own().rows_created.fetch_add(created, Ordering::Relaxed);
        engine.pace(created as usize);
        let misses = dedup.parts.iter().map(|part| part.misses).sum();
        self.load_missing(engine, &call, &mut dedup.parts, Absent::Create)?;
        let sources = &dedup.sources;
        let changed =
            sources.spread_changed(&engine.pool, &dedup.parts, self.dim, weights, positions)?;
        self.count_keys(engine, dedup.keys().len() as u64, misses);
        Ok(changed)
    }

    /// Keeps what a finished lookup knows for the step on the same batch.
    pub(crate) fn keep_finished(&self, begun: BegunLookup) {
        self.kept.keep(begun.dedup, true);
    }

    /// Copies the rows of a part that are not as they were read, and makes rows for keys that have
    /// none, unless that takes a look at the disk.
    fn read_changed(
        &self,
        part: &mut Part,
        moment: Moment<'_>,
        is_same_content: bool,
    ) -> Result<()> {
        part.missing.clear();
        (part.misses, part.created) = (0, 0);
        for number in 0..part.runs.len() {
            let Run { shard, keys: of_run, .. } = part.runs[number].clone();
            let shard = self.cache.read(shard);
            for index in of_run {
                let place = shard.find_again(&part.keys, &mut part.places, index);
                if is_same_content
                    && part.has_row[index]
                    && let Some(slot) = place.map(|place| shard.slot(place))
                    && slot.is_row(moment.cutoff)
                    && slot.version().is_same(part.versions[index])
                {
                    slot.touch();
                    continue;
                }
                part.is_changed[index] = true;
                let weights = &mut part.floats[index * self.dim..(index + 1) * self.dim];
                let key = part.keys[index];
                let is_row =
                    place.is_some_and(|place| shard.read(place, key, moment.cutoff, weights));
                part.has_row[index] = is_row;
                if !is_row {
                    part.missing.push(index as u32);
                }
            }
        }
        if part.missing.is_empty() {
            return Ok(());
        }
        part.count_misses(None);
        self.make_missing(part, moment)
    }
}
