//! Describe: everything that a storage holds but its rows.

use serde::Serialize;

use super::{Seen, Storage};
use crate::engine::clients::Latest;
use crate::engine::group::{Group, Recipe};
use crate::error::{Error, Result};

/// A client of a group: a caller that numbers its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClientDescription {
    /// The number that it has given itself.
    pub client: u64,
    /// That of its latest call.
    pub sequence: u64,
    /// When that call was made, in milliseconds since 1970.
    pub time: u64,
}

/// A group and what it was last opened with.
#[derive(Clone, Debug, Serialize)]
pub struct GroupDescription {
    /// Its number.
    pub group: u16,
    /// What it is called, if it has a name.
    pub name: Option<String>,
    /// The number of weights of a row.
    pub dim: usize,
    /// The floats of a row: its weights and the optimizer's state.
    pub row_len: usize,
    /// The global step, as [`Group::step`].
    pub step: i64,
    /// How its rows are stepped.
    pub optimizer: Recipe,
    /// The first weights of its rows.
    pub initializer: Recipe,
    /// How the learning rate changes; None when it stays.
    pub scheduler: Option<Recipe>,
    /// The limit of the 2-norm of a row's weights; None when there is none.
    pub max_norm: Option<f64>,
    /// Callers that number their calls, and are not forgotten yet.
    pub clients: Vec<ClientDescription>,
}

#[derive(Serialize)]
struct Description<'a> {
    dir: &'a str,
    /// None unless the storage is open with `read_only`.
    read_only: Option<Seen>,
    checkpoint: Option<String>,
    groups: Vec<GroupDescription>,
}

impl Group {
    /// Its clients are those that are not forgotten by `now`, in milliseconds since 1970.
    fn describe(&self, now: u64) -> Result<GroupDescription> {
        let (config, (dim, row_len)) = (self.config(), self.shape()?);
        let clients = self.clients.list(now).into_iter().map(|(client, latest)| {
            let Latest { sequence, time, .. } = latest;
            ClientDescription { client, sequence, time }
        });
        Ok(GroupDescription {
            group: self.id(),
            name: self.name(),
            dim,
            row_len,
            step: self.step(),
            optimizer: config.optimizer,
            initializer: config.initializer,
            scheduler: config.scheduler,
            max_norm: config.max_norm,
            clients: clients.collect(),
        })
    }
}

impl Storage {
    /// What each group was last opened with, in the order of their numbers, and its clients.
    ///
    /// # Errors
    /// `CORRUPTION` when the optimizer of one is not known.
    pub fn describe_groups(&self) -> Result<Vec<GroupDescription>> {
        let now = self.engine().expiry.now_unused_ms();
        self.groups().iter().map(|group| group.describe(now)).collect()
    }

    /// Returns as JSON the directory, the id of the checkpoint last made or loaded, and every group
    /// in the order of their numbers.
    ///
    /// # Errors
    /// `CORRUPTION`; `IO`; `FORKED`.
    pub fn describe(&self) -> Result<String> {
        let checkpoint = self.checkpoint_id()?;
        let groups = self.describe_groups()?;
        let description = Description {
            dir: &self.dir().to_string_lossy(),
            read_only: self.seen(),
            checkpoint,
            groups,
        };
        serde_json::to_string(&description)
            .map_err(|error| Error::invalid(format!("the storage cannot be described: {error}")))
    }
}
