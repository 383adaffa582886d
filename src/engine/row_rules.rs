//! What the rows of an open group follow: their dim, and how they begin and change.

use std::sync::Arc;

use super::group::{GroupConfig, Recipe};
use crate::error::Result;
use crate::initializer::Initializer;
use crate::optimizer::Optimizer;
use crate::params::Params;

/// What a group is opened with.
pub(crate) struct RowRules {
    /// Weights of a row.
    pub(crate) dim: usize,
    /// How rows are stepped.
    pub(crate) optimizer: Arc<Optimizer>,
    /// The first weights of rows.
    pub(crate) initializer: Arc<Initializer>,
    /// The limit of the 2-norm of a row's weights.
    pub(crate) max_norm: Option<f64>,
}

impl RowRules {
    /// The rules of a configuration, without its schedule.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for names or parameters that are not known.
    pub(super) fn of(config: &GroupConfig) -> Result<RowRules> {
        let (optimizer, initializer) = config.build()?;
        Ok(RowRules { dim: config.dim, optimizer, initializer, max_norm: config.max_norm })
    }

    /// The configuration that is stored of them.
    pub(super) fn config(&self) -> GroupConfig {
        let named =
            |name: &str, params: &Params| Recipe { name: name.to_owned(), params: params.clone() };
        let scheduler = self.optimizer.scheduler();
        GroupConfig {
            dim: self.dim,
            optimizer: named(self.optimizer.name(), self.optimizer.params()),
            scheduler: scheduler.map(|scheduler| named(scheduler.name(), scheduler.params())),
            initializer: named(self.initializer.name(), self.initializer.params()),
            max_norm: self.max_norm,
        }
    }
}
