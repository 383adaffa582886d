//! The rows of one group as an embedding uses them: in memory while they are used, on disk
//! otherwise.
//!
//! Every call brings the rows that it needs into memory (`load`). A call that changes rows appends
//! itself to the journal and changes them (`change`). Reading calls lock a shard at a time and
//! nothing else. Rows change in the journal's order. Steps and commits of few keys hold their rows
//! (`few_changes`, `few_commits`). Other steps, inserts and deletes take turns (`in_turns`). Clear,
//! import, set_step and other commits hold the lock `change` alone.

mod ahead;
mod apply_gradients;
mod batch;
mod begin_lookup;
mod change;
mod clear;
mod clip;
mod clip_gradients;
mod commit;
mod dedup;
mod delete;
mod few;
mod few_changes;
mod few_commits;
mod few_held;
mod few_together;
mod finish_lookup;
mod guards;
mod import;
mod in_turns;
mod insert;
mod insert_records;
mod kept;
mod load;
mod load_task;
mod lookup;
mod make;
mod members;
mod missing;
mod non_finite;
mod norm;
mod once;
mod outcome;
mod part;
mod peek;
mod pin;
mod record;
mod replace;
mod row_copies;
mod run;
mod set_step;
mod sink;
mod spread;
mod step_entry;
mod sum_gradients;
mod together;

use std::sync::Arc;

pub(crate) use batch::{Gradients, KeyBatch};
pub(crate) use begin_lookup::BegunLookup;
pub use clip::Clip;
pub(crate) use import::ImportBatch;
pub(crate) use members::OfGroup;
pub use non_finite::NonFinite;
pub use once::Expected;
pub(crate) use once::{HeldSteps, Once};
pub use outcome::Applied;
pub use part::Duplicates;
pub use record::Record;
pub use row_copies::Conflicts;
pub(crate) use row_copies::RowCopies;
pub use sum_gradients::Summed;

use super::Engine;
use super::group::{Group, Opened};
use super::names::GroupRef;
use super::row_rules::RowRules;
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::initializer::Initializer;
use crate::optimizer::Optimizer;
use crate::seqno::Seqno;
use dedup::Dedup;
use kept::{FEW, Kept};

/// An open group with the optimizer and initializer of one embedding.
pub(crate) struct OpenGroup {
    group: Opened,
    cache: Arc<GroupCache>,
    optimizer: Arc<Optimizer>,
    initializer: Arc<Initializer>,
    /// The limit of the 2-norm of a row's weights.
    max_norm: Option<f64>,
    dim: usize,
    row_len: usize,
    /// The configuration's number in the journal.
    config: u32,
    /// What earlier calls have left for later ones.
    kept: Kept,
}

/// Where a change comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// A caller. The change gets the next sequence number and the present time.
    Call,
    /// The journal, with what the entry has. Rows that have seen the change are left alone.
    Replay { seqno: Seqno, time: u64, rate: f64, step: i64 },
}

impl OpenGroup {
    /// Opens a group, registering it when it is new.
    ///
    /// # Errors
    /// As [`Engine::open_group`]; `IO`; `OUT_OF_MEMORY`.
    pub(crate) fn open(engine: &Engine, group: GroupRef, rules: RowRules) -> Result<OpenGroup> {
        let config = rules.config();
        let group = engine.open_group(group, config.clone())?;
        let number = match engine.journal() {
            Some(journal) => journal.announce(group.id(), config.to_json()?),
            None => 0,
        };
        OpenGroup::new(engine, group, rules, number)
    }

    /// Opens a registered group with its latest configuration.
    ///
    /// # Errors
    /// `CORRUPTION` when its optimizer or initializer is not known; `IO`, `OUT_OF_MEMORY`.
    pub(crate) fn open_as_before(engine: &Engine, group: Arc<Group>) -> Result<OpenGroup> {
        let config = group.config();
        let damaged =
            |error: Error| Error::corruption(format!("group {}: {}", group.id(), error.message()));
        let rules = RowRules::of(&config).map_err(damaged)?;
        let number = match engine.journal() {
            Some(journal) => journal.announce(group.id(), config.to_json()?),
            None => 0,
        };
        OpenGroup::new(engine, group, rules, number)
    }

    /// As [`OpenGroup::open`], for a registered group, whose configuration has the number `config`.
    pub(crate) fn new(
        engine: &Engine,
        group: Arc<Group>,
        rules: RowRules,
        config: u32,
    ) -> Result<OpenGroup> {
        let row_len = rules.optimizer.row_len(rules.dim);
        let group = Opened::new(group);
        let cache = engine.open_cache(&group, row_len)?;
        let RowRules { dim, optimizer, initializer, max_norm } = rules;
        let kept = Kept::default();
        Ok(OpenGroup { group, cache, optimizer, initializer, max_norm, dim, row_len, config, kept })
    }

    pub(crate) fn group(&self) -> &Group {
        &self.group
    }

    /// Weights of a row.
    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// Floats of a row: its weights and the optimizer's state.
    pub(crate) fn row_len(&self) -> usize {
        self.row_len
    }

    pub(crate) fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The distinct keys of a batch: those that an earlier call has left, or a beginning.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`; `INVALID_ARGUMENT` for too many keys.
    fn dedup(&self, engine: &Engine, batch: KeyBatch<'_>) -> Result<Box<Dedup>> {
        let mut dedup = self.kept.take(batch);
        self.begin_dedup(&mut dedup, engine, batch)?;
        Ok(dedup)
    }

    /// As [`OpenGroup::dedup`], with what was left.
    fn begin_dedup(&self, dedup: &mut Dedup, engine: &Engine, batch: KeyBatch<'_>) -> Result<()> {
        if batch.keys.len() <= FEW {
            dedup.begin_few(batch)
        } else if dedup.is_of(batch) {
            Ok(())
        } else {
            dedup.begin(&engine.pool, batch, self.cache.shard_count())
        }
    }

    /// The cache lines of a row's weights.
    fn weight_lines(&self) -> usize {
        lines(self.dim)
    }
}

/// The cache lines of `floats` that are prefetched; the processor fetches further ones by itself.
fn lines(floats: usize) -> usize {
    floats.div_ceil(16).min(8)
}
