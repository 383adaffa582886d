//! Merge counts: what merges have written since the database was opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rust_rocksdb::DEFAULT_COLUMN_FAMILY_NAME;
use rust_rocksdb::event_listener::{CompactionJobInfo, EventListener};

/// Shared with RocksDB's threads.
#[derive(Clone, Default)]
pub(super) struct MergeCounts {
    rows: Arc<AtomicU64>,
}

impl EventListener for MergeCounts {
    fn on_compaction_completed(&self, merge: &CompactionJobInfo) {
        if merge.cf_name().as_deref() == Some(DEFAULT_COLUMN_FAMILY_NAME.as_bytes()) {
            self.rows.fetch_add(merge.output_records(), Ordering::Relaxed);
        }
    }
}

impl MergeCounts {
    /// How many rows merges have written.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }
}
