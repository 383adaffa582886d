//! Helpers for filters whose counts wait until they are attached.

use std::path::Path;
use std::sync::Arc;

use damo::filter::Filter;

use super::{float, int, params, text};

/// The count of lookups that admits a key.
pub const COUNT: u32 = 3;
const KEYS: [i64; 4] = [1, 2, 3, 4];

pub fn filter_of(path: &Path, capacity: i64) -> Arc<Filter> {
    let list = [
        ("path", text(path.to_str().unwrap())),
        ("capacity", int(capacity)),
        ("count", int(COUNT.into())),
        ("fpr", float(1e-6)),
    ];
    Arc::new(Filter::open(&params(&list)).unwrap())
}

pub fn filter(path: &Path) -> Arc<Filter> {
    filter_of(path, 10_000)
}

/// The keys of 1 to 4 that are admitted in a group.
pub fn admitted(filter: &Filter, group: u32) -> Vec<i64> {
    KEYS.into_iter().filter(|key| filter.check(group, *key).unwrap()).collect()
}
