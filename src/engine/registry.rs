//! The registry: every group of a storage, by number and by name, as it is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use super::clears::read_cleared;
use super::clients;
use super::group::{Group, GroupConfig, check_same_rows};
use super::names::{self, GroupRef};
use super::refusals;
use crate::cache::GroupCache;
use crate::error::{Error, Result};
use crate::rocks::documents::{self, of_group};
use crate::rocks::{Batch, Rocks};
use crate::seqno::Seqno;

impl Engine {
    /// Opens a group, registering it when it is new.
    ///
    /// # Errors
    /// `ALREADY_EXISTS` when the group has another dim, optimizer or name; the message has both.
    /// The errors of [`names::find`], and those of a write-back round. With `read_only`,
    /// `NOT_FOUND` for a group that is not registered, and `NOT_SUPPORTED` for a name that the
    /// group does not have.
    pub(crate) fn open_group(&self, wanted: GroupRef, config: GroupConfig) -> Result<Arc<Group>> {
        if self.journal().is_some() && self.makes_rows_differently(wanted, &config) {
            // A replay makes rows by the configuration of the next entry that needs them. Rows that
            // were made by another one, and never stepped, have to be on disk before.
            self.writer.write_all()?;
        }
        let mut groups = self.groups.lock();
        let id = names::find(&groups, wanted)?;
        let name = wanted.name.map(str::to_owned);
        let Some(group) = groups.get(&id) else {
            if self.is_read_only() {
                return Err(refusals::no_new_group(id, wanted));
            }
            self.register(id, name.as_deref(), &config)?;
            let group = Arc::new(Group::new(id, name, config, (0, Seqno::NONE)));
            groups.insert(id, Arc::clone(&group));
            return Ok(group);
        };
        let (mut known, mut known_name) = group.lock_description();
        check_same_rows(id, &known, &config)?;
        if self.is_read_only() {
            // The caller's parameters are used for this opening only: what is stored stays.
            refusals::check_name(id, known_name.as_deref(), wanted)?;
            return Ok(Arc::clone(group));
        }
        let name = name.or_else(|| known_name.clone());
        if *known != config || *known_name != name {
            self.register(id, name.as_deref(), &config)?;
            *known = config;
            *known_name = name;
        }
        Ok(Arc::clone(group))
    }

    /// Whether a configuration makes a known group's rows differently from its present one.
    fn makes_rows_differently(&self, wanted: GroupRef, config: &GroupConfig) -> bool {
        let groups = self.groups.lock();
        let known = names::find(&groups, wanted).ok().and_then(|id| groups.get(&id));
        known.is_some_and(|group| {
            let known = group.config();
            known.initializer != config.initializer || known.max_norm != config.max_norm
        })
    }

    /// Stores a group's name and configuration.
    pub(crate) fn register(&self, id: u16, name: Option<&str>, config: &GroupConfig) -> Result<()> {
        let mut batch = Batch::default();
        batch.put_meta(of_group(documents::GROUP, id), config.to_json()?);
        if let Some(name) = name {
            batch.put_meta(of_group(documents::NAME, id), name.as_bytes().to_vec());
        }
        let rocks = self.rocks()?;
        if self.syncs() { rocks.write(batch) } else { rocks.write_without_sync(batch) }
    }

    /// Returns the group's cache, which the first opening of the group makes.
    ///
    /// # Errors
    /// `IO`, `OUT_OF_MEMORY`.
    pub(super) fn open_cache(&self, group: &Group, row_len: usize) -> Result<Arc<GroupCache>> {
        let cache = group.open_cache(|| {
            let is_complete = !self.rocks()?.has_rows(group.id())?;
            GroupCache::new(row_len, is_complete, &self.budget)
        })?;
        debug_assert_eq!(cache.row_len(), row_len);
        Ok(cache)
    }

    /// A registered group.
    ///
    /// # Errors
    /// `NOT_FOUND`, naming the first 20 groups that are registered.
    pub(crate) fn find_group(&self, id: u16) -> Result<Arc<Group>> {
        let groups = self.groups.lock();
        groups.get(&id).cloned().ok_or_else(|| {
            let known: Vec<String> = groups.keys().take(20).map(u16::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            Error::not_found(format!("group {id} is not registered; registered are: {known}"))
        })
    }
}

/// Reads the registry of a storage that is being opened.
pub(crate) fn load_all(rocks: &Rocks) -> Result<BTreeMap<u16, Arc<Group>>> {
    let mut groups = BTreeMap::new();
    for (id, json) in rocks.scan_meta(documents::GROUP)? {
        let damaged = |why: String| {
            Error::corruption(format!("the record of group '{id}' is damaged: {why}"))
        };
        let config: GroupConfig =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        let id: u16 =
            id.parse().map_err(|_| damaged("its number is not from 0 to 65535".to_owned()))?;
        let step = match rocks.read_meta(&of_group(documents::STEP, id))? {
            None => 0,
            Some(bytes) => i64::from_le_bytes(
                bytes
                    .try_into()
                    .map_err(|_| damaged("its global step is not 8 bytes".to_owned()))?,
            ),
        };
        let name =
            rocks.read_meta(&of_group(documents::NAME, id))?.map(String::from_utf8).transpose();
        let name = name.map_err(|error| damaged(format!("its name: {error}")))?;
        let cleared = read_cleared(rocks, id)?;
        groups.insert(id, Arc::new(Group::new(id, name, config, (step, cleared))));
    }
    for (group, client, latest) in clients::read_all(rocks)? {
        // A document without a group is of no use.
        if let Some(group) = groups.get(&group) {
            group.clients.restore(client, latest);
        }
    }
    Ok(groups)
}
