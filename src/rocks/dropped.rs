//! What merges have dropped. Only the feature `check-index` notes it.

use std::collections::HashMap;
use std::sync::Arc;

use super::fate::Fate;
use super::key::KEY_LEN;
use super::row::{self, Found, Stored};
use crate::locks::Mutex;

/// What merges have dropped since the database was opened.
#[derive(Clone, Default)]
pub(super) struct Dropped(Arc<Mutex<HashMap<[u8; KEY_LEN], Vec<Found>>>>);

impl Dropped {
    /// Notes what a merge is about to drop: `fate` is what becomes of `value`.
    pub(super) fn note(&self, key: &[u8], value: &[u8], fate: Fate) {
        let (Ok(key), Ok(stored)) = (key.try_into(), row::parse(value)) else { return };
        // A read finds nothing where an expired row's tombstone is, also before a merge drops it.
        if fate == Fate::Stay || matches!(stored, Stored::Expired { .. }) {
            return;
        }
        let (mut dropped, found) = (self.0.lock(), Found::from(stored));
        let of_key = dropped.entry(key).or_default();
        if !of_key.contains(&found) {
            of_key.push(found);
        }
    }

    /// Whether a merge was about to drop this.
    pub(super) fn has(&self, key: &[u8; KEY_LEN], found: Found) -> bool {
        self.0.lock().get(key).is_some_and(|dropped| dropped.contains(&found))
    }
}
